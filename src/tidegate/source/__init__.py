"""Where bytes come from: log files, the journal, standard input, and files that are replayed.

Touches the disk, inotify and `journalctl`; decides nothing. Each source stands behind
`port.Source`. Limits: see docs/sources.md.
"""
