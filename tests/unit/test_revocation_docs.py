"""The document's examples run, and what it says is what the code does."""

import re
from pathlib import Path
from typing import Any

from busauth import Guard, StaticKeys
from busauth._revocation.events import HEARTBEAT, MAX_BYTES, REVOKING, SKEW, TYPE, VERIFICATION
from busauth.integrations.set_push import _ERRORS, SetReceiver
from busauth.revocation import FeedOptions, OnStale, RevocationFeed, StreamOptions
from tests.unit.support import Signer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "revocation.md").read_text()
CODE = re.compile(r"\bevent\.[a-z_]+(?=[`\"])")


def ran() -> dict[str, Any]:
    """Run the document's blocks, one after the other."""
    keys = StaticKeys([Signer("ES256", "ops").jwk()])
    names: dict[str, Any] = dict.fromkeys(("idp_keys", "ops_keys", "time_keys"), keys)
    names |= {"key": bytes(range(32)), "secret": "a-secret-of-the-idp"}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)  # the document's own code
    return names


def test_the_examples_run() -> None:
    """A guard with a feed, and a receiver, are made as the document says."""
    found = ran()
    assert isinstance(found["feed"], RevocationFeed)
    assert isinstance(found["guard"], Guard)
    assert isinstance(found["app"], SetReceiver)


def test_every_code_is_documented() -> None:
    """Each code that the code knows stands in the table, and no other."""
    sources = (ROOT / "busauth" / "_revocation" / "events").rglob("*.py")
    assert set(CODE.findall(TEXT)) == set(CODE.findall("".join(map(Path.read_text, sources))))
    assert set(_ERRORS) <= set(CODE.findall(TEXT))


def test_every_name_on_the_wire_is_documented() -> None:
    """Events, errors, policies and limits are told as they are."""
    for name in (*REVOKING, HEARTBEAT, VERIFICATION, TYPE, *_ERRORS.values(), *OnStale):
        assert f"`{name}`" in TEXT
    assert f"{MAX_BYTES:,} bytes" in TEXT
    assert f"{SKEW:g} s" in TEXT
    assert f"`stale_after` ({FeedOptions().stale_after:g} s)" in TEXT
    assert f"of {StreamOptions().max_age / 3600:g} hours" in TEXT
