"""`python -m tests.corpus [SERVICE]...`: the table of the corpus, every miss and every false alarm.

Touches the corpus, reading only. Limits: says what is, judges nothing; the tests do that.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC
from pathlib import Path

from tests.corpus.judging import judge, judged, services, table

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs

DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def main(wanted: list[str]) -> None:
    corpus = Path(os.environ.get("TIDEGATE_CORPUS", DEFAULT))
    engine = Engine(load_packs(), zone=UTC)
    names = wanted or services(corpus)
    for line in table([judge(engine, name, judged(corpus, name)) for name in names]):
        print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
