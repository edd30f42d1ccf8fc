"""The first minute as a picture of a terminal, drawn from what a real run printed.

    python -m scripts.recording [file.svg]

It runs `busauth dev` in a pseudo-terminal, then the commands of the README's first screen in a
shell beside it, waits until the timeline shows a parcel refused for its token's age, and draws both
as they were printed, colours included. Nothing is written by hand but the two prompts.
"""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "first-minute.svg"
COLUMNS, LINES = 118, 60
SECONDS = 90.0
_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)  # of somebody else's server: none is asked
CURL = (
    """curl http://127.0.0.1:7600/publish/orders.placed -d '{"item": "teapot"}' \\\n"""
    """  -H "Authorization: Bearer $(busauth token alice --scope orders:write --lifetime 5)\""""
)


class Terminal:
    """`busauth dev` in a pseudo-terminal of its own.

    Args:
        command: where `busauth` is.
        folder: where it runs.
        environment: its variables.
    """

    def __init__(self, command: Path, folder: str, environment: dict[str, str]) -> None:
        self.printed = ""
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (LINES, COLUMNS))
        self._process = subprocess.Popen(
            [command, "dev"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment,
        )
        os.close(theirs)

    def until(self, wanted: str) -> None:
        """Read on until this was printed, and what comes with it.

        Raises:
            TimeoutError: it was not.
        """
        ends = time.monotonic() + SECONDS
        while wanted not in self.printed:
            if time.monotonic() > ends:
                raise TimeoutError(f"{wanted!r} is not in:\n{self.printed}")
            self._read(0.5)
        self._read(1.0)

    def end(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        os.close(self._ours)

    def _read(self, seconds: float) -> None:
        while select.select([self._ours], [], [], seconds)[0]:
            self.printed += os.read(self._ours, 65536).decode().replace("\r\n", "\n")


def recorded(commands: Path) -> tuple[str, str]:
    """Return what `busauth dev` printed, and what the shell beside it did.

    Args:
        commands: the folder that `busauth` is in.

    Raises:
        TimeoutError: no message was refused for its token's age; says what was printed.
    """
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as folder:
        terminal = Terminal(commands / "busauth", folder, environment)
        try:
            terminal.until("lifetime 5)")
            shell = subprocess.run(
                ["bash", "-c", CURL], capture_output=True, text=True, check=True, env=environment
            )
            terminal.until("token.expired")
            terminal.until("dead-lettered")
        finally:
            terminal.end()
    return terminal.printed, shell.stdout


def draw(dev: str, shell: str, path: Path) -> None:
    """Draw both, what is typed in the other terminal where it is typed."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False
    )
    greeting, _, rest = dev.partition("Try it")
    invitation, _, timeline = rest.partition('lifetime 5)"')
    del invitation  # it is what is typed in the other terminal
    console.print(Text("$ busauth dev", "bold"))
    console.print(Text.from_ansi(greeting.rstrip()))
    console.print()
    console.print(Text(f"another terminal $ {CURL}", "bold"))
    console.print(Text(shell.strip()))
    console.print(Text.from_ansi(timeline.partition("Ending.")[0].strip()))
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = console.export_svg(title="busauth dev: the first minute")
    path.write_text(_FONT.sub("", drawn), "utf-8")
    print(path)


def main(path: Path) -> None:
    """Run it, and draw what it printed."""
    draw(*recorded(Path(sys.executable).parent), path)


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]) if sys.argv[1:] else PICTURE)
