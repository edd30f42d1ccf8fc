"""What the machine, and the broker on it, did while something was measured."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import psutil
from yarl import URL

_PACKAGES = (
    "aio-pika", "aiormq", "pamqp", "PyJWT", "cryptography", "pydantic", "faststream", "taskiq",
    "taskiq-aio-pika",
)  # fmt: skip


@dataclass(slots=True)
class Load:
    """Shares of time while something ran.

    Attributes:
        idle: of all cores, 0 to 1.
        broker: cores that the broker kept busy; None where its process cannot be seen.
    """

    idle: float = 0.0
    broker: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@contextmanager
def watched(url: str) -> Iterator[Load]:
    """Fill in a load when this block ends."""
    load, broker, began = Load(), _broker(url), time.monotonic()
    psutil.cpu_times_percent()  # what follows is counted from here
    before = _seconds(broker)
    yield load
    load.idle = psutil.cpu_times_percent().idle / 100
    after = _seconds(broker)
    if before is not None and after is not None:
        load.broker = (after - before) / (time.monotonic() - began)


def _broker(url: str) -> psutil.Process | None:
    """Find the process that listens on the broker's port, where we may look."""
    port = URL(url).port
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    listening = (
        c for c in connections if c.status == psutil.CONN_LISTEN and c.laddr[1:] == (port,)
    )
    return next((psutil.Process(found.pid) for found in listening if found.pid), None)


def _seconds(process: psutil.Process | None) -> float | None:
    try:
        return None if process is None else sum(process.cpu_times()[:2])
    except psutil.Error:
        return None


def described() -> dict[str, Any]:
    """Return what figures of this machine depend on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(),
        **{name: version(name) for name in _PACKAGES},
    }
