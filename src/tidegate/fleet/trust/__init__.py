"""Who is of the fleet, who may say what, and what is believed of it.

Touches the key folder only. Limits: Ed25519; an engine can withhold messages, and nothing else.
"""
