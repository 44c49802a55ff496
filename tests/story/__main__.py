"""`python -m tests.story`: every story, one after the other; exit code 1 if any failed.

Touches what the stories touch. Limits: they use the same addresses and so never run side by side.
"""

from __future__ import annotations

import sys

from tests.story import (
    comment_spam,
    distress,
    full_spool,
    mail_cluster,
    mail_flows,
    overload,
    sobig,
)

STORIES = (sobig, comment_spam, mail_flows, overload, distress, full_spool, mail_cluster)

sys.exit(max(story.main() for story in STORIES))
