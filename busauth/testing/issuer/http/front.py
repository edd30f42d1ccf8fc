"""What the ways of asking an issuer have in common: they remember, and can be made to fail."""

from collections.abc import Mapping
from typing import Protocol

from busauth.clock import Clock
from busauth.testing.issuer.http.messages import JSON, Request, Response, json_response

Reply = Response | tuple[int, bytes]
"""An answer, or the status and body of one in JSON."""

_UNAVAILABLE = 503


class Answering(Protocol):
    """An issuer, as a front needs it."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    @property
    def clock(self) -> Clock:
        """What its time is."""
        ...

    def answer(self, request: Request) -> Response:
        """Return the answer to a request."""
        ...


class Front:
    """One way of asking an issuer.

    Attributes:
        received: what was asked, in order.
        down: answer 503 to everything.
        delay: seconds to wait before each answer.
        broken: hang up instead of answering.
        replies: instead of the usual: a path's answer.
    """

    def __init__(self, issuer: Answering) -> None:
        self._answering = issuer
        self.received: list[Request] = []
        self.down = False
        self.delay = 0.0
        self.broken = False
        self.replies: dict[str, Reply] = {}

    @property
    def requests(self) -> list[str]:
        """The targets that were asked for, in order."""
        return [request.target for request in self.received]

    def _answered(self, request: Request) -> Response | None:
        """Return the answer, None where the connection breaks."""
        if self.broken:
            return None
        if self.down:
            return json_response({}, _UNAVAILABLE)
        reply = _reply(self.replies, request)
        return self._answering.answer(request) if reply is None else reply


def _reply(replies: Mapping[str, Reply], request: Request) -> Response | None:
    reply = replies.get(request.path)
    if isinstance(reply, tuple):
        status, body = reply
        return Response(status, {"Content-Type": JSON}, body)
    return reply
