"""`python -m tests.story [NAME…]`: these stories, or every one; exit code 1 if any failed.

Touches what the stories touch. Limits: they use the same addresses and so never run side by side.
"""

from __future__ import annotations

import sys

from tests.story import (
    bot,
    comment_spam,
    distress,
    fleet,
    full_spool,
    mail_cluster,
    mail_flows,
    overload,
    slammer,
    sobig,
)

STORIES = (
    sobig, slammer, bot, comment_spam, mail_flows, overload, distress, full_spool, mail_cluster,
    fleet,
)  # fmt: skip
NAMED = {story.__name__.rpartition(".")[2]: story for story in STORIES}

if unknown := [name for name in sys.argv[1:] if name not in NAMED]:
    sys.exit(f"there is no story {', '.join(unknown)}; there are {', '.join(NAMED)}")
sys.exit(max(story.main() for story in (NAMED[name] for name in sys.argv[1:] or NAMED)))
