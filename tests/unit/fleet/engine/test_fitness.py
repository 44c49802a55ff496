"""Which servers can be an engine, and what is to be said of those that can."""

from __future__ import annotations

import pytest

from tidegate.errors import FleetError, OperatorError
from tidegate.fleet.engine.fitness import check, name, notes, read_info

REDIS = read_info(
    b"# Server\r\nredis_version:7.0.15\r\n\r\n# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\nrole:master\r\n"
)
VALKEY = {**REDIS, "redis_version": "7.2.4", "valkey_version": "8.1.0"}


def test_redis_and_valkey_are_taken_from_seven_on():
    assert name(REDIS) == "Redis 7.0.15"
    assert name(VALKEY) == "Valkey 8.1.0"
    for good in (REDIS, VALKEY):
        check(good)
    for version in ("6.2.14", "", "x.1"):
        with pytest.raises(OperatorError, match="7 or newer"):
            check({**REDIS, "redis_version": version})


def test_a_replica_is_no_engine():
    with pytest.raises(OperatorError, match="name its primary"):
        check({**REDIS, "role": "slave"})


def test_what_should_be_put_right_is_said_and_stops_nothing():
    assert notes(REDIS, password=True) == []
    (said,) = notes({**REDIS, "maxmemory": "9", "maxmemory_policy": "allkeys-lru"}, password=True)
    assert "maxmemory-policy noeviction" in said
    assert notes({**REDIS, "maxmemory_policy": "allkeys-lru"}, password=True) == []
    (said,) = notes(REDIS, password=False)
    assert "packaging/fleet/tidegate.acl" in said


def test_what_is_no_answer_is_said():
    with pytest.raises(FleetError, match="does not say what it is"):
        read_info(None)
