"""What a rule may say: scores, conditions, different values, records; and every contradiction told."""

from __future__ import annotations

import pytest

from tidegate.errors import PolicyError
from tidegate.model import DAY, HOUR, MINUTE
from tidegate.policy.loader import cross_check, read
from tidegate.policy.models import Counted, Escalation, Rule, ScoreTerms

SCORE = """
[rule.spam]
on = [{ kind = "modsecurity.spam", weight = 15, where = { id = [300040, 300061] } }, "web.denied"]
score-over = 15
decay = "3/day"
ban = { ports = [80, 443] }
"""
DISTINCT = """
[rule.users]
on = ["sshd.auth_failed"]
distinct = "user"
at-least = 5
within = "10m"
ban = { ports = [22] }
"""


def one(text: str) -> Rule:
    return read([("p.toml", text)]).policy.rules[0]


def faults(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        read([("p.toml", text)])
    return "\n".join(caught.value.faults)


def test_a_score() -> None:
    rule = one(SCORE)
    assert rule.score == ScoreTerms(15, True, 15, DAY, 3)
    assert rule.on == (
        Counted("modsecurity.spam", 15, (("id", ("300040", "300061")),)),
        Counted("web.denied"),
    )
    assert rule.stated == "score over 15, 3 fading in 1d"
    assert rule.probation is False


@pytest.mark.parametrize(
    ("terms", "means"),
    [
        ("score-at-least = 15\ndecay = '1/hour'", ScoreTerms(15, False, 0, HOUR, 1)),
        ("score-at-least = 15\ndecay = '2/5m'\nrelease-at = 5", ScoreTerms(15, False, 5, 5 * MINUTE, 2)),
        ("score-over = 9\nhalf-life = '24h'", ScoreTerms(9, True, 9, DAY, 0, "exponential")),
        ("score-over = 9\ndecay = '3/day'\ncompat = 'modsecurity'", ScoreTerms(9, True, 9, DAY, 3, "steps")),
        ("score-over = 9\ndecay = '3/day'\nknock = 0", ScoreTerms(9, True, 9, DAY, 3, knock=0)),
    ],
)  # fmt: skip
def test_forms_of_scores(terms: str, means: ScoreTerms) -> None:
    assert one(f"[rule.x]\non = ['web.denied']\n{terms}\nban = {{ ports = [] }}").score == means


def test_different_values() -> None:
    rule = one(DISTINCT)
    assert (rule.distinct, rule.threshold, rule.probation) == ("user", 5, True)
    assert rule.stated == "at least 5 different user within 10m"


def test_conditions_for_a_whole_rule() -> None:
    text = DISTINCT.replace(
        "distinct = ", "where = { user = 'root', service = ['a', 'b*'] }\ndistinct = "
    )
    assert one(text).on[0].where == (("user", ("root",)), ("service", ("a", "b*")))


def test_records_and_resets() -> None:
    more = "good-record = 'double'\nreset-on = 'sshd.auth_ok'\nprobation = false\nwithin"
    rule = one(DISTINCT.replace("within", more))
    assert (rule.good_record, rule.reset_on, rule.probation) == ("double", ("sshd.auth_ok",), False)


def test_escalation() -> None:
    text = '[escalation.near]\nnetwork = "ipv4/24"\nchildren = 10\nwithin = "1h"\nfor = "30m"'
    assert read([("p.toml", text)]).policy.escalation == (Escalation(4, 24, 10, HOUR, 30 * MINUTE),)
    assert "ipv4/24" in faults(text.replace("ipv4/24", "ipv4/8"))
    assert '"within" is missing' in faults(text.replace('within = "1h"\n', ""))
    assert "from 3 to 256" in faults(text.replace("10", "2"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SCORE.replace('decay = "3/day"\n', ""), 'one of "decay"'),
        (SCORE.replace("decay", "half-life = '1d'\ndecay"), 'one of "decay"'),
        (SCORE.replace('"3/day"', '"3 a day"'), "points per time"),
        (SCORE.replace("decay", "within = '5m'\ndecay"), "rule.spam.within: within goes with"),
        (SCORE.replace("decay", "more-than = 3\ndecay"), "exactly one of"),
        (SCORE.replace("decay", "release-at = 16\ndecay"), "at most 15, the limit"),
        (SCORE.replace("weight = 15", "weight = 0"), "weights from 1 to 1000"),
        (SCORE.replace("weight = 15", "points = 15"), "tables such as"),
        (SCORE.replace("id =", "Id ="), "fields with a text"),
        (SCORE.replace('decay = "3/day"', "half-life = '1d'\nrelease-at = 0"), "never comes down to 0"),
        (SCORE.replace('decay = "3/day"', "half-life = '1d'\ncompat = 'modsecurity'"), "can't be had"),
        (DISTINCT.replace("at-least = 5", "at-least = 300"), "exactly, up to 256"),
        (DISTINCT.replace("distinct", "decay = '3/day'\ndistinct"), "goes with score-over"),
        (DISTINCT.replace('["sshd.auth_failed"]', '{ "sshd.auth_failed" = 2 }'), "without weights"),
        (DISTINCT.replace('distinct = "user"', 'knock = 1'), "goes with score-over"),
        (DISTINCT.replace('["sshd.auth_failed"]', '{ "sshd.auth_failed" = -2 }').replace('distinct = "user"', ""), "only a score"),
        (DISTINCT.replace("within = ", "# "), '"within" is missing'),
        (DISTINCT.replace("within", "when.hihg = { at-least = 2 }\nwithin"), 'rule.users.when.hihg: unknown key; did you mean "high"?'),
        (DISTINCT.replace("within", "when.low = { at-least = 2 }\nwithin"), "rule.users.when.low: unknown key"),
        (DISTINCT.replace("within", "when.high = 2\nwithin"), "rule.users.when.high: expected a table, found 2"),
        (DISTINCT.replace("within", "when.high = {}\nwithin"), "rule.users.when.high: expected more-than or at-least, such as { at-least = 2 }"),
        (DISTINCT.replace("within", "when.high = { score-over = 2 }\nwithin"), "rule.users.when.high: expected more-than or at-least"),
        (DISTINCT.replace("within", "when.high = { at-least = 2, more-than = 1 }\nwithin"), "rule.users.when.high: expected more-than or at-least"),
        (DISTINCT.replace("within", "when.high = { at-least = 6 }\nwithin"), "rule.users.when.high: a higher tide can only tighten; expected no more than before"),
        (DISTINCT.replace("within", "when.high = { at-least = 2 }\nwhen.flood = { at-least = 3 }\nwithin"), "rule.users.when.flood: a higher tide can only tighten"),
        (DISTINCT.replace("within", "when.high = { at-least = 0 }\nwithin"), "rule.users.when.high.at-least: expected a whole number"),
        (SCORE.replace("decay", "when.high = { score-at-least = 5 }\ndecay"), "rule.spam.when.high: expected score-over, such as { score-over = 2 }"),
    ],
)  # fmt: skip
def test_contradictions(text: str, said: str) -> None:
    assert said in faults(text)


