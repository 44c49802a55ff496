"""Decision: verdicts in, decisions out. Part of the pure core.

Touches nothing: no I/O, no clock, no randomness. What the host looks like comes in as a value.
Limits: it only says what is wanted; gates carry it out and check it again.
"""
