"""What `import busauth` brings along."""

import json
import subprocess
import sys

EXTRAS = ("joserfc", "redis", "starlette", "fastapi", "uvicorn", "rich", "typer", "opentelemetry")
LATE = ("httpx", "pydantic_settings", "busauth.settings", "busauth.testing", "busauth.integrations")


def test_what_few_use_is_not_imported() -> None:
    """No extra is, nor the command line, the test kit, settings, or what asks over HTTP."""
    code = "import busauth, json, sys; print(json.dumps(list(sys.modules)))"
    found = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert "aio_pika" in found
    assert [name for name in (*EXTRAS, *LATE) if name in found] == []


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
