"""The `[fleet]` section as route and login; a password that others can read is refused."""

from __future__ import annotations

import pytest

from tidegate.errors import OperatorError
from tidegate.fleet.engine.access import engine_of, login_of, read_password, route_of
from tidegate.fleet.engine.connection import Address, Login
from tidegate.policy.fleet import FleetSpec


def test_the_section_says_where_and_who(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o640)
    spec = FleetSpec(
        ("rediss://db1", "rediss://db2:7"), "sentinel", "ours", "web1", str(secret), "/ca"
    )
    route = route_of(spec)
    assert (route.kind, route.name) == ("sentinel", "ours")
    assert route.seeds == (Address("", "db1", 6379, True), Address("", "db2", 7, True))
    assert login_of(spec) == Login("web1", "open sesame", "/ca")
    assert login_of(FleetSpec(("unix:/s",))) == Login()
    engine_of(spec, 1).close()
    engine_of(FleetSpec(("unix:/s",), password_file="/none"), 1, Login()).close()
    with pytest.raises(OperatorError, match="expected unix:"):
        route_of(FleetSpec(("http://db1",)))


@pytest.mark.parametrize("data", [b"", b"\n", b"two\nlines\n", b"\xff", b"x" * 513])
def test_a_password_is_one_line(tmp_path, data):
    path = tmp_path / "password"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(OperatorError, match="one line"):
        read_password(path)


def test_a_password_that_everybody_can_read_is_none(tmp_path):
    path = tmp_path / "password"
    path.write_text("open sesame")
    path.chmod(0o644)
    with pytest.raises(OperatorError, match="chmod 0600"):
        read_password(path)
    with pytest.raises(OperatorError, match="No such file"):
        read_password(tmp_path / "none")
