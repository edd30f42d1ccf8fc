"""Every block of code in README, docs and docstrings runs: a new one fails until it does.

Here they run against doubles, page by page and in their order, so that no block is forgotten. What
they do on a broker is shown by the pages' own tests, such as tests/integration/test_readme.py.
"""

import ast
import asyncio
import logging
import math
import queue
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any
from unittest.mock import AsyncMock, Mock, create_autospec

import httpx
import pytest
from fastapi import FastAPI, Security
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import busauth
from busauth import Bus, Guard, StaticKeys, load_settings
from busauth.integrations.otel import Telemetry
from busauth.letters import Redrive
from busauth.testing import Kit, ManualClock
from busauth.tokens import Decryption, Fetcher
from tests.blocks import (
    ROOT,
    SOURCES,
    Block,
    assignments,
    check_command,
    check_data,
    commands,
    files_of,
    in_docstrings,
    in_pages,
    modules,
    run,
)
from tests.unit.support import Signer, forget_settings, lay_keys, pem_of, private_key

PLACES = in_pages() | in_docstrings()
LANGUAGES = {"python", "toml", "sh", "console", "json", "yaml", "ini", "text"}

NOT_RUN: Mapping[tuple[str, str], str] = {
    ("RELEASE.md", "git"): "signs and pushes a tag, with the maintainer's key",
    ("RELEASE.md", "gh"): "asks about a release that is on GitHub",
    ("docs/tutorial.md", "uvicorn"): "serves until it is ended, as in test_tutorial",
    ("docs/tutorial.md", "pytest"): "runs the page's own tests, as test_tutorial does",
}
"""Commands by page and program that cannot run in a test, and why."""


class Order(BaseModel):
    id: int


def _common() -> dict[str, Any]:
    """What blocks may leave out: the root door, and what every page calls a bus and its order."""
    guard = Guard(issuer="https://idp.example", audience="shop")
    names: dict[str, Any] = {name: getattr(busauth, name) for name in busauth.__all__}
    return names | {
        "__name__": "page",
        "asyncio": asyncio,
        "logging": logging,
        "Any": Any,
        "Order": Order,
        "FastAPI": FastAPI,
        "Security": Security,
        "Annotated": Annotated,
        "httpx": httpx,
        "queue": queue.SimpleQueue(),
        "Kit": Kit,
        "Request": Request,
        "Response": Response,
        "JSONResponse": JSONResponse,
        "PlainTextResponse": PlainTextResponse,
        "Starlette": Starlette,
        "Route": Route,
        "guard": guard,
        "bus": Bus("amqp://localhost/", guard=guard, service="orders"),
    }


def _sending_again() -> dict[str, Any]:
    """A bus and letters that answer, on no broker: what is asked of them fits their signatures."""
    return {
        "bus": create_autospec(Bus, instance=True),
        "Redrive": create_autospec(Redrive),
        "Decryption": create_autospec(Decryption),
        "url": "amqp://localhost/",
        "fresh_token": "a.b.c",
        "private_jwk": {},
    }


def _letters() -> dict[str, Any]:
    """Letters that answer, on no broker; and what is shown of them is nobody's."""
    letter = Mock(spec=busauth.letters.Letter, code="token.expired", error=None, detail="", at="")
    found = Mock(letters=(letter,))
    doors = {name: getattr(busauth.letters, name) for name in ("Wanted", "groups")}
    doubles = {"look": AsyncMock(return_value=found), "Redrive": create_autospec(Redrive)}
    return {"url": "amqp://localhost/", **doors, **doubles}


def _tasks() -> dict[str, Any]:
    """Pools and libraries of somebody's."""
    pool = Mock(work=AsyncMock(), worker=None)
    client = Mock(connect=AsyncMock())
    return {"pool": pool, "some_library": client, "loop": Mock(), "cache": Mock(), "index": Mock()}


def _revocation() -> dict[str, Any]:
    keys = StaticKeys([Signer("ES256", "ops").jwk()])
    names = dict.fromkeys(("idp_keys", "ops_keys", "time_keys"), keys)
    return names | {"key": secrets.token_bytes(32), "secret": "a-secret-of-the-idp"}


def _judged() -> dict[str, Any]:
    """A message in hand, which its judge says nothing of."""
    judging = Mock(return_value=AsyncMock())
    return {"guard": Mock(judge=Mock(return_value=judging)), "message": Mock()} | {
        name: getattr(busauth.messages, name) for name in ("Accepted", "Held", "Refusal")
    }


def _own_issuer() -> dict[str, Any]:
    names = {"math": math, "clock": ManualClock(), "Fetcher": Fetcher}
    return names | {name: getattr(busauth.testing, name) for name in ("Issuer", "IssuerServer")}


def _pushed() -> dict[str, Any]:
    return {"transmitters": Mock(), "FeedPublisher": Mock(), "secret": "a-secret-of-the-idp"}


