"""What watcher and keeper say to each other, in frames (`tidegate.frames`).

Touches nothing. Answers come in the order of the questions, notices at any time. Limits: version 1.

Watcher to keeper, by `type`: `hello {version}`, `apply {requests: [[verb, subject, ports,
until], …]}`, `replace-begin {}`, `replace-part {bans: [[subject, ports, until], …], allows: …}`,
`replace-commit {}`, `switch {closed: {gate: until, …}}`, `throttled {}`, `drifted {}`, `observe
{}`, `dropped {}`, `confine {confined: [[source, until, watched], …]}`, `outward {}`, `open-all {}`,
`reload {}`, `ping {}`.

Keeper to watcher: `done {refusals: [[index, reason], …], evicted, …}` (of `dropped` also `dropped:
[[set, ports, packets, bytes], …]`, of `switch` `reports: [[gate, state, since, detail], …]`, of
`throttled` `throttled: [[gate, packets, bytes, [[subject, packets], …]], …]`, of `outward`
`outward: [why, [[source, cap, packets, bytes], …], [[filter, packets, bytes], …], [[source, until,
watched], …]]`), before it as many
`part {closed: […]}` or `part {refusals: […]}` as are needed, `error {reason, element}`, `notice
{notice}`: `drift`, `resync`, `off` or `failed`, and `knocks {knocks: [[subject, port], …], missed,
deaf}`: who is closed for and tried again, how many were not passed on since the start, and why none
can be heard; these may come at any time, and are left out where the watcher does not read.
"""

from __future__ import annotations

VERSION = 1
PART = 10_000
"""Requests in one frame: 10,000 take about 0.6 MB."""
