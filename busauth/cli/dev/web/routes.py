"""What `busauth dev` answers over HTTP: its page, its timeline, its issuer and its edge."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from busauth._tokens.keys.development import ISSUER_PATH
from busauth.cli.dev.edge import EDGE_PATH
from busauth.cli.dev.timeline import Timeline
from busauth.cli.dev.web.gate import why_not
from busauth.cli.dev.web.minting import MINT_PATH, minted
from busauth.testing.issuer import Issuer, Request, Response, SigningKey
from busauth.testing.issuer.http.messages import json_response

_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FILES: Mapping[str, tuple[str, str]] = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_METADATA = (
    f"{ISSUER_PATH}/.well-known/openid-configuration",
    f"/.well-known/oauth-authorization-server{ISSUER_PATH}",
)
_NOT_YET = "no bus has been imported yet, so nobody knows whom its tokens are for"

Answer = Callable[[Request], Response]


class DevIssuer(Issuer):
    """An issuer that says of itself what it is for, with a page around it.

    Args:
        timeline: what the page shows.

    Attributes:
        bus: which buses run, in a few words; empty before anything was imported.
        edge: answers ``POST /publish/...``; None before there is one.
    """

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self.bus = ""
        self.edge: Answer | None = None
        self._timeline = timeline

    def adapt(self, buses: Sequence[Mapping[str, Any]]) -> None:
        """Mint what all of these take, in the place of whoever they trust elsewhere.

        What has served until now goes on where it can. Buses that have no audience in common get
        the first one's: the others refuse such a token, and say why.

        Args:
            buses: what each tells of itself, its ``bus``, ``audience`` and ``algorithms``.
        """
        # Before there is a bus, the audience is a default that nobody has named.
        audience = self.audience if self.bus else None
        self.audience = _common(audience, [each["audience"] for each in buses])
        algorithm = _common(self.signing.algorithm, [each["algorithms"] for each in buses])
        if algorithm != self.signing.algorithm:
            self.rotate(SigningKey(algorithm))  # the old keys still count
        self.bus = "; ".join(each["bus"] for each in buses)

    def answer(self, request: Request) -> Response:
        """Return the answer to a request, if it comes from this machine's user."""
        why = why_not(request, port_of(self))
        answer = self._answered(request) if why is None else _refused(HTTPStatus.FORBIDDEN, why)
        return Response(answer.status, {**_HEADERS, **answer.headers}, answer.body)

    def _answered(self, request: Request) -> Response:
        path = request.path
        if path in _METADATA and request.method == "GET":
            return json_response(self.metadata(busauth_development=True))
        if path in _FILES or path == "/timeline":
            if request.method != "GET":
                return _refused(HTTPStatus.METHOD_NOT_ALLOWED, "expected GET")
            return _file(*_FILES[path]) if path in _FILES else self._rows(request)
        if path == MINT_PATH or path.startswith(EDGE_PATH):
            return self._posted(request)
        return super().answer(request)

    def _posted(self, request: Request) -> Response:
        if request.method != "POST":
            return _refused(HTTPStatus.METHOD_NOT_ALLOWED, "expected POST")
        if not self.bus or self.edge is None:
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_YET)
        return minted(self, request) if request.path == MINT_PATH else self.edge(request)

    def _rows(self, request: Request) -> Response:
        said = parse_qs(urlsplit(request.target).query).get("after", ["0"])[0]
        after = int(said) if said.isdecimal() and said.isascii() and len(said) <= _DIGITS else 0
        rows = [{"number": number, **asdict(row)} for number, row in self._timeline.after(after)]
        return json_response({"rows": rows, "bus": self.bus})


def port_of(issuer: Issuer) -> int:
    """Return where an issuer listens, by its name."""
    return urlsplit(issuer.url).port or 0


_DIGITS = 15


def _common(current: str | None, taken: Sequence[Sequence[str]]) -> str:
    """Return what all of them take: the current one if they do, else the first; or the first's."""
    first, *others = taken
    shared = [each for each in first if all(each in other for other in others)]
    return current if current in shared else (shared or first)[0]


def _file(name: str, media_type: str) -> Response:
    body = resources.files("busauth.cli.dev.web").joinpath(name).read_bytes()
    return Response(200, {"Content-Type": media_type}, body)


def _refused(status: HTTPStatus, why: str) -> Response:
    body = {"error": status.phrase, "error_description": why}
    return Response(status, {"Content-Type": "application/json"}, json.dumps(body).encode())
