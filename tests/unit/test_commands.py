"""Every command answers in the same manner: for programs as well, and with an example."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from busauth.cli import app

_SERVE = {"dev", "run", "broker", "heartbeats"}
"""These run until they are ended, and have nothing to answer but lines as they come."""


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, by what is typed for it."""
    within = getattr(command, "commands", None)
    if within is None:
        yield name, command
        return
    for each, inner in within.items():
        yield from commands(f"{name} {each}", inner)


COMMANDS = dict(commands("busauth", typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example(name: str) -> None:
    """Its help shows how it is typed."""
    short = name.replace("token mint", "token")
    assert any(f"{each} " in f"{COMMANDS[name].help} " for each in (name, short))


@pytest.mark.parametrize("name", [each for each in COMMANDS if each.split()[1] not in _SERVE])
def test_each_answer_is_had_as_json(name: str) -> None:
    """A program reads what a person does."""
    options = {option for each in COMMANDS[name].params for option in each.opts}
    assert "--json" in options
