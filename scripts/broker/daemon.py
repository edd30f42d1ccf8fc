"""A server process that comes up, and goes with everything that it started."""

import contextlib
import fcntl
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from scripts.broker.process import await_init, descendants, kill_group, released, until
from scripts.broker.reaper import Reaper
from scripts.broker.telling import BrokerError

READY_SECONDS = 90.0
STOP_SECONDS = 30.0
LOG_TAIL_LINES = 15


class Daemon:
    """Leads a process group of its own; it and its helpers hold a lock on its log."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], reaper: Reaper
    ) -> None:
        self._log = reaper.folder / f"{name}.log"
        self._reaper = reaper
        with self._log.open("ab") as output:
            fcntl.flock(output, fcntl.LOCK_SH)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=reaper.folder,
                env=env,
                start_new_session=True,
            )
        reaper.note(self._process.pid)

    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def until_ready(self, ready: Callable[[], bool], check: Callable[[], None]) -> None:
        """Returns when the server answers; ``check`` may raise to give up."""

        def settled() -> bool:
            check()
            return not self.runs() or ready()

        began = time.monotonic()
        in_time = until(settled, READY_SECONDS)
        if not self.runs() or not in_time:
            raise BrokerError(self._failure(time.monotonic() - began))

    def _failure(self, seconds: float) -> str:
        what = "did not answer" if self.runs() else "ended"
        lines = self._log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
        tail = "".join(f"\n    {line}" for line in lines)
        return f"{self._log.stem} {what} after {seconds:.0f} s; its log ends:{tail}"

    def end(self, number: int) -> None:
        """Sends a signal; returns when the process and all that it started are gone."""
        helpers = descendants(self._process.pid)
        self._process.send_signal(number)
        if number != signal.SIGKILL:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        kill_group(self._process.pid)
        self._process.wait()
        if until(lambda: released(self._log), STOP_SECONDS):
            self._reaper.forget(self._process.pid)
        await_init(helpers)
