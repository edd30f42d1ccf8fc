"""The HTTP side of the story: who is asking, and how to say no (RFC 6750, RFC 9457).

On the bus a guard stands in front of each handler. Over HTTP an endpoint asks for its caller, and a
refusal becomes an answer: 401 for who is not known, 403 for who may not, 503 for what would work
later. The gateway and the ledger share this.
"""

import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from busauth import BadMessage, Caller, Deferred, Event, EventKind, Guard, PublishError, Refused
from busauth.expiry import ExpiryPolicy
from workers import shop

RETRY_AFTER_SECONDS = 5
UNAVAILABLE = "temporarily.unavailable"


async def authenticate(
    guard: Guard,
    request: Request,
    scopes: Iterable[str] = (),
    on_expired: ExpiryPolicy | None = None,
) -> Caller:
    """Return who is asking, and tell the decision just as a consumer would."""
    authorization = request.headers.get("authorization")
    try:
        caller = await guard.authenticate(authorization, scopes=scopes, on_expired=on_expired)
    except Refused as refused:
        _tell(request, EventKind.REFUSED, code=refused.code, detail=refused.detail)
        raise
    except Deferred as deferred:
        _tell(request, EventKind.DEFERRED, detail=deferred.reason)
        raise
    _tell(request, EventKind.ACCEPTED, caller)
    return caller


def _tell(
    request: Request,
    kind: EventKind,
    caller: Caller | None = None,
    *,
    code: str | None = None,
    detail: str | None = None,
) -> None:
    now = time.time()
    event = Event(
        kind=kind,
        queue=f"{request.method} {request.url.path}",
        at=now,
        issuer=caller.issuer if caller else None,
        subject=caller.subject if caller else None,
        age=now - caller.issued_at if caller and caller.issued_at else None,
        late=caller.late.seconds if caller and caller.late else None,
        code=code,
        detail=detail,
    )
    shop.tell(event)


async def refused(_: Request, error: Refused) -> Response:
    """Answer with the code alone: the evidence is for our log, not for whoever knocks."""
    challenge = "insufficient_scope" if error.status == HTTPStatus.FORBIDDEN else "invalid_token"
    return problem(error.problem(), {"www-authenticate": f'Bearer error="{challenge}"'})


async def unavailable(_: Request, error: Deferred | PublishError) -> Response:
    """Answer that it is nobody's fault: keys or broker are out of reach just now."""
    shop.LOG.warning("not now: %s", error)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    details = {"title": status.phrase, "status": status.value, "code": UNAVAILABLE}
    return problem(details, {"retry-after": str(RETRY_AFTER_SECONDS)})


async def invalid(_: Request, error: ValidationError) -> Response:
    """Answer that the body is not what was expected."""
    shop.LOG.info("%d mistakes in a body", error.error_count())
    return problem(BadMessage("body.invalid").problem())


def problem(details: Mapping[str, str | int], headers: Mapping[str, str] | None = None) -> Response:
    """Return problem details, in the form in which busauth answers a refused request."""
    status = int(details["status"])
    return JSONResponse(details, status, headers, media_type="application/problem+json")


async def healthz(_: Request) -> Response:
    """Answer that this process serves; nobody needs a token to hear it."""
    return JSONResponse({})


ANSWERS: Mapping[Any, Any] = {
    Refused: refused,
    Deferred: unavailable,
    PublishError: unavailable,
    ValidationError: invalid,
}
"""Starlette's `exception_handlers`: what an endpoint raises, and what is answered."""
