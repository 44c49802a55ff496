"""Published policies: signed entries, the shelf they are kept on, which of them a host takes.

Touches the shelf. Limits: nothing of it is believed before it was verified from the anchor on.
"""
