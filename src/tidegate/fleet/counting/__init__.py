"""Counting together: functions in the engine, what goes to them, and their twin in memory.

Touches nothing. Limits: addresses; windows, different values, and scores that halve.
"""
