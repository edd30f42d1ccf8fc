"""docs/profiles.md shows profiles as they are, and its examples work."""

import re
from pathlib import Path
from typing import Any

import pytest

from busauth._tokens.profiles.providers import profile_of
from busauth.settings import load_settings
from busauth.tokens import keycloak
from tests.unit.support import forget_settings

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
FILES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_each_settings_file_makes_a_guard(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variables that the page shows, where it shows some."""
    forget_settings(monkeypatch)
    file = tmp_path / "busauth.toml"
    file.write_text(text)
    assert load_settings(file).make_guard()
    for shown in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for name, value in re.findall(r"^(BUSAUTH_\w+)=(.+)$", shown, re.MULTILINE):
            monkeypatch.setenv(name, value.strip("'"))
    assert load_settings(file).clients == ("shop-web", "shop-cli")


def test_the_examples_run() -> None:
    """What is written in code is what the files say."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)  # the document's own code
    issuer = names["entra"].issuer.replace("{tenantid}", TENANT)
    assert names["entra"].tenants.tenant_of(issuer) == TENANT


TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
ROW = re.compile(r"^\| `([a-z0-9+]+)`.* \| `(.+?)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def test_the_table_says_where_each_profile_looks() -> None:
    """Scopes, roles and client of each name, in their order."""
    rows = ROW.findall(PAGE)
    assert [row[0] for row in rows] == [
        "lenient",
        "at+jwt",
        "auth0",
        "cognito",
        "entra",
        "keycloak",
        "okta",
        "transaction",
        "zitadel",
    ]
    for name, _, *told in rows:
        profile = profile_of(name)
        scopes, roles, client = (tuple(re.findall(r"`(.+?)`", cell)) for cell in told)
        assert scopes == profile.scopes, name
        assert roles == profile.roles + profile.role_keys, name
        assert client == profile.client, name
    assert keycloak("orders").roles == ("/realm_access/roles", "/resource_access/orders/roles")
