"""The load generator as a process of its own, and what it says of itself."""

import signal
import subprocess
import sys
import threading

from canaryd.sandbox.load.report import LogRow, Report, decode
from canaryd.sandbox.processes import signal_group, spawn

_START = 10.0  # seconds until the first report
_END = 8.0  # seconds that the last answers may take, which is more than a request's timeout


class LoadError(RuntimeError):
    """The load generator did not start, or ended by itself; the message has its last words."""


class Load:
    """Load on one URL, from `start` to `stop` or until `seconds` are over.

    host_header: sent as Host; the URL's own host by default. rps: requests per second. seed: of the moments
    at which they are sent. The child ends with this process, however that ends.
    """

    def __init__(
        self, url: str, host_header: str = "", *, rps: float = 300.0, seed: int = 0, seconds: float = 3600.0
    ) -> None:
        options = {"--url": url, "--host": host_header, "--rps": rps, "--seed": seed, "--seconds": seconds}
        words = [str(word) for option in options.items() for word in option]
        self._argv = [sys.executable, "-m", "canaryd.sandbox.load", "--json", *words]
        self._thread = threading.Thread(target=self._follow, name="load", daemon=True)
        self._lock = threading.Lock()
        self._first = threading.Event()
        self._process: subprocess.Popen[bytes]
        self._report = Report()
        self._log: list[LogRow] = []
        self._complaint = ""

    def start(self) -> None:
        """Returns after the first report. Raises LoadError. Once only."""
        self._process = spawn(self._argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._thread.start()
        if not self._first.wait(_START) or self._complaint:
            self.stop()
            raise LoadError(self._complaint or "the load generator says nothing")

    def stop(self) -> Report:
        """Sends nothing more, waits for the last answers, returns the totals."""
        if self._thread.ident is not None:  # it was started
            signal_group(self._process, signal.SIGTERM)
            self._thread.join(_END)
            signal_group(self._process, signal.SIGKILL)
            self._thread.join()
        return self.report()

    def report(self) -> Report:
        """The totals so far, at most about half a second old."""
        with self._lock:
            return self._report

    def log(self) -> list[LogRow]:
        """What happened, by the second; rows that differ in `requests` alone are to be added up."""
        with self._lock:
            return [*self._log]

    def _follow(self) -> None:
        """Reads the child's reports until it ends."""
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr:
            for line in process.stdout:
                self._take(line.decode())
            complaint = process.stderr.read().decode(errors="replace").strip()
        code = process.wait()
        if code:
            self._complaint = complaint or f"the load generator ended with {code}"
        self._first.set()

    def _take(self, line: str) -> None:
        report, rows = decode(line)
        with self._lock:
            self._report = report
            self._log += rows
        self._first.set()
