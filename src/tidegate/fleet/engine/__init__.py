"""The engine of a fleet: where it is, who leads it, connections to it.

Touches sockets. Limits: Redis or Valkey, 7 or newer; nothing here is believed.
"""
