"""Handlers keep their signatures and options hold to theirs, for the checkers that people use."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "typing" / "examples.py"
BAD = {
    number
    for number, line in enumerate(EXAMPLES.read_text().splitlines(), 1)
    if line.endswith("# bad")
}

pytestmark = pytest.mark.processes


def run(*command: str) -> str:
    """Return what a checker prints; that it finds errors is what it is run for."""
    called = [sys.executable, "-m", *command, str(EXAMPLES)]
    return subprocess.run(called, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def test_mypy_refuses_what_is_bad_and_nothing_else() -> None:
    """Under --strict it finds an error in each line that is bad, and in no other."""
    found = re.findall(r"examples\.py:(\d+): error:", run("mypy", "--strict", "--config-file="))
    assert {int(line) for line in found} == BAD


def test_pyright_refuses_what_is_bad_and_nothing_else() -> None:
    """So does pyright, as an editor runs it."""
    told = json.loads(run("pyright", "--pythonpath", sys.executable, "--outputjson"))[
        "generalDiagnostics"
    ]
    errors = [each for each in told if each["severity"] == "error"]
    assert {each["range"]["start"]["line"] + 1 for each in errors} == BAD
