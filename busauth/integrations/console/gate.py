"""What stands in front of every page: who may ask at all, and what every answer carries.

A page of somebody else's runs in a browser of ours, too. Its requests name that page's host (DNS
rebinding), or come from its origin or site (cross-site request forgery): none is answered.
"""

from collections.abc import Mapping

from busauth._extras import needs
from busauth._retold import retold
from busauth.audit import LOGGER

with needs(__name__, "console", "starlette"):
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.responses import PlainTextResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_TLS_ONLY = {"strict-transport-security": "max-age=31536000"}
_READS = ("GET", "HEAD")
_LONGEST_TARGET = 4096
_LINKED = ("/", "/sign-in")


class Gate:
    """An application behind its own hosts and origins.

    Args:
        app: what answers.
        hosts: ``Host`` values that mean this server.
        secure: whether it is reached over TLS.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], secure: bool) -> None:
        self._app, self._hosts = app, hosts
        self._scheme = "https" if secure else "http"
        self._headers = {**HEADERS, **(_TLS_ONLY if secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what may ask; whatever is answered carries the same headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        why = self.why_not(scope["method"], _target(scope), Headers(scope=scope))
        if why is not None:
            await PlainTextResponse(f"{why}\n", 403)(scope, receive, sending)
            return
        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # a page's own; its words go where tokens are kept out
            LOGGER.error("the console could not answer", exc_info=retold(error))
            if not began:
                await PlainTextResponse("This page failed; the log says why.\n", 500)(
                    scope, receive, sending
                )

    def why_not(self, method: str, target: str, headers: Headers) -> str | None:
        """Return why a request is not answered; None where it is."""
        hosts, origin = headers.getlist("host"), headers.get("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "It was sent to another host than this server's own."
        site = headers.get("sec-fetch-site")
        is_read = method in _READS
        own = f"{self._scheme}://{hosts[0].lower()}"
        # Where no referrer is said, browsers say "null" of a form of our own; the site they name.
        is_ours = origin in (None, own) or (origin == "null" and site == "same-origin")
        # A link may lead to the first page from anywhere, and on to the form; to no other.
        is_linked = is_read and target in _LINKED
        sites = (None, "same-origin", "none") if is_read else (None, "same-origin")
        if not is_ours or not (is_linked or site in sites):
            return "It comes from a page of another site."
        return "Its address is too long." if len(target) > _LONGEST_TARGET else None


def _target(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{scope['path']}?{query}" if query else str(scope["path"])
