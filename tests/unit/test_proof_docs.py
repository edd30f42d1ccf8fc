"""The document's examples run, and what it says is what the code does."""

import re
from pathlib import Path
from typing import Any

import pytest

from busauth._messages.first import HEADER as FIRST
from busauth._messages.proof.binding import MAX_BYTES, MAX_HEADERS, TYPE
from busauth._messages.proof.publishers import _CLAIMS
from busauth._messages.seal import ATTEMPT, HEADER, ORIGIN, PUBLISHED, PURPOSE, REDRIVE
from busauth._tokens.compact import split
from busauth.messages import Proofs, ProofSigner, Properties, SeenMessage
from tests.unit.proving import (
    binding,
    checked,
    claims,
    proofs,
    publisher,
    refusal,
    seen,
    signer,
    written,
)
from tests.unit.support import NOW, Signer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "proof.md").read_text()
SOURCES = "".join(path.read_text() for path in (ROOT / "busauth" / "_messages").rglob("*.py"))
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


@pytest.mark.parametrize("nothing", ["", None])
@pytest.mark.parametrize("said", [{}, ...])
def test_an_empty_property_has_no_member(nothing: str | None, said: object) -> None:
    """The object is empty, or is not there, whichever way a property is nothing."""
    message = binding(properties=Properties(type=nothing, content_type=nothing))
    assert "properties" not in signer()._claims(message)
    assert checked(written(claims(message, properties=said)), seen(message))


@pytest.mark.parametrize("member", ["", None])
def test_a_member_without_a_value_is_another_property(member: str | None) -> None:
    """Who writes null, or empty text, has not left the member out."""
    message = binding(properties=Properties())
    proof = written(claims(message, properties={"type": member}))
    assert refusal(proof, seen(message)).code == "proof.property"


def test_ed25519_is_another_name_for_eddsa() -> None:
    """A proof may name its algorithm either way; busauth writes the older name."""
    key, asked = Signer("EdDSA"), proofs(publisher(algorithm="EdDSA"))
    for alg in ("EdDSA", "Ed25519"):
        assert checked(written(claims(), key, alg=alg), asked=asked)
    signed = ProofSigner("orders", key.private, algorithm="Ed25519").sign(binding(), NOW)
    assert split(signed, max_bytes=MAX_BYTES).header["alg"] == "EdDSA"
