"""Evidence: events in, tallies kept, verdicts out. Part of the pure core.

Touches nothing: no I/O, no clock, no randomness. Time travels with the events.
Limits: bounded by count; what is evicted is counted.
"""
