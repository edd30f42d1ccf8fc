"""What the ways of asking an issuer have in common: they remember, and can be made to fail."""

from collections.abc import Callable, Mapping
from typing import Protocol

from busauth.clock import Clock
from busauth.testing.issuer.http.messages import JSON, Request, Response, json_response

Reply = Response | tuple[int, bytes]
"""An answer, or the status and body of one in JSON."""

Rewrite = Callable[[Request, Response], Response]
"""From what was asked and would be answered to what is answered instead."""

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
        rewrite: says what is answered, where the issuer has answered; None for just that.
    """

    def __init__(self, issuer: Answering) -> None:
        self._answering = issuer
        self.received: list[Request] = []
        self.down = False
        self.delay = 0.0
        self.broken = False
        self.replies: dict[str, Reply] = {}
        self.rewrite: Rewrite | None = None

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
        if reply is None:
            reply = self._answering.answer(request)
        return reply if self.rewrite is None else self.rewrite(request, reply)


def _reply(replies: Mapping[str, Reply], request: Request) -> Response | None:
    reply = replies.get(request.path)
    if isinstance(reply, tuple):
        status, body = reply
        return Response(status, {"Content-Type": JSON}, body)
    return reply
