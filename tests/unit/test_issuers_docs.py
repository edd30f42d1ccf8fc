"""Each provider's section in docs/issuers.md: its settings take its token, and see what it says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from busauth import Caller, EventLog, NotGenuine, StaticKeys, Verifier, load_settings
from busauth.testing import ManualClock
from tests.unit.support import Signer, forget_settings

PAGE = (Path(__file__).parents[2] / "docs" / "issuers.md").read_text("utf-8")
SECTIONS = {
    section.partition("\n")[0]: section
    for section in PAGE.split("\n## ")[1:]
    if "```toml" in section
}
IN_TIME = 1_750_000_060


def block(name: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTIONS[name], re.DOTALL)
    return str(found)


async def seen(name: str, folder: Path, **changes: Any) -> Caller:
    """Return the caller of a section's token, as a guard of its settings sees it."""
    file, signer = folder / "busauth.toml", Signer()
    file.write_text(block(name, "toml"))
    guard = load_settings(file).make_guard()
    (verifier,) = guard.verifiers
    assert isinstance(verifier, Verifier)
    trusted = verifier.with_keys(StaticKeys([signer.jwk()]))
    guard = guard.replica(trusted, clock=ManualClock(IN_TIME), auditor=EventLog())
    token = signer.sign({**json.loads(block(name, "json")), **changes})
    return await guard.authenticate(f"Bearer {token}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget_settings(monkeypatch)
    return tmp_path


@pytest.mark.parametrize("name", SECTIONS)
async def test_a_handler_sees_what_the_section_says(name: str, folder: Path) -> None:
    """Scopes, roles and the client are found where this provider puts them."""
    caller = await seen(name, folder)
    sees = r"A handler sees scopes (.+?); roles (.+?);\s+client (.+?)\.$"
    told = re.search(sees, SECTIONS[name], re.MULTILINE)
    assert told is not None
    scopes, roles, client = (re.findall(r"`(.+?)`", each) for each in told.groups())
    assert (caller.scopes, caller.roles) == (frozenset(scopes), frozenset(roles))
    assert caller.client == (client[0] if client else None)


@pytest.mark.parametrize("name", SECTIONS)
async def test_a_token_for_somebody_else_is_refused(name: str, folder: Path) -> None:
    """Another audience, by whichever claim names it."""
    with pytest.raises(NotGenuine, match="audience"):
        await seen(name, folder, aud="another", client_id="another")
