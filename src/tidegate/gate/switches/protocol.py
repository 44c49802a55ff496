"""What watcher and service keeper say to each other, in frames (`tidegate.frames`).

Touches nothing. Nobody waits for an answer: reports and troubles come when there are any.
Limits: version 1.

Watcher to service keeper, by `type`: `hello {version}` (first), `want {closed: {gate: until}}`,
`fire {gate}`, `reload {}`, `open-all {}`. Service keeper to watcher: `reports {reports: [[gate,
state, since, detail], …]}`, and `trouble {line}`: a request that was refused, or what hinders the
service keeper at large; a line for people.
"""

from __future__ import annotations

VERSION = 1
MOST_GATES = 1000
"""Gates that a policy may have; what one frame may name."""
MOST_DETAIL = 4000
"""Characters of a report's detail."""
