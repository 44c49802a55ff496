"""Ready-made guards: for what runs here, off, and right as they stand when they are switched on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from tests.unit.daemon.hosts import NOW, Host

from tidegate.daemon.draft import draft
from tidegate.daemon.draft_guards import guard_texts
from tidegate.daemon.survey import survey
from tidegate.daemon.workloads import Workload, workloads
from tidegate.policy.guards import GuardSpec, Properties, Refuse, Service, Throttle
from tidegate.policy.loader import Loaded, read
from tidegate.policy.models import Policy

PROCESSES = ("apache2", "nginx", "exim4", "master", "mariadbd", "php-fpm8.2")
SCRIPTS = ("apache2", "nginx", "exim4", "postfix", "mariadb", "php8.2-fpm")
KINDS = {"php-fpm", "apache", "nginx", "exim", "postfix", "mysql"}


def everything(root: Path, *, systemd: bool = True, ports: bool = True) -> Host:
    host = Host(root).listens(*((25, 80, 443, 465, 587, 3306) if ports else ()))
    for pid, name in enumerate(PROCESSES, 10):
        host.process(pid, name)
    for name in SCRIPTS:
        if systemd and name != "exim4":  # Debian 12 has no unit for it, only a script
            host.unit(f"{name}.service")
        else:
            host.file(f"etc/init.d/{name}", mode=0o755)
    return host.systemd() if systemd else host


def found(host: Host) -> tuple[Workload, ...]:
    return survey((), Policy(), NOW, root=str(host.root), environ={}, pid=1).workloads


def loaded(texts: dict[str, str], *, on: bool) -> Loaded:
    text = "\n".join(texts.values())
    return read([("draft", text.replace("enabled = false", "enabled = true") if on else text)])


def guards(host: Host) -> dict[str, GuardSpec]:
    return {one.name: one for one in loaded(guard_texts(found(host)), on=True).policy.guards}


@pytest.mark.parametrize("systemd", [True, False])
@pytest.mark.parametrize("ports", [True, False])
def test_each_is_off_and_loads_when_it_is_switched_on(
    tmp_path: Path, systemd: bool, ports: bool
) -> None:
    texts = guard_texts(found(everything(tmp_path, systemd=systemd, ports=ports)))
    assert set(texts) == KINDS
    off, on = loaded(texts, on=False), loaded(texts, on=True)
    assert not any(one.enabled for one in off.policy.guards)
    assert all(one.enabled for one in on.policy.guards)
    assert {one.name for one in on.policy.guards} == KINDS
    assert on.notes == ()


def test_the_ladder_is_climbed_from_what_is_taken_back_most_easily(tmp_path: Path) -> None:
    made = guards(everything(tmp_path))
    kinds = {name: [type(gate.terms) for gate in one.gates] for name, one in made.items()}
    assert kinds == {
        "php-fpm": [Throttle, Properties, Service],
        "apache": [Throttle, Properties, Service],
        "nginx": [Throttle, Properties, Service],
        "exim": [Throttle, Refuse, Service],
        "postfix": [Throttle, Properties, Refuse, Service],
        "mysql": [Properties, Service],
    }
    assert made["apache"].gates[0].terms == Throttle((80, 443), 120, burst=60)
    assert made["exim"].gates[-1].terms == Service("exim4")
    assert made["mysql"].gates[-1].terms == Service("mariadb.service")
    assert made["php-fpm"].gates[-1].terms == Service("php8.2-fpm.service")


def test_without_systemd_and_ports_only_the_stop_is_left(tmp_path: Path) -> None:
    made = guards(everything(tmp_path, systemd=False, ports=False))
    assert {gate.terms for one in made.values() for gate in one.gates} == {
        Service(name) for name in SCRIPTS
    }


def test_what_does_not_run_or_cannot_be_stopped_has_no_guard(tmp_path: Path) -> None:
    host = Host(tmp_path).systemd().unit("nginx.service", "mariadb.service")
    host.process(10, "apache2").process(11, "master").process(12, "mysql").process(13, "nginxx")
    assert found(host) == ()
    assert guard_texts(()) == {}


def test_a_unit_counts_only_where_systemd_runs(tmp_path: Path) -> None:
    (tmp_path / "etc/init.d").mkdir(parents=True)
    (tmp_path / "etc/init.d/nginx").touch()
    (tmp_path / "usr/lib/systemd/system").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/system/nginx.service").touch()
    for booted, service in (("systemd", "nginx.service"), ("sysv", "nginx"), ("", "nginx")):
        (one,) = workloads({"nginx"}, (), booted, str(tmp_path))
        assert (one.service, one.because) == (service, "running: nginx")


def test_two_versions_of_php_have_a_guard_each(tmp_path: Path) -> None:
    host = Host(tmp_path).systemd().unit("php8.2-fpm.service", "php7.4-fpm.service")
    host.process(10, "php-fpm8.2").process(11, "php-fpm7.4")
    assert set(guards(host)) == {"php8-2-fpm", "php7-4-fpm"}


def test_what_is_there_already_is_not_added_again(tmp_path: Path) -> None:
    assert set(guard_texts(found(everything(tmp_path)), {"apache", "mysql"})) == KINDS - {
        "apache",
        "mysql",
    }


def test_the_drafted_policy_has_them_once_with_what_they_are_for(tmp_path: Path) -> None:
    text = resources.files("tidegate.policy").joinpath("shipped.toml").read_text("utf-8")
    shipped = read([("shipped", text)]).policy
    host = everything(tmp_path)
    here = survey((), shipped, NOW, root=str(host.root), environ={}, pid=1)
    made = draft(here, shipped, text)
    assert set(made.guards) == KINDS
    assert {one.name for one in read([("draft", made.text)]).policy.guards} == KINDS
    assert "# Ready-made for what runs here, and all off" in made.text
    assert "# mariadb.service (running: mariadbd)" in made.text
    again = draft(here, shipped, text, made.text)
    assert (again.text, again.guards) == (made.text, ())
    mine = '[guard.apache]\nwarn = "la1 >= 8"\n'
    added = draft(here, shipped, text, mine)
    assert added.text.startswith(mine)
    assert set(added.guards) == KINDS - {"apache"}
    assert len(read([("draft", added.text)]).policy.guards) == len(KINDS)
