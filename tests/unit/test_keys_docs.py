"""docs/keys.md: the source of keys of one's own runs as it stands there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from busauth import Deferred, NotGenuine, Verifier
from busauth.tokens import Verifiers
from tests.unit.support import Signer, proven_by, token

PAGE = (Path(__file__).parents[2] / "docs" / "keys.md").read_text("utf-8")
ISSUER = "https://idp.example"


def shown() -> dict[str, Any]:
    """Return what the document's example defines."""
    section = PAGE.split("## Keys from somewhere else")[1]
    names: dict[str, Any] = {"__name__": "keys"}
    exec(section.split("```python")[1].split("```")[0], names)  # the document's own code
    return names


async def test_keys_are_read_once_for_all_that_wait() -> None:
    """Keys that rotated are found, for many tokens by one reading; one of nobody's is refused."""
    old, new = Signer("ES256", "old"), Signer("ES256", "new")
    sets = [[old], [new], [new]]
    reads = list[int]()

    async def read() -> dict[str, Any]:
        await asyncio.sleep(0)
        reads.append(len(reads))
        return {"keys": [signer.jwk() for signer in sets[len(reads) - 1]]}

    keys = shown()["VaultKeys"](read, every=0.0)
    trusted = Verifiers(Verifier(keys, issuer=ISSUER, audience="shop"))
    for signer in (old, new):
        tokens = [token(signer, iss=ISSUER, aud="shop", jti=str(each)) for each in range(5)]
        found = await asyncio.gather(*(proven_by(trusted, each) for each in tokens))
        assert {each.caller.issuer for each in found} == {ISSUER}
    assert len(reads) == 2
    with pytest.raises(NotGenuine):
        await proven_by(trusted, token(Signer("ES256", "evil"), iss=ISSUER, aud="shop"))
    assert len(reads) == 3


async def test_a_vault_that_does_not_answer() -> None:
    """The message waits; nobody is guilty."""

    async def read() -> dict[str, Any]:
        raise ValueError("sealed")

    trusted = Verifiers(shown()["trusting"](read))
    with pytest.raises(Deferred, match="vault's keys: ValueError"):
        await proven_by(trusted, token(Signer("ES256"), iss=ISSUER, aud="shop"))
