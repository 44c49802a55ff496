"""What every test shares: where the corpus stands, what needs a kernel, a folder others can read.

Touches the umask of the test run and temporary folders, which it removes. `TIDEGATE_REQUIRE`
(`corpus`, `kernel`, `daemons`, comma between) turns a skip of such a test into a failure. Limits: Linux.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIRED = frozenset(filter(None, os.environ.get("TIDEGATE_REQUIRE", "").split(",")))
OPTIONAL = ("corpus", "kernel", "daemons")
DAEMONS = (
    "sshd", "nginx", "apache2", "dovecot", "vsftpd", "haproxy", "keepalived", "systemd-journald",
    "ssh", "curl", "nfcapd", "nfdump", "softflowd", "redis-server",
)  # fmt: skip

# What a change must pass is the same each time; whoever runs tests by hand looks at other examples.
settings.register_profile("required", derandomize=True)
if REQUIRED:
    settings.load_profile("required")

_skipped: dict[str, list[str]] = {}


def corpus_folder() -> Path | None:
    """Where the log corpus is: `$TIDEGATE_CORPUS`, else `../shared/corpus`; None if neither."""
    stated = os.environ.get("TIDEGATE_CORPUS")
    folder = Path(stated) if stated else REPOSITORY.parent / "shared" / "corpus"
    return folder if folder.is_dir() else None


def kernel_missing() -> str:
    """Why the kernel tests can't run here; "" if they can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in ("nft", "ip", "unshare") if shutil.which(tool) is None]
    return f"{', '.join(missing)} not installed" if missing else ""


def daemons_missing() -> str:
    """Why the tests with real daemons can't run here; "" if they can."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/lib/systemd"
    missing = [name for name in DAEMONS if shutil.which(name, path=places) is None]
    return kernel_missing() or (
        f"no {', '.join(missing)}; run: packaging/setup-checkout daemons" if missing else ""
    )


def pytest_sessionstart() -> None:
    """Told to end, a run still clears away what its tests made, as if interrupted by a person."""
    own = os.getpid()

    def end(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if os.getpid() != own else signal.SIG_IGN)
        if os.getpid() != own:  # forked by a test, and none of this run
            os.kill(os.getpid(), signal.SIGTERM)
            return
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    # A shell has what it starts with `&` ignore these, and all that this starts would, too.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of the log corpus; the test is skipped where there is none."""
    folder = corpus_folder()
    if folder is None:
        pytest.skip("no log corpus: set TIDEGATE_CORPUS or put it at ../shared/corpus")
    return folder


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """An empty folder (0755) that every user can enter, unlike `tmp_path`; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def pytest_configure() -> None:
    """Files that tests make are readable, whatever the caller's umask."""
    os.umask(0o022)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test where what it needs is missing: a kernel, daemons, the corpus."""
    if item.get_closest_marker("kernel") and (why := kernel_missing()):
        pytest.skip(f"kernel test: {why}")
    if item.get_closest_marker("daemons") and (why := daemons_missing()):
        pytest.skip(f"daemons test: {why}")
    if item.get_closest_marker("corpus") and corpus_folder() is None:
        pytest.skip("corpus test: set TIDEGATE_CORPUS or put the corpus at ../shared/corpus")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count skips of optional tests; a required one that was skipped has failed."""
    report = yield
    needs = [name for name in OPTIONAL if item.get_closest_marker(name)]
    if "corpus" in getattr(item, "fixturenames", ()) and "corpus" not in needs:
        needs.append("corpus")
    if report.skipped and needs and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        for name in needs:
            _skipped.setdefault(name, []).append(reason.removeprefix("Skipped: "))
        if REQUIRED.intersection(needs):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} must not be skipped (TIDEGATE_REQUIRE): {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each kind of test that could not run here, and why."""
    for name, reasons in _skipped.items():
        why = "; ".join(sorted(set(reasons)))
        terminalreporter.write_line(f"{len(reasons)} {name} tests did not run: {why}", yellow=True)
