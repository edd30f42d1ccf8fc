"""HTTP in, messages out: a Starlette application that knows its callers, and how to say no.

```python
from busauth.integrations.starlette import authenticated, lifespan, problems, readiness


async def place_order(request: Request) -> Response:
    async with authenticated(bus, request, scopes=["orders:write"]):
        order = Order.model_validate_json(await request.body())
        await bus.publish("orders.placed", order)  # on behalf of the request's caller
    return JSONResponse({"order": order.id}, 202)


app = Starlette(
    routes=[Route("/orders", place_order, methods=["POST"]), Route("/ready", readiness(bus))],
    exception_handlers=problems(),
    lifespan=lifespan(bus),
)
```

Inside of `authenticated` the request's caller is in scope, as a message's is in its handler, and no
longer: what is published behind it, by a background task or a body that is streamed, is refused.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any

from busauth._amqp.bus import Bus
from busauth._amqp.guard import Guard
from busauth._amqp.headers import AUTHORIZATION
from busauth._amqp.readiness import Readiness
from busauth._arguments import Range, check, checked, kind_of
from busauth._decision import Demand
from busauth._expiry import Policies
from busauth._extras import needs
from busauth.audit import LOGGER, Lines
from busauth.caller import Caller, Lease, acting
from busauth.clock import SystemClock
from busauth.errors import CallerError, ConfigurationError, Deferred, PublishError, Refused, held_by

with needs(__name__, "starlette"):
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.types import Lifespan

Answering = Callable[[Request, Any], Coroutine[Any, Any, Response]]
"""An exception handler of Starlette's and FastAPI's."""

_SCOPES = "busauth.scopes"
"""Where an ASGI scope says which scopes the resource demands: a challenge names them."""

_HEADER = "busauth.header"
"""Where it says which header carries the token; there is no challenge for a transaction token."""

_QUOTABLE = re.compile(r"[ !#-\[\]-~]*")
"""What stands between quotes in a challenge (RFC 6750, section 3)."""

_BEARER = re.compile(r"bearer(?:[\s,]|$)", re.IGNORECASE)
"""What begins like a token, in however wrong a form; another scheme is none."""

_MALFORMED = frozenset({"header.not_text", "header.scheme", "token.empty"})
"""Refusals of how a request carries its token: of nothing that a token says."""

_LAST_STATUS = 599

_ENDED = "the request is over; await what it starts before it is answered"


@checked
@asynccontextmanager
async def authenticated(
    guard: Guard | Bus,
    request: Request,
    *,
    scopes: Iterable[str] = (),
    roles: Iterable[str] = (),
    on_expired: Policies | None = None,
) -> AsyncIterator[Caller]:
    """Give a request's caller, who is in scope inside of the ``async with``.

    Publishing finds them without being handed a token, and so does `CallerAuth`. What is started
    inside and goes on behind it finds that it is over.

    Args:
        guard: what verifies; of a bus its guard, in tests the one of the kit that it uses.
        request: of its headers, ``Authorization``; with a guard of transaction tokens
            ``Txn-Token``.
        scopes: all of them must be in the token.
        roles: all of them must be in the token.
        on_expired: for services behind a queue; default: nothing late is accepted.

    Raises:
        Refused: with its code and HTTP status; `problems` answers it.
        Deferred: the issuer's keys are out of reach; answered 503.
        ConfigurationError: what is demanded cannot be met; as of `Guard.authenticate`.
    """
    demand, guard = Demand.of(scopes, roles), guard_of(guard)
    header = guard.core.header.on_http
    request.scope[_SCOPES], request.scope[_HEADER] = demand.scopes, header
    caller = await guard.authenticate(
        _said(request, header), scopes=demand.scopes, roles=demand.roles, on_expired=on_expired
    )
    lease = _lease_of(caller)
    with acting(lease):
        try:
            yield caller
        finally:
            lease.end(_ENDED)


def guard_of(guard: Guard | Bus) -> Guard:
    """Return what verifies at this moment: in tests a bus has another guard."""
    return guard.guard if isinstance(guard, Bus) else guard


def _lease_of(caller: Caller) -> Lease:
    lease = caller._lease  # noqa: SLF001 -- `bearer` tells nothing of one that has ended already
    if lease is None:
        raise CallerError("this caller carries no token")
    return lease


def _said(request: Request, header: str) -> str | None:
    """Return a header's value; several are one list (RFC 9110, section 5.3), and no token."""
    return ", ".join(request.headers.getlist(header)) or None


