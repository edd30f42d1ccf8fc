"""The console as an ASGI application."""

from collections.abc import Iterable, Sequence

from busauth._amqp.guard import Guard, credentials_of
from busauth._arguments import checked
from busauth._extras import needs
from busauth._tokens.fetch import is_loopback
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError
from busauth.integrations.console.gate import Gate
from busauth.integrations.console.pages import Pages
from busauth.integrations.console.seen import Source
from busauth.integrations.console.signing import Desk, NotTaken, OpenDesk, SignIn

with needs(__name__, "console", "starlette"):
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

_MISSING: dict[int, str] = {404: "There is no such page.", 405: "This page takes no such request."}


@checked
def console(
    source: Source,
    *,
    queues: Sequence[str],
    hosts: Iterable[str],
    guard: Guard | None,
    scopes: Iterable[str] = ("console:read",),
    bodies: str | None = None,
    idle: float = 900.0,
    secure: bool = False,
    clock: Clock | None = None,
) -> ASGIApp:
    """Return the application; whatever it answers, it moves nothing.

    Args:
        source: where it looks, such as a `BrokerSource`.
        queues: consumers' queues, whose letters and runs are shown.
        hosts: ``Host`` values that mean this server, such as ``127.0.0.1:8250``.
        guard: who verifies whoever looks, with its revocations; None where nobody signs in, which
            is taken on loopback only. It needs no key but its issuers' public ones.
        scopes: what whoever looks must have.
        bodies: the scope for which bodies are shown where the source reads them; None for nobody.
        idle: seconds after which a session that nobody uses ends.
        secure: whether it is reached over TLS, here or at a proxy in front of it.
        clock: default: the guard's, else the machine's.

    Raises:
        ConfigurationError: a host that is not this machine without TLS, or without a sign-in; a
            guard of transaction tokens.
    """
    named = frozenset(each.lower() for each in hosts)
    others = sorted(each for each in named if not is_loopback(_name_of(each)))
    if not named:
        raise ConfigurationError("hosts is empty: expected such as '127.0.0.1:8250'")
    if others and not (secure and guard is not None):
        raise ConfigurationError(
            f"hosts={', '.join(others)}: others than this machine need TLS and a sign-in: expected "
            "both, or 127.0.0.1"
        )
    port = "".join(filter(str.isalnum, min(named).rpartition(":")[2]))
    desk: Desk = OpenDesk()
    if guard is not None:
        desk = SignIn(
            credentials_of(guard), scopes=frozenset(scopes), idle=idle, secure=secure, port=port
        )
    counted = clock or (guard.clock if guard is not None else SystemClock())
    pages = Pages(source, desk, queues=queues, clock=counted, bodies=bodies)

    async def missing(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return pages.failed(request, NotTaken(status, _MISSING.get(status, "It cannot be read.")))

    app = Starlette(routes=pages.routes(), exception_handlers={HTTPException: missing})
    app.router.redirect_slashes = False  # there is one address for each page
    return Gate(app, hosts=named, secure=secure)


def _name_of(host: str) -> str:
    """Return a host's name without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
