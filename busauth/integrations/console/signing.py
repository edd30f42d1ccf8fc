"""Who looks: by a session's cookie, or by a token that comes with each request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl

import anyio

from busauth._amqp.guard import Guard
from busauth._demand import Demand
from busauth._extras import needs
from busauth.caller import Caller
from busauth.errors import Refused
from busauth.integrations.console.sessions import Attempts, Sessions, Visit, visiting

with needs(__name__, "console", "starlette"):
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response

_MOST_BYTES = 64 * 1024
"""Of a form: a token's bound, and room for what escapes it."""

_FORM_SECONDS = 10.0
_FORM = "application/x-www-form-urlencoded"


class SignInNeeded(Exception):  # noqa: N818 -- no error: it becomes a redirection
    """Nobody has signed in, or the session has ended.

    Attributes:
        why: a word that the form explains; empty for whoever comes first.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class NotTaken(Exception):  # noqa: N818 -- no error: it becomes an answer
    """A form, or an attempt, that is not even looked at.

    Attributes:
        status: as of HTTP.
        why: for people.
        retry_after: seconds, where it helps to wait.
    """

    def __init__(self, status: int, why: str, retry_after: int | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.retry_after = status, why, retry_after


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks.

    Attributes:
        caller: their verified identity; None where nobody signs in.
        session: the session's id; None where there is none.
    """

    caller: Caller | None = None
    session: str | None = None

    def may(self, scope: str) -> bool:
        """Return whether they may do what a scope allows."""
        return self.caller is None or scope in self.caller.scopes


class Desk(Protocol):
    """Who says who looks."""

    async def visitor(self, request: Request) -> Visitor:
        """Return who looks, judged now."""
        ...


class OpenDesk:
    """Nobody signs in: whoever has this machine looks."""

    async def visitor(self, request: Request) -> Visitor:
        """Return nobody in particular."""
        return Visitor()


class SignIn:
    """Visitors show a token once, or with each request.

    Args:
        guard: whom it trusts, and what knows of revocations.
        scopes: what whoever looks must have.
        idle: seconds after which an unused session ends.
        secure: whether cookies go over TLS only.
        port: part of the cookies' names without TLS, as cookies know no ports.
    """

    def __init__(
        self, guard: Guard, *, scopes: frozenset[str], idle: float, secure: bool, port: str
    ) -> None:
        self._guard, self._secure = guard, secure
        self._demand = Demand.of(scopes)
        self.sessions = Sessions(guard.clock, idle)
        self._attempts = Attempts(guard.clock)
        name = "__Host-busauth" if secure else f"busauth-{port}"
        self._session_cookie, self._form_cookie = f"{name}-console", f"{name}-form"

    async def visitor(self, request: Request) -> Visitor:
        """Return who looks; revocation is asked here, each time.

        Raises:
            SignInNeeded: nobody has signed in, or the session has ended.
            Refused, NotTaken: the request's own token is not taken.
            Deferred: that cannot be told now.
        """
        if given := request.headers.getlist("authorization"):
            visit = await self._shown(request, ", ".join(given))
            return Visitor(visit.caller)
        name = self._session_of(request)
        held = self.sessions.find(name, uses="refresh" not in request.query_params)
        if held is None:
            raise SignInNeeded("ended" if name else "")
        try:
            held.check(self._guard.clock.now())
        except Refused as refused:
            self.sessions.close(name)
            raise SignInNeeded(_ENDS.get(refused.code, "ended")) from refused
        return Visitor(held.caller, name)

    async def enter(self, request: Request, form: Mapping[str, str]) -> str:
        """Open a session for whose token a form has, and return its id, which is always a new one.

        Raises:
            Refused, NotTaken: they are not let in.
            Deferred: that cannot be told now.
        """
        token = form.get("token", "").strip()
        _, _, after = token.partition(" ")
        visit = await self._shown(request, f"Bearer {after if after else token}".strip())
        self.sessions.close(self._session_of(request))
        name = self.sessions.open(visit)
        if name is None:
            raise NotTaken(503, "Too many have signed in; try again later.", 60)
        return name

    def leave(self, request: Request) -> None:
        """End the request's session."""
        self.sessions.close(self._session_of(request))

    async def form(self, request: Request, *, signed_in: bool) -> Mapping[str, str]:
        """Return a form's fields, if it was made for whoever sends it.

        Raises:
            NotTaken: it was not, it is too large, or not all of it came in time.
        """
        fields = await read_form(request)
        cookie = self._session_cookie if signed_in else self._form_cookie
        name = request.cookies.get(cookie, "")
        if not name or not self.sessions.is_form_token(name, fields.get("form", "")):
            raise NotTaken(403, "This form is not of this visit; open the page again.")
        return fields

    def form_name(self, request: Request) -> str:
        """Return the cookie that a sign-in form belongs to; empty where there is none."""
        return request.cookies.get(self._form_cookie, "")

    def hold_form(self, response: Response, name: str) -> None:
        """Set the cookie that a sign-in form belongs to."""
        self._set(response, self._form_cookie, name)

    def hold(self, response: Response, session: str) -> None:
        """Set the session's cookie; the form's has done its work."""
        self._set(response, self._session_cookie, session)
        self._drop(response, self._form_cookie)

    def release(self, response: Response) -> None:
        """Take both cookies away."""
        self._drop(response, self._session_cookie)
        self._drop(response, self._form_cookie)

    def _set(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(
            name, value, path="/", secure=self._secure, httponly=True, samesite="strict"
        )

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(
            name, path="/", secure=self._secure, httponly=True, samesite="strict"
        )

    def _session_of(self, request: Request) -> str:
        return request.cookies.get(self._session_cookie, "")

    async def _shown(self, request: Request, authorization: str) -> Visit:
        """Verify a token that is shown; whoever fails too often is not listened to for a while."""
        address = request.client.host if request.client else ""
        if wait := self._attempts.wait(address):
            raise NotTaken(429, "Too many attempts failed.", wait)
        try:
            return await visiting(self._guard, authorization, self._demand)
        except Refused as refused:
            if not refused.genuine:  # what was issued to somebody is no guess: it is only over
                self._attempts.failed(address)
            raise


_ENDS: Mapping[str, str] = {"token.expired": "expired", "token.revoked": "revoked"}


async def read_form(request: Request) -> dict[str, str]:
    """Read a small form; of several fields of one name none counts.

    Raises:
        NotTaken: it is none, too large, or not all of it came in time.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise NotTaken(415, "Expected a form.")
    read = bytearray()
    try:
        with anyio.fail_after(_FORM_SECONDS):
            async for piece in request.stream():
                read += piece
                if len(read) > _MOST_BYTES:
                    raise NotTaken(413, "The form is too large.")
        fields = parse_qsl(read.decode(), keep_blank_values=True, max_num_fields=10)
    except (TimeoutError, ClientDisconnect):
        raise NotTaken(408, "Not all of the form came in time.") from None
    except ValueError:
        raise NotTaken(400, "The form cannot be read.") from None
    if len({name for name, _ in fields}) < len(fields):
        raise NotTaken(400, "The form has a field twice.")
    return dict(fields)
