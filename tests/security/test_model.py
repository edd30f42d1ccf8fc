"""The document and the tests speak of the same attacks."""

import re
from pathlib import Path

from tests.security.test_messages import TAMPERINGS
from tests.security.test_tokens import FORGERIES

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"`([a-z]+-[a-z-]+)`")


def test_every_attack_of_the_document_is_carried_out() -> None:
    """Each name in the tables is a test's, and each test's is in the tables."""
    document = (ROOT / "docs" / "security-model.md").read_text("utf-8")
    told = {
        name
        for line in document.splitlines()
        if line.startswith("| `")
        for name in NAME.findall(line.split("|")[1])
    }
    tests = (*(ROOT / "tests" / "security").glob("test_*.py"),)
    stamps = ROOT / "tests" / "integration" / "test_stamps.py"
    found = {
        name
        for path in (*tests, stamps)
        for name in re.findall(r'attack\("([a-z-]+)"\)', path.read_text("utf-8"))
    }
    assert told == found | FORGERIES.keys() | TAMPERINGS.keys()


def test_every_code_of_the_document_is_a_refusal() -> None:
    """Codes are told as they are listed."""
    code = re.compile(
        r"`((?:header|token|proof|seal|replay|published|caller|message|exchange)\.[a-z_]+)`"
    )
    listed = set(code.findall((ROOT / "docs" / "refusals.md").read_text("utf-8")))
    told = set(code.findall((ROOT / "docs" / "security-model.md").read_text("utf-8")))
    assert told <= listed
