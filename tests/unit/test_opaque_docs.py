"""The document's examples run, and what it says is what the code does."""

import re
from pathlib import Path
from typing import Any

from busauth._tokens.asking.sessions import SESSION_OPTIONS
from busauth.tokens import Authenticators, Introspection, IntrospectionOptions, Sessions

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "opaque-tokens.md").read_text()
ROOM = ROOT / "busauth" / "_tokens" / "asking"
MODULES = ("confirmed", "endpoint", "introspection", "sessions")
CODE = re.compile(r"\"((?:token|session)\.[a-z_]+)\"")


def test_the_examples_run() -> None:
    """What the document builds can be built, and is put together in its order."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)  # the document's own code
    assert isinstance(names["introspection"], Introspection)
    assert isinstance(names["sessions"], Sessions)
    assert isinstance(names["trusted"], Authenticators)
    assert names["sessions"].takes("s_1")


def test_every_code_is_documented() -> None:
    """Each code that these modules refuse with stands in the list of refusals."""
    told = (ROOT / "docs" / "refusals.md").read_text()
    used = {code for name in MODULES for code in CODE.findall((ROOM / f"{name}.py").read_text())}
    assert {"token.inactive", "token.unanswered", "token.mismatch", "session.unknown"} <= used
    for code in used:
        assert f"| `{code}` |" in told


def test_the_bounds_are_as_they_are_told() -> None:
    """Defaults in the document are the defaults in the code."""
    options = IntrospectionOptions()
    for name in ("fresh_for", "refused_for"):
        assert f"| `{name}` | {getattr(options, name):g} s |" in TEXT
    for name in ("remembered", "in_flight", "requests"):
        assert f"| `{name}` | {getattr(options, name):,} |" in TEXT
    assert f"| {options.failures}, {options.open_for:g} s |" in TEXT
    assert SESSION_OPTIONS.fresh_for == 1.0
