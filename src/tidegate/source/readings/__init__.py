"""Readings: numbers about this host and what it can reach.

Touches nothing itself; each module says what it touches. Limits: see `port`.
"""
