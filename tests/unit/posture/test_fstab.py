from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tidegate.errors import OperatorError
from tidegate.posture import fstab
from tidegate.posture.host import FLAGS, PLACES, Place

TEXT = """\
# comment
/dev/sda1  /      ext4\terrors=remount-ro 0       1
tmpfs\t/tmp/   tmpfs   size=1g,exec,suid 0\t0
/dev/sdb1 /mnt/my\\040disk ext4 noauto,user 0 0
LABEL=x /var/tmp ext4 defaults,nodev 0 2
"""


def test_lines_are_read_with_their_numbers_and_noauto_counts_as_none() -> None:
    found = fstab.parse(TEXT)
    assert [(one.number, one.point) for one in found] == [(2, "/"), (3, "/tmp"), (5, "/var/tmp")]


def test_the_last_line_for_a_place_is_the_one_on_top() -> None:
    found = fstab.parse("a /tmp ext4 defaults 0 0\nb /tmp ext4 noexec 0 0\n")
    line = fstab.line_for(found, "/tmp")
    assert line is not None
    assert line.source == "b"


def test_a_line_that_says_too_little_is_named() -> None:
    with pytest.raises(OperatorError, match=r"^/etc/fstab:2: expected at least four fields"):
        fstab.parse("# ok\n/dev/sda1 / ext4\n")


@pytest.mark.parametrize(
    ("options", "on"),
    [
        ("defaults", set()),
        ("noexec,defaults", {"noexec"}),
        ("noexec,exec", set()),
        ("exec,noexec", {"noexec"}),
        ("user", set(FLAGS)),
        ("user,exec", {"nosuid", "nodev"}),
        ("owner", {"nosuid", "nodev"}),
        ("nosuid,nodev,noexec", set(FLAGS)),
    ],
)
def test_flags_are_what_mount_makes_of_options(options: str, on: set[str]) -> None:
    assert fstab.flags(options.split(",")) == on


def test_only_the_options_of_that_line_change() -> None:
    line = fstab.line_for(fstab.parse(TEXT), "/tmp")
    assert line is not None
    changed = fstab.amended(TEXT, line)
    assert changed == TEXT.replace("size=1g,exec,suid", "size=1g,nosuid,nodev,noexec")


def test_a_line_is_added_behind_a_text_without_an_end() -> None:
    assert fstab.extended("a b c d", Place("/tmp"), "bind") == (
        "a b c d\n"
        "# /tmp without programs, devices, set-uid: tidegate harden; undone by: tidegate harden --undo\n"
        "/tmp /tmp none bind,nosuid,nodev,noexec 0 0\n"
    )


@pytest.mark.parametrize("place", PLACES, ids=lambda one: one.path)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_what_is_added_is_read_as_all_that_is_wanted(place: Place, kind: str) -> None:
    line = fstab.line_for(fstab.parse(fstab.extended("", place, kind)), place.path)
    assert line is not None
    assert fstab.flags(line.options) == set(FLAGS)


@given(some.text(alphabet="ab/ \t\n#,\\040\u2028\x0b\r"), some.sampled_from(PLACES))
def test_no_other_byte_ever_changes(text: str, place: Place) -> None:
    try:
        line = fstab.line_for(fstab.parse(text), place.path)
    except OperatorError:
        return
    after = fstab.extended(text, place, "bind") if line is None else fstab.amended(text, line)
    if line is None:
        assert after.startswith(text)
    else:
        assert len(after.split("\n")) == len(text.split("\n"))
    again = fstab.line_for(fstab.parse(after), place.path)
    assert again is not None
    assert fstab.flags(again.options) == set(FLAGS)


def ours(folder: Path) -> Path:
    text = "/dev/vda / ext4 defaults 0 1\n"
    for place in PLACES:
        text = fstab.extended(text, place, place.line)
    (folder / "fstab").write_text(text)
    return folder / "fstab"


def test_mount_finds_no_fault_with_our_lines(tmp_path: Path) -> None:
    if shutil.which("findmnt") is None:
        pytest.skip("no findmnt here")
    words = ["findmnt", "--verify", "--tab-file", str(ours(tmp_path))]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "0 parse errors, 0 errors" in done.stdout + done.stderr


def test_systemd_makes_units_of_our_lines(tmp_path: Path) -> None:
    """Of what it mounts itself (/dev/shm, /run/lock) systemd-remount-fs takes the options."""
    generator = Path("/lib/systemd/system-generators/systemd-fstab-generator")
    if not generator.exists():
        pytest.skip("no systemd here")
    folders = [tmp_path / name for name in "abc"]
    for one in folders:
        one.mkdir()
    environment = {"SYSTEMD_FSTAB": str(ours(tmp_path)), "SYSTEMD_LOG_TARGET": "console"}
    subprocess.run([generator, *folders], env=environment, check=True, capture_output=True)
    for name, path in (("tmp.mount", "/tmp"), ("var-tmp.mount", "/var/tmp")):
        said = (folders[0] / name).read_text()
        assert f"What={path}\nWhere={path}\n" in said
        assert "\nOptions=bind,nosuid,nodev,noexec\n" in said
        assert (folders[0] / "local-fs.target.requires" / name).is_symlink()
    assert (folders[0] / "local-fs.target.wants/systemd-remount-fs.service").is_symlink()
