"""Apache from Debian on the stage, with a page that costs a second of a processor.

Touches a folder of the stage's, a service of its own in /etc/init.d, and Apache's processes; all
are gone afterwards. Limits: root; where systemd runs, the service is not known to it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.story.stage import inside, wait_for

PORT = 80
COSTLY = "/cgi-bin/costly"
_MODULES = ("mpm_prefork", "authz_core", "dir", "alias", "cgi")
_CONFIG = """
ServerName www.example.org
Listen {port}
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
Mutex pthread
User www-data
Group www-data
ErrorLog {folder}/error.log
LogLevel warn
DocumentRoot {folder}/www
ServerLimit 150
MaxRequestWorkers 150
StartServers 5
KeepAlive Off
ScriptAlias /cgi-bin/ {folder}/cgi/
<Directory {folder}>
    Require all granted
</Directory>
"""
_SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides:          {name}
# Required-Start:    $network
# Required-Stop:     $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: a web server on a stage
### END INIT INFO
pid={folder}/apache.pid
running() {{ [ -s $pid ] && kill -0 "$(cat $pid)" 2>/dev/null; }}
case "$1" in
    start) running || exec /usr/sbin/apache2 -f {folder}/apache.conf -k start ;;
    stop)
        running || exit 0
        kill -TERM "$(cat $pid)"
        for i in $(seq 100); do running || exit 0; sleep 0.1; done
        exit 1 ;;
    status) running || exit 3 ;;
    restart) "$0" stop && "$0" start ;;
    *) echo "usage: $0 start|stop|status|restart" >&2; exit 2 ;;
esac
"""
_PAGE = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
exec awk 'BEGIN {{ for (i = 0; i < {work}; i++) x += i; print x }}'
"""


def missing() -> str:
    """Why there can be no Apache here; "" if there can."""
    return "" if os.path.exists("/usr/sbin/apache2") else "apache2 is not installed"


class WebServer:
    """Apache as a service of its own, named `service`, in a namespace."""

    def __init__(self, folder: Path, space: str | None, work: int = 10_000_000) -> None:
        self.folder, self.space = folder / "web", space
        self.service = f"tidegate-story-web-{os.getpid()}"
        self._script = Path("/etc/init.d", self.service)
        for name in ("www", "cgi"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "www" / "index.html").write_text("open for everybody\n")
        page = self.folder / "cgi" / "costly"
        page.write_text(_PAGE.format(work=work))
        page.chmod(0o755)
        modules = "".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
            for name in _MODULES
        )
        config = _CONFIG.format(folder=self.folder, port=PORT)
        (self.folder / "apache.conf").write_text(modules + config)

    def __enter__(self) -> WebServer:
        self._script.write_text(_SCRIPT.format(name=self.service, folder=self.folder))
        self._script.chmod(0o755)
        subprocess.run([*inside(self.space), str(self._script), "start"], check=True)
        wait_for("Apache", self.running)
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run([str(self._script), "stop"], timeout=30, capture_output=True)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._script.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def running(self) -> bool:
        """Whether its first process is there."""
        try:
            pid = int((self.folder / "apache.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return False
        return True

    def processes(self) -> list[int]:
        """Every process that is ours: Apache's by its configuration, its pages by their folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if str(self.folder).encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found
