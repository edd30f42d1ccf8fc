"""Where in the settings something stands: told with what is wrong with it, several at once."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from busauth._knobs import dotted
from busauth.errors import ConfigurationError

PREFIX = "BUSAUTH_"

Place = tuple[str, ...]

_USER = re.compile(r"(?<=://)[^\s\"']*@")
"""Who logs in, in a URL, up to the last `@`: a password may have one that is not escaped."""


def no_password(text: str) -> str:
    """Return text without what stands before the host in its URLs: there a password may be.

    A broker's URL may have been written under any key.
    """
    return _USER.sub("…@", text)


class MisplacedError(ConfigurationError):
    """What is wrong, by the keys under which it stands.

    Args:
        wrong: each place, from the outside in, and a sentence; the place may be the whole file.
    """

    def __init__(self, wrong: Sequence[tuple[Place, str]]) -> None:
        self.wrong = tuple(wrong)
        super().__init__("\n".join(told(place, why) for place, why in wrong))


def told(place: Sequence[str], why: str) -> str:
    """Return a sentence with its place, if it has one."""
    return no_password(": ".join(filter(None, (dotted(place), why))))


@contextmanager
def at(*place: str) -> Iterator[None]:
    """Let what is wrong inside name its place.

    Raises:
        MisplacedError: what was raised inside, with the place in front.
    """
    try:
        yield
    except MisplacedError as error:
        raise MisplacedError([((*place, *inner), why) for inner, why in error.wrong]) from None
    except ConfigurationError as error:
        raise MisplacedError([(place, str(error))]) from None


class Gathering:
    """Goes on where something is wrong, to tell all of it in the end."""

    def __init__(self) -> None:
        self._wrong: list[tuple[Place, str]] = []

    @contextmanager
    def at(self, *place: str) -> Iterator[None]:
        """Note what is wrong inside, with its place; what it would have made is not there."""
        try:
            with at(*place):
                yield
        except MisplacedError as error:
            self._wrong += error.wrong

    def check(self) -> None:
        """Tell all that was noted.

        Raises:
            MisplacedError: something was.
        """
        if self._wrong:
            raise MisplacedError(self._wrong)


@dataclass(frozen=True, slots=True)
class Source:
    """Where values come from.

    Attributes:
        path: the settings file, None where there is none.
        keys: the outermost keys in it.
    """

    path: str | None = None
    keys: frozenset[str] = frozenset()

    def told(self, place: Sequence[str], why: str) -> str:
        """Return a sentence with where the value came from, and its key."""
        return ": ".join(filter(None, (self.of(place), told(place, why))))

    def of(self, place: Sequence[str]) -> str:
        """Return the variable or the file that said it; empty for none in particular."""
        in_file = self.path if not place or place[0] in self.keys else None
        return _variable(place) or in_file or ("settings" if place else "")


def _variable(place: Sequence[str]) -> str | None:
    """Return the environment variable that said it, if one did: the most specific first."""
    names = {name.upper(): name for name in os.environ}
    for length in range(len(place), 0, -1):
        candidate = PREFIX + "__".join(place[:length]).upper()
        if candidate in names:
            return f"environment variable {names[candidate]}"
    return None
