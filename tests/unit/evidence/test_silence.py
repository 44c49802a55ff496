"""Whether the network is what fails."""

from __future__ import annotations

from tidegate.evidence.silence import ALIVE, Silence


def test_while_nobody_is_answered_failures_are_explained():
    silence = Silence()
    assert silence.explains(0)
    silence.heard(100)
    assert not silence.explains(100 + ALIVE)
    assert silence.explains(101 + ALIVE)
    assert silence.explains(101 + ALIVE, 50)


def test_tries_of_a_long_silence_are_explained_afterwards():
    silence = Silence()
    silence.heard(100)
    end = 100 + 10 * ALIVE
    silence.heard(end)
    assert not silence.explains(end, 99)
    assert silence.explains(end, 100)
    assert silence.explains(end, end - 1)
    assert not silence.explains(end, end)
    silence.heard(50)  # told late: nothing becomes older by it
    assert not silence.explains(end + ALIVE)
