"""Switches: gates that are not in the firewall (services, balancers, commands), and their keeper.

Touches nothing itself; each module says what it touches. Limits: see `port`.
"""
