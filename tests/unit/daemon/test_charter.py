"""The keeper's charter: of guards only the gates that the kernel keeps, and only while switched on."""

from __future__ import annotations

from dataclasses import replace

from tidegate.daemon.charter import charter_of
from tidegate.policy.guards import GateSpec, GuardSpec, Refuse, Service, Step, Throttle
from tidegate.policy.models import Policy

WEB = GateSpec("web.throttle", Throttle((80,)))
STOP = GateSpec("web.stop", Service("apache2.service"))
MAIL = GateSpec("mail", Refuse((25,)))


def test_the_keeper_is_given_the_gates_of_the_kernel() -> None:
    web = GuardSpec("web", steps=(Step(WEB), Step(STOP)))
    mail = GuardSpec("mail", steps=(Step(MAIL),))
    policy = replace(Policy(), guards=(web, mail))
    assert charter_of(policy).gates == (WEB, MAIL)
    assert charter_of(replace(policy, guards=(web, replace(mail, enabled=False)))).gates == (WEB,)
