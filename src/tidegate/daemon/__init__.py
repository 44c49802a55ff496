"""The daemon: the only place that knows every stage and puts them together.

Touches whatever its stages touch. Start with `pipeline` (pure), then `watcher`, then `master`.
Limits: one host; nothing here decides anything by itself.
"""
