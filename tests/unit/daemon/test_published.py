"""Every loader judges what the fleet has published from the anchor on; the anchor is root's."""

import os
import socket
import threading
from pathlib import Path

import pytest
from tests.unit.fleet.press import RULES, Press, files

from tidegate.daemon import published
from tidegate.daemon.build import plan
from tidegate.daemon.publishing import checked
from tidegate.errors import FleetError, OperatorError, PolicyError
from tidegate.fleet import wire
from tidegate.fleet.journal import journal
from tidegate.fleet.journal.librarian import Library, serve
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.keys import Identity
from tidegate.fleet.trust.members import Certificate, May, certify

pytest.importorskip("cryptography")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the anchor is root's")

FLEET = bytes(range(16))
TEXT = RULES + b"ban = { ports = [22] }\n"
OWN = '[fleet]\nengine = "unix:/run/e.sock"\n[paths]\nfleet = "{0}/keys"\ndetectors = "{0}/own"\n'


class Office:
    """A desk, and a publisher with real keys, beside a host of theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, folder / "keys"
        self.desk, self.host = keys.make(folder / "desk"), keys.make(self.keys)
        keys.save_identity(self.keys, Identity(FLEET, self.desk.public, "web1"))
        (self.keys / "journal").mkdir()
        self.config = folder / "tidegate.toml"
        self.config.write_text(OWN.format(folder))
        published.anchor.cache_clear()

    def bundle(self, number: int, content: bytes, may: May = May.PUBLISH) -> bytes:
        found = Certificate("web1", self.host.public, may)
        paper = wire.seal(certify(found, 1, 1_000_000), FLEET, self.desk.sign)
        entry = journal.Entry(number, journal.digest(content))
        sealed = journal.publish(entry, "web1", FLEET, 1_000_000, self.host.sign)
        return journal.encode_bundle(b"", paper, sealed, content)

    @property
    def shelf(self):
        found = published.anchor(str(self.keys), True)
        assert found is not None
        return found.shelf(published.loader.load(self.config).policy.paths)

    def take(self, number: int, more=None) -> None:
        assert self.shelf.put(self.bundle(number, journal.pack(files(TEXT) | (more or {})))) == ""
        assert self.shelf.use(self.shelf.policies()[0].id.hex()) == ""


@pytest.fixture
def office(tmp_path: Path):
    yield Office(tmp_path)
    published.anchor.cache_clear()


def rules(office: Office) -> list[str]:
    return [one.name for one in published.load(office.config, trusted=True).policy.rules]


def test_what_the_fleet_published_holds_where_it_is_taken(office):
    assert rules(office) == []
    office.take(1)
    assert rules(office) == ["guessing"]
    office.config.write_text(office.config.read_text().replace(
        "[paths]", "accept = { policy = false }\n[paths]"))  # fmt: skip
    assert rules(office) == []


def test_no_file_of_the_shelf_is_believed(office):
    office.take(1)
    (place,) = (office.keys / "journal").glob("*.policy")
    place.write_bytes(place.read_bytes().replace(b"office", b"0ffice")[:-1])
    assert rules(office) == []
    thief = Press("web1")
    place.write_bytes(thief.bundle(1, TEXT))
    assert rules(office) == []
    place.write_bytes(office.bundle(1, journal.pack(files(TEXT)), May.CLAIM | May.DECIDE))
    assert rules(office) == []


def test_an_anchor_that_others_could_change_is_refused(office):
    office.take(1)
    office.keys.chmod(0o777)
    published.anchor.cache_clear()
    with pytest.raises(PolicyError, match="writable by others"):
        rules(office)
    office.keys.chmod(0o711)
    os.chown(office.keys, 65534, 65534)
    with pytest.raises(PolicyError, match="belongs to uid 65534"):
        rules(office)


def test_an_own_detector_replaces_a_published_one_and_that_a_shipped_one(office):
    shipped = Path(published.__file__).parents[1] / "detector/packs/sshd.toml"
    text = shipped.read_bytes()
    office.take(1, {"detectors/sshd.toml": text})
    origins = {pack.name: pack.origin for pack in plan(office.config, trusted=True).packs}
    assert origins["sshd"] == "fleet policy 1: detectors/sshd.toml"
    (office.folder / "own").mkdir()
    (office.folder / "own" / "sshd.toml").write_bytes(text)
    origins = {pack.name: pack.origin for pack in plan(office.config, trusted=True).packs}
    assert origins["sshd"] == f"{office.folder}/own/sshd.toml"


def test_what_check_refuses_is_not_published(office):
    assert checked(1, files(TEXT), office.config).leave == ()
    command = b"[notify.x]\ncommand = ['/bin/true']\n"
    for wrong, said in (
        (TEXT.replace(b"sshd.auth_failed", b"sshd.no_such"), "no detector sees"),
        (b"[paths]\nrun = '/x'\n", "each host's own"),
        (b"[guard.x]\nsysfence = '/etc/sysfence.conf'\n", "a file of one host"),
        (command, "accept = { commands = true }"),
    ):
        with pytest.raises(OperatorError, match=said):
            checked(1, files(wrong), office.config)
    with pytest.raises(OperatorError, match=r"detectors/x\.toml"):
        checked(1, files(TEXT) | {"detectors/x.toml": b"name = 3"}, office.config)
    office.config.write_text(office.config.read_text().replace(
        "[paths]", "accept = { commands = true }\n[paths]"))  # fmt: skip
    assert checked(1, files(command), office.config).leave == (
        "fleet policy 1: tidegate.toml: notify.x.command",
    )


def test_the_librarian_keeps_it_and_says_when_it_is_gone(office):
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs, office.shelf, "web1"))
    thread.start()
    library = Library(ours)
    assert library.put(office.bundle(1, journal.pack(files(TEXT)))) == ""
    (book,) = library.books
    assert (book.number, book.mine, book.canary, library.current) == (1, True, False, "")
    assert library.use(book.id) == ""
    assert library.book() == book
    assert library.put(b"rubbish") != ""
    assert library.use("0" * 32) != ""
    ours.shutdown(socket.SHUT_RDWR)
    thread.join()
    with pytest.raises(FleetError, match="the librarian is gone"):
        library.look()
