"""busauth's own broker, in a process of its own: nothing to install, nothing that is kept."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scripts.broker.daemon import Daemon
from scripts.broker.ports import LOOPBACK, answers_amqp, free_ports
from scripts.broker.reaper import Reaper


@contextmanager
def embedded(check: Callable[[], None]) -> Iterator[str]:
    """Starts `busauth broker` and yields its URL; `check` may raise to give up."""
    reaper = Reaper()
    try:
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "busauth", "broker", "--port", str(port)]
        daemon = Daemon("broker", command, os.environ, reaper)
        daemon.until_ready(lambda: answers_amqp(port), check)
        try:
            yield f"amqp://guest:guest@{LOOPBACK}:{port}/"
        finally:
            daemon.end(signal.SIGTERM)
    finally:
        reaper.close()
