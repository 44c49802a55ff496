"""The outward gate: what may leave, per source, kept by the kernel alone; and who is cut off.

Touches nothing itself. Limits: see its modules.
"""
