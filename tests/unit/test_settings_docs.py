"""docs/settings.md names what the environment may say."""

import re
from pathlib import Path

import typer.main

from busauth.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")


def test_every_variable_of_a_command_is_told() -> None:
    """Each variable in the place of an option stands there, with its option and commands."""
    read = set[tuple[str, str, str]]()
    for name, command in typer.main.get_group(app).commands.items():
        inner = getattr(command, "commands", {}).values()  # of a command of commands
        for each in (*command.params, *(param for sub in inner for param in sub.params)):
            if each.envvar is not None:
                read.add((str(each.envvar), each.opts[0], name))
    rows = re.findall(r"^\| `(BUSAUTH_\w+)` \| `(--[\w-]+)` \| (.+) \|$", PAGE, re.MULTILINE)
    told = {
        (variable, option, command)
        for variable, option, commands in rows
        for command in re.findall(r"`(\w+)`", commands)
    }
    assert told == read
