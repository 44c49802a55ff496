"""The host's posture: what lets a dropped program run here, what is open, and what became of it.

Touches what each module says; only `apply` and `undo` change anything, only `evidence` copies.
Limits: Linux, one mount namespace; what it finds are facts and advice, no decisions.
"""
