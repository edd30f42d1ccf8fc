"""The document's examples run, and what it says is what the code does."""

import re
from pathlib import Path
from typing import Any

from busauth._tokens.encryption.encryption import _MAX_HEADER, KEPT
from busauth._tokens.encryption.jose import ALGORITHMS
from busauth._tokens.envelope import CONTENT, KEY_ALGORITHMS, sealed_length
from busauth._tokens.verifier import MAX_TOKEN_BYTES
from busauth.tokens import KeptFor

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "encryption.md").read_text()
TOKENS = ROOT / "busauth" / "_tokens"
SOURCES = "".join(
    (TOKENS / f"{name}.py").read_text()
    for name in ("encryption/encryption", "envelope", "encryption/jose")
)
CODE = re.compile(r"\btoken\.(?:not_)?(?:en|de)crypt[a-z_]+(?=[`\"])")


def test_the_examples_run() -> None:
    """What was encrypted, and what was kept, comes out as it was."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)  # the document's own code
    assert names["revealed"] == names["opened"] == names["token"]
    assert names["envelope"] != names["kept"]


def test_every_code_is_documented() -> None:
    """Each code that the code knows stands in the list of refusals, and no other."""
    told = set(CODE.findall((ROOT / "docs" / "refusals.md").read_text()))
    assert told == set(CODE.findall(SOURCES))
    assert set(CODE.findall(TEXT)) <= told


def test_every_name_on_the_wire_is_documented() -> None:
    """Algorithms, members and limits are told as they are."""
    members = KeptFor(queue="q", message_id="m", body=b"").members()
    for name in (*KEY_ALGORITHMS, CONTENT, KEPT, *members):
        assert f"`{name}`" in TEXT
    assert f"{_MAX_HEADER:,} characters" in TEXT
    assert f"{sealed_length(MAX_TOKEN_BYTES, _MAX_HEADER):,} characters" in TEXT


def test_every_key_has_an_allowed_algorithm() -> None:
    """What keys are pinned to is what headers may say."""
    assert set(ALGORITHMS.values()) == set(KEY_ALGORITHMS)
