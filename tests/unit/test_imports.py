"""What `import busauth` brings along."""

import json
import subprocess
import sys

import pytest

EXTRAS = ("joserfc", "redis", "starlette", "fastapi", "uvicorn", "rich", "typer", "opentelemetry")
LATE = ("httpx", "pydantic_settings", "busauth.settings", "busauth.testing", "busauth.integrations")
ROOMS = ("desks", "feed", "planning", "judging.foresight", "resending.authorities")
"""Of `busauth._amqp`: what operators do, and what looks ahead."""
DELEGATION = (
    "delegation",
    "_delegation.exchange",
    "_delegation.transactions",
    "_delegation.policy",
    "_delegation.voucher",
    "_tokens.transactions",
    "_tokens.vouchers",
)
"""What has tokens for tokens, and what reads other kinds than access tokens."""


def test_what_few_use_is_not_imported() -> None:
    """No extra, nor the command line, the kit, settings, what operators do or exchanges use."""
    code = "import busauth, json, sys; print(json.dumps(list(sys.modules)))"
    found = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert "aio_pika" in found
    late = [*LATE, "busauth._sinks", *(f"busauth._amqp.{room}" for room in ROOMS)]
    late += [f"busauth.{each}" for each in DELEGATION]
    assert [name for name in (*EXTRAS, *late) if name in found] == []


def test_settings_come_out_of_the_root_all_the_same() -> None:
    """They are imported when they are asked for; what there is not is missing as ever."""
    code = "from busauth import Settings, load_settings; print(Settings.__name__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "Settings"
    missing = subprocess.run(
        [sys.executable, "-c", "from busauth import settings_of"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot import name 'settings_of'" in missing.stderr


def _without(library: str, door: str) -> str:
    """Return how the import of a door ends where a library is not installed."""
    code = f"import sys; sys.modules[{library!r}] = None; import busauth.integrations.{door}"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("door", "library", "extra"),
    [
        ("redis", "redis", "redis"),
        ("otel", "opentelemetry", "otel"),
        ("starlette", "starlette", "starlette"),
        ("fastapi", "fastapi", "fastapi"),
        ("fastapi", "starlette", "fastapi"),
    ],
)
def test_a_door_whose_library_is_missing_names_the_extra(
    door: str, library: str, extra: str
) -> None:
    """The last line of the traceback is a sentence that says what to install."""
    told = _without(library, door)
    assert f"busauth.integrations.{door} needs {library}" in told
    assert f"the extra `{extra}` brings" in told


def test_another_module_that_is_missing_is_told_as_it_is() -> None:
    """What a library itself lacks is no extra of busauth's."""
    assert _without("anyio", "starlette").startswith("ModuleNotFoundError: import of anyio")
