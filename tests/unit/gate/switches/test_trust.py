from __future__ import annotations

import os

import pytest

from tidegate.gate.switches.trust import distrusted, runnable, unsafe

OWN = (os.geteuid(),)


@pytest.fixture
def script(public_folder):
    made = public_folder / "drain"
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    return made


def test_what_only_its_owner_can_change_may_be_run(script):
    assert distrusted(script, OWN) == ""
    assert runnable(str(script), OWN) == ""
    assert runnable("true", OWN) == ""


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_what_others_can_write_is_not_run(script, mode):
    script.chmod(mode)
    assert "chmod go-w" in distrusted(script, OWN)


def test_what_stands_in_a_folder_of_others_is_not_run(script):
    script.parent.chmod(0o777)
    assert f"chmod go-w {script.parent}" in distrusted(script, OWN)


def test_a_link_is_judged_by_what_it_points_at(script, public_folder):
    link = public_folder / "link"
    link.symlink_to(script)
    assert distrusted(link, OWN) == ""
    script.chmod(0o777)
    assert "others than root" in distrusted(link, OWN)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_what_belongs_to_somebody_else_is_not_run(script):
    os.chown(script, 12345, 0)
    assert "chown root" in distrusted(script, OWN)


def test_what_is_not_there_is_said(public_folder):
    assert "not found" in runnable("/no/such", OWN)
    assert "no such command" in runnable("no-such-command", OWN)
    assert "No such file" in distrusted(public_folder / "x", OWN)


def test_a_file_is_put_only_where_nobody_else_can_lead_it_elsewhere(public_folder):
    file = public_folder / "load"
    assert unsafe(file, OWN) == ""  # made by the first closing
    file.touch()
    link = public_folder / "link"
    link.symlink_to(file)
    assert unsafe(link, OWN) == ""
    public_folder.chmod(0o1777)  # what is not there yet, others may put there
    assert f"others than root may write {public_folder}" in unsafe(file, OWN)
    public_folder.chmod(0o775)
    assert f"others than root may write {public_folder}" in unsafe(link, OWN)


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes links of others")
def test_a_file_is_not_put_where_a_link_of_somebody_else_leads(public_folder):
    link = public_folder / "link"
    link.symlink_to(public_folder / "precious")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    assert "a link of somebody else's" in unsafe(link, OWN)
