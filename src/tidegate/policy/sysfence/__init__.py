"""Sysfence's configuration, read as sysfence 0.17 reads it or leniently, as guards and triggers.

Touches nothing but the list of this host's users. `guards` is what policies ask; `understand` says
more, for `tidegate import sysfence`. Limits: nothing here runs a command.
"""

from tidegate.policy.sysfence.reader import Found, Outcome, Reading, guards, understand

__all__ = ["Found", "Outcome", "Reading", "guards", "understand"]