def test_kinds_with_a_star_are_written_out() -> None:
    text = DISTINCT.replace('["sshd.auth_failed"]', '["*.auth_failed"]')
    kinds = ["exim.auth_failed", "sshd.auth_failed", "sshd.auth_ok"]
    checked = cross_check(read([("p.toml", text)]), kinds, [])
    assert checked.policy.rules[0].kinds == ("exim.auth_failed", "sshd.auth_failed")


def test_a_name_beats_a_star() -> None:
    text = SCORE.replace('"web.denied"', '"web.*", { kind = "web.denied", weight = 3 }')
    kinds = ["modsecurity.spam", "web.denied", "web.probe"]
    checked = cross_check(read([("p.toml", text)]), kinds, [])
    weights = {one.kind: one.weight for one in checked.policy.rules[0].on}
    assert weights == {"modsecurity.spam": 15, "web.denied": 3, "web.probe": None}


def test_a_star_that_nothing_sees_is_a_fault() -> None:
    with pytest.raises(PolicyError, match=r"no detector sees 'nobody\.\*'"):
        cross_check(
            read([("p.toml", DISTINCT.replace("sshd.auth_failed", "nobody.*"))]), ["a.b"], []
        )


SERVICE = """
[rule.guessing]
on = ["*.auth_failed", "*.too_many", "!sshd.*"]
at-least = 5
within = "10m"
ban = { ports = "service" }
"""


def test_a_rule_for_each_service_closes_that_service_s_ports() -> None:
    kinds = ["grafana.auth_failed", "grafana.too_many", "pam.auth_failed", "sshd.auth_failed"]
    ports = {"grafana": (3000,), "pam": (), "sshd": (22,)}
    policy = cross_check(read([("p.toml", SERVICE)]), kinds, [], ports).policy
    assert [(rule.name, rule.kinds, rule.ban.ports) for rule in policy.rules] == [
        ("guessing.grafana", ("grafana.auth_failed", "grafana.too_many"), (3000,)),
        ("guessing.pam", ("pam.auth_failed",), ()),
    ]
    assert policy.stated_rules == 1


def test_what_is_left_out_has_no_weight() -> None:
    text = SERVICE.replace('"!sshd.*"', '{ kind = "!sshd.*", weight = 2 }')
    assert "left out" in faults(text)
