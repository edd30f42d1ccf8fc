"""Whose event loop something lives on: used from another, it would wait for ever."""

import asyncio
from typing import Final

from busauth.errors import ConfigurationError

LINES: Final = """\
[pytest]
asyncio_default_fixture_loop_scope = {0}
asyncio_default_test_loop_scope = {0}"""
"""What a pytest.ini has to say, for a scope."""


class ForeignLoopError(ConfigurationError):
    """Something is used on another event loop than it lives on.

    Args:
        found: what is.

    Attributes:
        advice: what to set; who knows which scopes were given says it better.
    """

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.advice = (
            "With pytest-asyncio give both the same scope, in pytest.ini:\n"
            + LINES.format("function")
        )

    def __str__(self) -> str:
        """Return both."""
        return f"{self.args[0]} {self.advice}"


class HomeLoop:
    """The event loop that something lives on, from `move_in` to `move_out`.

    Args:
        what: how an error names it.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._loop: asyncio.AbstractEventLoop | None = None

    def move_in(self) -> None:
        """Live on the running loop."""
        self._loop = asyncio.get_running_loop()

    def move_out(self) -> None:
        """Live nowhere."""
        self._loop = None

    def check(self) -> None:
        """Refuse to be awaited where nobody can answer.

        Raises:
            ForeignLoopError: another loop runs here, and its own does not run at all.
        """
        home = self._loop
        if home is None or home.is_running() or not _awaiting():
            return
        raise ForeignLoopError(
            f"{self._what} was made on another event loop than the one that runs now, and would "
            "never answer: a test and the fixtures that it uses must share a loop."
        )


def _awaiting() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