@checked
def problems(
    *, realm: str = "api", retry_after: Annotated[int, Range(unit="seconds")] = 5
) -> dict[int | type[Exception], Answering]:
    """Return what answers refusals: ``Starlette(exception_handlers=problems())``, or FastAPI's.

    A `Refused` becomes problem details (RFC 9457): its status and code, and nothing of the
    evidence, which the log has. 400, 401 and 403 come with a challenge (RFC 6750, section 3). A
    `Deferred` and a `PublishError` become 503 with ``Retry-After``. A group of them, of a task
    group's, is answered as the first would be; one that holds anything else is a fault, and raised
    on. An application adds its own:
    ``{**problems(), ValidationError: invalid}``.

    Args:
        realm: what challenges call the application.
        retry_after: seconds after which a client may ask again.

    Raises:
        ConfigurationError: the realm cannot stand between quotes.
    """
    if not realm or not _QUOTABLE.fullmatch(realm):
        raise ConfigurationError(f"realm={realm!r}: expected ASCII without quotes and backslashes")
    answers = _Answers(realm, retry_after)
    return {
        Refused: answers.refused,
        Deferred: answers.not_now,
        PublishError: answers.not_now,
        ExceptionGroup: answers.several,
    }


class _Answers:
    """What is said to a client, and what is said in the log instead."""

    def __init__(self, realm: str, retry_after: int) -> None:
        self._realm, self._retry_after = realm, retry_after
        self._lines = Lines(SystemClock())

    async def refused(self, request: Request, error: Refused) -> Response:
        """Answer with the code alone: the evidence is for our log, not for whoever knocks."""
        self._log("a request was refused", error.code, error.detail)
        status, fault = _told(request, error)
        details = error.problem()
        if status != error.status:
            details |= {"title": HTTPStatus(status).phrase, "status": int(status)}
        return _problem(details, self._challenge(request, status, fault))

    async def not_now(self, _: Request, error: Deferred | PublishError) -> Response:
        """Answer that it is not the client's fault: keys or broker are out of reach just now."""
        self._log("a request could not be answered", type(error).__name__, error.reason)
        status = HTTPStatus.SERVICE_UNAVAILABLE
        details = {"type": "about:blank", "title": status.phrase, "status": status.value}
        return _problem(details, {"retry-after": str(self._retry_after)})

    async def several(self, request: Request, error: ExceptionGroup[Exception]) -> Response:
        """Answer as the first would be; what else is among them must not go unseen."""
        match tuple(held_by(error)):
            case [Refused() as first, *rest] if _are_answered(rest):
                return await self.refused(request, first)
            case [(Deferred() | PublishError()) as first, *rest] if _are_answered(rest):
                return await self.not_now(request, first)
        raise error

    def _log(self, what: str, sort: str, why: str) -> None:
        """Log why; whoever knocks must not fill the log."""
        if self._lines.admit(what, sort):
            LOGGER.warning("%s: %s", what, why)

    def _challenge(self, request: Request, status: int, fault: str | None) -> dict[str, str]:
        if request.scope.get(_HEADER, AUTHORIZATION) != AUTHORIZATION:
            return {}  # a client cannot ask for one: its edge does
        if fault is None and status != HTTPStatus.UNAUTHORIZED:
            return {}
        scope = " ".join(sorted(filter(_is_sayable, request.scope.get(_SCOPES, ()))))
        said = {"realm": self._realm, "error": fault, "scope": scope}
        parts = [f'{name}="{value}"' for name, value in said.items() if _is_sayable(value)]
        return {"www-authenticate": f"Bearer {', '.join(parts)}"}


def _are_answered(errors: Sequence[BaseException]) -> bool:
    return all(isinstance(each, Refused | Deferred | PublishError) for each in errors)


