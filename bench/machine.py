"""What the machine, and the broker on it, did while something was measured."""

import asyncio
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Self

import psutil
from yarl import URL

_EVERY = 0.05
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


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    idle: float
    total: float
    broker: float | None


class Watch:
    """Looks at the machine every now and then while inside.

    Args:
        url: the broker, whose process is looked for.
    """

    def __init__(self, url: str) -> None:
        self._process = _broker(url)
        self._looks: list[_Look] = []
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to look."""
        self._looks.append(self._look())
        self._looking = asyncio.create_task(self._look_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Look once more: what was fast is over between two looks."""
        if self._looking is not None:
            self._looking.cancel()
        self._looks.append(self._look())

    def load(self, first: float, last: float) -> Load:
        """Return what went on between two instants of the monotonic clock."""
        began = max((look for look in self._looks if look.at <= first), key=_at)
        ended = min((look for look in self._looks if look.at >= last), key=_at)
        load = Load((ended.idle - began.idle) / ((ended.total - began.total) or 1))
        if began.broker is not None and ended.broker is not None:
            load.broker = (ended.broker - began.broker) / (ended.at - began.at)
        return load

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            self._looks.append(self._look())

    def _look(self) -> _Look:
        times = psutil.cpu_times()
        return _Look(time.monotonic(), times.idle, sum(times), _seconds(self._process))


def _at(look: _Look) -> float:
    return look.at


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
