"""Traffic: what leaves and comes, who is behind it, and what became of it.

Touches nothing itself; each module says what it touches. Limits: Linux, this network namespace.
"""
