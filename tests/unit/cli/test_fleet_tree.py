"""What is published of a work tree is what git knows and has committed, and nothing else."""

import subprocess

import pytest

from tidegate.cli.fleet_tree import read_tree
from tidegate.errors import OperatorError


def git(folder, *words):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "tidegate.toml").write_text("mode = 'observe'\n")
    for folder in ("policy.d", "detectors", "sysfence", "scripts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "policy.d" / "10-mail.toml").write_text("")
    (tmp_path / "detectors" / "own.toml").write_text("")
    (tmp_path / "sysfence" / "web").write_text("")
    (tmp_path / "scripts" / "x.toml").write_text("")
    (tmp_path / "README.md").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    return tmp_path


def test_only_policy_is_taken_and_the_rest_is_named(tree):
    found = read_tree(tree)
    assert sorted(found.files) == [
        "detectors/own.toml", "policy.d/10-mail.toml", "sysfence/web", "tidegate.toml"
    ]  # fmt: skip
    assert found.left == ("README.md", "scripts/x.toml")
    assert len(found.commit) == 12


def test_a_folder_of_a_larger_tree_may_be_published(tree):
    (tree / "site").mkdir()
    (tree / "site" / "tidegate.toml").write_text("mode = 'enforce'\n")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "x")
    assert read_tree(tree / "site").files == {"tidegate.toml": b"mode = 'enforce'\n"}


def test_what_no_commit_has_is_refused(tree):
    (tree / "tidegate.toml").write_text("mode = 'enforce'\n")
    with pytest.raises(OperatorError, match=r"tidegate\.toml; commit them"):
        read_tree(tree)
    git(tree, "checkout", "tidegate.toml")
    (tree / "detectors" / "new.toml").write_text("")
    with pytest.raises(OperatorError, match="commit them"):
        read_tree(tree)


def test_a_link_is_not_followed(tree):
    (tree / "sysfence" / "web").unlink()
    (tree / "sysfence" / "web").symlink_to("/etc/shadow")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "x")
    with pytest.raises(OperatorError, match="sysfence/web: expected a readable file"):
        read_tree(tree)


def test_what_is_no_work_tree_is_said(tmp_path):
    with pytest.raises(OperatorError, match="expected a git work tree"):
        read_tree(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(OperatorError, match="nothing to publish"):
        read_tree(tmp_path)


def test_nothing_that_the_tree_configures_is_run(tree):
    mark = tree.parent / "ran"
    git(tree, "config", "core.fsmonitor", f"touch {mark}; false")
    read_tree(tree)
    assert not mark.exists()
