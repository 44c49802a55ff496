"""The ledger: durable memory of what was meant, what happened, and how far the sources were read.

Touches one SQLite file, through `sqlite.py` alone; `memory.py` is its twin without a file.
Limits: one process and one thread at a time; see `port.py` for what both promise.
"""
