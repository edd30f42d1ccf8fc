"""How long a publication may take, its wait for a connection included."""

import asyncio
import math
from dataclasses import dataclass
from typing import Self

from busauth.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Within:
    """A span of time that has begun.

    Attributes:
        seconds: how long it is.
        until: its end, on the event loop's clock.
    """

    seconds: float
    until: float

    @classmethod
    def of(cls, said: float | None, default: float) -> Self:
        """Begin now.

        Args:
            said: seconds for this publication, None for the default.
            default: seconds for publications.

        Raises:
            ConfigurationError: it is no span of time.
        """
        check_timeout(said)
        seconds = default if said is None else said
        return cls(seconds, asyncio.get_running_loop().time() + seconds)

    def limit(self) -> asyncio.Timeout:
        """Return what raises `TimeoutError` at its end."""
        return asyncio.timeout_at(self.until)


def check_timeout(said: float | None) -> None:
    """Refuse what is no span of time.

    Raises:
        ConfigurationError: neither seconds above 0 nor None.
    """
    if said is None:
        return
    if not isinstance(said, int | float) or not 0 < said < math.inf:
        raise ConfigurationError(f"timeout={said!r}: expected seconds above 0, or None")