def _is_sayable(value: str | None) -> bool:
    return bool(value) and _QUOTABLE.fullmatch(value or "") is not None


def _told(request: Request, error: Refused) -> tuple[int, str | None]:
    """Return the status, and the error code of RFC 6750; None where no token was sent."""
    if not HTTPStatus.BAD_REQUEST <= error.status <= _LAST_STATUS:  # a refusal is no success
        return HTTPStatus.INTERNAL_SERVER_ERROR, None
    if error.status == HTTPStatus.FORBIDDEN:
        return error.status, "insufficient_scope"
    if error.status != HTTPStatus.UNAUTHORIZED:
        return error.status, None
    if not _BEARER.match(_said(request, AUTHORIZATION) or ""):
        return error.status, None
    if error.code in _MALFORMED:
        return HTTPStatus.BAD_REQUEST, "invalid_request"
    return error.status, "invalid_token"


def _problem(details: dict[str, str | int], headers: dict[str, str]) -> Response:
    headers = {"cache-control": "no-store", **headers}
    status = int(details["status"])
    return JSONResponse(details, status, headers, media_type="application/problem+json")


@checked
def lifespan(*buses: Bus, own: Lifespan[Any] | None = None) -> Lifespan[Any]:
    """Return a lifespan in which buses run: ``Starlette(lifespan=lifespan(bus))``, or FastAPI's.

    They start in order before the first request, and stop together behind the last one, so that
    one drain deadline is enough for all of them. Where several do not stop as they should, a group
    has their errors; where starting or the application failed before, that is raised, and the log
    has them.

    Args:
        buses: of this application.
        own: the application's own lifespan; it lives inside, while the buses run, and its state is
            the application's.

    Raises:
        ConfigurationError: there is no bus, or `own` cannot be called; and, as ConnectionError, as
            ``async with bus``, when the application starts.
    """
    _check_buses("lifespan", buses)
    if own is not None and not callable(own):
        raise ConfigurationError(f"lifespan(own=...): got {kind_of(own)}, expected a lifespan")

    @asynccontextmanager
    async def living(app: Any) -> AsyncIterator[Any]:
        async with _running(buses), (own or _nothing)(app) as state:
            yield state

    return living


def _check_buses(called: str, buses: Sequence[Bus]) -> None:
    if not buses:
        raise ConfigurationError(f"{called}(): got no bus, expected those of this application")
    for bus in buses:
        check(f"{called}(...)", bus, Bus)


@asynccontextmanager
async def _running(buses: Sequence[Bus]) -> AsyncIterator[None]:
    started = [AsyncExitStack() for _ in buses]
    try:
        for stack, bus in zip(started, buses, strict=True):
            await stack.enter_async_context(bus)
        yield
    except BaseException:
        for fault in await _stopped(started):  # less telling than what is raised
            LOGGER.error("a bus did not stop as it should", exc_info=fault)
        raise
    faults = await _stopped(started)
    if len(faults) > 1:
        raise BaseExceptionGroup("buses did not stop as they should", faults)
    for fault in faults:
        raise fault


async def _stopped(started: Iterable[AsyncExitStack]) -> list[BaseException]:
    """Stop all of them together, and return what went wrong."""
    stopping = (stack.aclose() for stack in started)
    ended = await asyncio.gather(*stopping, return_exceptions=True)
    return [each for each in ended if isinstance(each, BaseException)]


@asynccontextmanager
async def _nothing(_app: Any) -> AsyncIterator[None]:
    yield


def readiness(*buses: Bus) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """Return an endpoint for readiness probes, of a ``Route("/ready", ...)``.

    It answers 200 where every bus is ready, and 503 with what stands in the way; see `Bus.ready`.

    Args:
        buses: of this application.

    Raises:
        ConfigurationError: there is none, or one is none.
    """
    _check_buses("readiness", buses)

    async def ready(_: Request) -> Response:
        found = Readiness(tuple(reason for bus in buses for reason in bus.ready.reasons))
        return PlainTextResponse(str(found), 200 if found else 503, {"cache-control": "no-store"})

    return ready