GIVEN: Mapping[str, Callable[[], dict[str, Any]]] = {
    "docs/applications.md": lambda: {
        "orders": create_autospec(Bus, instance=True),
        "order": Order(id=1),
    },
    "docs/delegation.md": lambda: {
        "idp": Mock(issuer="https://idp.example", exchange=AsyncMock()),
        "key": private_key("ES256"),
    },
    "docs/handlers.md": lambda: {"Report": Order, "write_pdf": Mock()},
    "docs/letters.md": _letters,
    "docs/sending-again.md": _sending_again,
    "docs/operators.md": lambda: {
        "seal_key": bytes(range(32)),
        "private_jwk": pem_of(private_key("EdDSA")),
    },
    "docs/tasks.md": _tasks,
    "docs/revocation.md": _revocation,
    "busauth/integrations/desk.py": lambda: {
        "Desk": busauth.letters.Desk,
        "StatementSigner": busauth.letters.StatementSigner,
        "key": private_key("EdDSA"),
    },
    "busauth/integrations/set_push.py": _pushed,
    "busauth/integrations/threads.py": lambda: {"HttpRequest": Mock(), "HttpResponse": Mock()},
    "busauth/integrations/otel/telemetry.py": lambda: {"Telemetry": Telemetry},
    "busauth/_amqp/judging/verdicts.py": _judged,
    "busauth/testing/issuer/__init__.py": _own_issuer,
}
"""What a page's blocks take for granted, beyond what is common."""


@pytest.fixture
def files(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The page's settings files, with their keys, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    forget_settings(monkeypatch)
    monkeypatch.setattr("prometheus_client.start_http_server", Mock())  # its port may be taken
    reader = "opentelemetry.sdk.metrics.export.PeriodicExportingMetricReader"
    monkeypatch.setattr(reader, lambda _exporter: InMemoryMetricReader())  # no thread that prints
    lay_keys(tmp_path)
    written = []
    for number, text in enumerate(files_of(PLACES[place])):
        path = tmp_path / (f"busauth-{number}.toml" if number else "busauth.toml")
        path.write_text(ABROAD.sub(_here, text))
        written.append(path)
    if written:
        monkeypatch.setenv("BUSAUTH_SETTINGS", str(written[0]))
    return written


@pytest.fixture
def _saved(place: str, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that a page has one save can be imported, as they are at its end."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, texts in modules(PLACES[place]).items():
        (tmp_path / name).write_text(texts[-1])
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)


ABROAD = re.compile(r"(?<![\w./-])/(?:etc|run|var)/[\w./-]+")
"""Files of a machine in production."""


def _here(path: re.Match[str]) -> str:
    """Return the name of a file of that kind in the working directory."""
    kinds = {
        ".public.jwk": "public.jwk",
        ".jwk": "private.jwk",
        ".pem": "edge.pem",
        ".keys": "idp.keys",
    }
    return next((name for end, name in kinds.items() if path[0].endswith(end)), "shared.key")


def _with(language: str) -> list[str]:
    return [place for place, blocks in PLACES.items() if language in {b.language for b in blocks}]


@pytest.mark.usefixtures("_saved")
@pytest.mark.parametrize("place", _with("python"))
def test_python_runs(place: str, files: list[Path]) -> None:
    """Each block of a page runs, behind those that stand above it."""
    names = _common() | GIVEN.get(place, dict)()
    for block in PLACES[place]:
        if block.language == "python":
            run(block, names)


@pytest.mark.parametrize("place", _with("toml"))
def test_settings_files_load(place: str, files: list[Path]) -> None:
    """What a page shows of a settings file is one that loads."""
    for path in files:
        assert load_settings(path).make_guard().verifiers


@pytest.mark.parametrize("place", [*_with("sh"), *_with("console")])
def test_commands_exist(place: str, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command exists with each of its options; each variable is one that settings read."""
    for block in PLACES[place]:
        for command in commands(block) if block.language in {"sh", "console"} else ():
            for name, value in (variables := assignments(command)).items():
                monkeypatch.setenv(name, ABROAD.sub(_here, value))
            words = command[len(variables) :]
            if words and (place, words[0]) not in NOT_RUN:
                check_command(words)
    if files:
        assert load_settings(files[0]).make_guard().verifiers


@pytest.mark.parametrize(
    "place", [place for kind in ("json", "yaml", "ini") for place in _with(kind)]
)
def test_data_can_be_read(place: str) -> None:
    """JSON, YAML and INI are what they are called."""
    for block in PLACES[place]:
        check_data(block)


def test_every_block_is_of_a_kind_that_is_run() -> None:
    """Each names its language, and `text` has no commands in it; no exemption outlives its page."""
    blocks = [block for found in PLACES.values() for block in found]
    assert [str(block) for block in blocks if block.language not in LANGUAGES] == []
    hidden = [str(block) for block in blocks if block.language == "text" and _is_code(block)]
    assert hidden == []
    assert {place for place, _ in NOT_RUN} | set(GIVEN) <= set(PLACES)


def test_no_docstring_hides_code_behind_two_colons() -> None:
    """The site shows these as two colons and a paragraph, and nothing would run them."""
    found = [
        f"{path.relative_to(ROOT)}:{text[: each.start()].count(chr(10)) + 1}"
        for path in SOURCES
        for text in [path.read_text("utf-8")]
        for each in COLONS.finditer(text)
        if _is_python(dedent(each[1]))
    ]
    assert found == []


COLONS = re.compile(r"::\n\n((?:(?: {4,}.*)?\n)+)")


def _is_python(text: str) -> bool:
    try:
        compile(text, "docstring", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        return False
    return True


def _is_code(block: Block) -> bool:
    return block.code.startswith(("busauth ", "make ", "pip ", "$ ", "import ", "from "))


def test_a_block_that_is_wrong_is_found() -> None:
    """An option that is not there, a target, a name: each fails."""
    for words in (["busauth", "broker", "--prot", "1"], ["make", "dmeo"], ["curl", "x"]):
        with pytest.raises(Exception, match=r"prot|dmeo|curl"):
            check_command(words)
    with pytest.raises(NameError, match="nowhere"):
        run(Block("page", 1, "python", "nowhere\n"), {})
