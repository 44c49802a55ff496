"""Tidegate closes a gate when the tide of abuse rises, and opens it again when it falls.

Touches nothing by itself: import what you need from the folder that is named for it.
Limits: Linux and Python 3.11 or later.
"""

__version__ = "0.1.0"
