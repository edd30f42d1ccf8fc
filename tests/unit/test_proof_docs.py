"""The document's examples run, and what it says is what the code does."""

import re
from pathlib import Path
from typing import Any

from busauth.late.first import HEADER as FIRST
from busauth.late.proof import Proofs, SeenMessage
from busauth.late.proof.binding import MAX_BYTES, MAX_HEADERS, TYPE
from busauth.late.proof.publishers import _CLAIMS
from busauth.late.seal import ATTEMPT, HEADER, ORIGIN, PUBLISHED, PURPOSE, REDRIVE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "proof.md").read_text()
SOURCES = "".join(path.read_text() for path in (ROOT / "busauth" / "late").rglob("*.py"))
CODE = re.compile(r"\b(?:proof|replay)\.[a-z_]+(?=[`\"])")


def ran() -> dict[str, Any]:
    """Run the document's blocks, one after the other."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)  # the document's own code
    return names


def test_the_examples_run() -> None:
    """What is signed by hand and what busauth signs is proven alike."""
    found = ran()
    asked, message = found["proofs"], found["message"]
    assert isinstance(asked, Proofs)
    assert isinstance(message, SeenMessage)
    by_hand = asked.check(found["proof"], message, found["routes"], 1750000060.0)
    assert by_hand == found["proven"]
    assert by_hand is not None
    assert (by_hand.publisher, by_hand.published_at) == ("orders", 1750000000.25)


def test_every_code_is_documented() -> None:
    """Each code that the code knows stands in the list of refusals, and no other."""
    told = set(CODE.findall((ROOT / "docs" / "refusals.md").read_text()))
    known = set(CODE.findall(SOURCES))
    assert told == known
    assert set(CODE.findall(TEXT)) == known


def test_every_name_on_the_wire_is_documented() -> None:
    """Claims, headers and limits are told as they are."""
    sealed = (PURPOSE, ATTEMPT, PUBLISHED, ORIGIN, REDRIVE, FIRST, HEADER)
    for name in (*_CLAIMS, *sealed, TYPE):
        assert f"`{name}`" in TEXT
    assert f"{MAX_BYTES:,} bytes" in TEXT
    assert f"{MAX_HEADERS} at most" in TEXT
