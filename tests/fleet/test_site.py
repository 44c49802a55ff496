"""The scene itself: what the other tests here stand on is as they think."""

from __future__ import annotations

import time

import pytest
from tests.fleet.servers import MISSING
from tests.fleet.site import HOST, OPERATOR, OUTSIDE, connected, site

from tidegate.errors import FleetError
from tidegate.fleet.engine.connection import Login, connect

pytestmark = pytest.mark.skipif(MISSING, reason="no redis-server is installed")


def test_hosts_reach_the_engine_and_guessers_the_hosts(tmp_path):
    with site(tmp_path) as scene:
        web1, web2 = scene.hosts("web1", "web2")
        engine = scene.engine()
        with connected(web1, engine) as one:
            assert one.call([("PING",)], 5) == [b"PONG"]
            (refused,) = one.call([("FLUSHALL",)], 5)
            assert isinstance(refused, Exception)
        with web2.space.listen(22):
            assert scene.outside.space.reaches(web2.address, 22, OUTSIDE[0])
        with connected(web1, engine, Login()) as nobody:
            assert "NOAUTH" in str(nobody.call([("PING",)], 5))
        with pytest.raises(FleetError), web1.space.inside():
            connect(engine.reached, Login("tidegate", "guessed"), 5)


def test_a_cable_is_pulled_and_put_in_again(tmp_path):
    with site(tmp_path) as scene:
        (web1,) = scene.hosts("web1")
        engine = scene.engine()
        with connected(web1, engine) as one:
            web1.cut()
            with pytest.raises(FleetError):
                one.call([("PING",)], 0.5)
            web1.mend()
        with connected(web1, engine) as one:
            assert one.call([("PING",)], 20) == [b"PONG"]


def test_a_long_line_takes_its_time_and_loses_some(tmp_path):
    with site(tmp_path, delay=0.04, loss=0.01) as scene:
        (web1,) = scene.hosts("web1")
        engine = scene.engine()
        with connected(web1, engine) as one:
            began = time.monotonic()
            for _ in range(20):
                assert one.call([("PING", b"x" * 30_000)], 30) == [b"x" * 30_000]
            # There and back: what time itself means, and no upper bound.
            assert time.monotonic() - began >= 20 * 0.08
        passed, lost = scene.carried()
        assert passed > 800
        assert 0 < lost < passed // 20


def test_a_replica_is_promoted(tmp_path):
    with site(tmp_path) as scene:
        (web1,) = scene.hosts("web1")
        primary = scene.engine()
        replica = scene.engine("replica", 252, of=primary)
        with connected(web1, primary, OPERATOR) as one:
            one.call([("SET", "{tg:00}x", "1"), ("WAIT", 1, 20_000)], 30)
        primary.kill()
        replica.promote()
        with connected(web1, replica, HOST) as one:
            assert one.call([("GET", "{tg:00}x"), ("SET", "{tg:00}x", "2")], 10) == [b"1", b"OK"]
