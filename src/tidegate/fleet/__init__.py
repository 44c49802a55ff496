"""Many hosts as one: what they count together, and whom of it they believe.

Touches nothing by itself; what talks to the engine says so. Limits: see `docs/adr/0009`.
"""
