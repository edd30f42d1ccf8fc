"""An HTTP edge for any bus: who brings a token may publish, as a service's own would let them."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from aio_pika import DeliveryMode, Message

from busauth._amqp.bus import Bus
from busauth._amqp.guard import Guard
from busauth._arguments import closest
from busauth._tokens.verifier import Verifier
from busauth.audit import Event
from busauth.cli.dev.rows import Row, refused
from busauth.errors import Deferred, PublishError, Refused
from busauth.testing.issuer import Issuer, Request, Response
from busauth.testing.issuer.http.messages import json_response
from busauth.testing.trust import IssuerKeys

EDGE_PATH = "/publish/"
_SECONDS = 10.0


class Edge:
    """Verifies a request's token, and publishes its body with it.

    Args:
        issuer: whose tokens count.
        broker: where messages go.
        told: is given the row of a refusal.
        queues: says which there are, of the buses that run.
    """

    def __init__(
        self,
        issuer: Issuer,
        broker: str,
        told: Callable[[Row], None],
        queues: Callable[[], Sequence[str]],
    ) -> None:
        self._issuer, self._told, self._queues = issuer, told, queues
        self.bus = Bus(broker, guard=self._guard(), service="the edge of busauth dev")
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Answer in the running loop, where its bus is."""
        self._loop = asyncio.get_running_loop()

    def answer(self, request: Request) -> Response:
        """Return the answer to ``POST /publish/<routing key>``; asked from another thread."""
        if self._loop is None:
            return _problem({"status": HTTPStatus.SERVICE_UNAVAILABLE, "title": "not yet"})
        taken = asyncio.run_coroutine_threadsafe(self._take(request), self._loop)
        return taken.result(_SECONDS)

    async def _take(self, request: Request) -> Response:
        routing_key = unquote(request.path.removeprefix(EDGE_PATH))
        try:
            return await self._published(routing_key, request)
        except Refused as refusal:
            self._told(refused(refusal, routing_key, time.time()))
            is_forbidden = refusal.status == HTTPStatus.FORBIDDEN
            error = "insufficient_scope" if is_forbidden else "invalid_token"
            problem = {**refusal.problem(), "detail": refusal.detail}
            return _problem(problem, f'Bearer error="{error}"')
        except (Deferred, PublishError) as error:
            status, detail = HTTPStatus.SERVICE_UNAVAILABLE, str(error)
            known = self._queues()
            if isinstance(error, PublishError) and routing_key not in known:
                status, detail = HTTPStatus.NOT_FOUND, f"{detail}; {_there_are(known, routing_key)}"
            return _problem({"status": status, "title": status.phrase, "detail": detail})

    async def _published(self, routing_key: str, request: Request) -> Response:
        caller = await self._guard().authenticate(request.headers.get("authorization"))
        message = Message(
            request.body,
            content_type="application/json",
            message_id=uuid4().hex,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await self.bus.publish(routing_key, message, token=caller.bearer(), timeout=_SECONDS / 2)
        said = {"published": routing_key, "message": message.message_id, "for": caller.subject}
        if caller.actor is not None:
            said["by"] = caller.actor.subject
        return json_response(said, HTTPStatus.ACCEPTED)

    def _guard(self) -> Guard:
        """Made for each request: whom tokens are for is known once the bus has been imported."""
        verifier = Verifier(
            IssuerKeys(self._issuer),
            issuer=self._issuer.url,
            audience=self._issuer.audience,
            leeway=0,
        )
        return Guard(verifier, auditor=_unheard)


def _there_are(queues: Sequence[str], asked: str) -> str:
    """Say which queues there are, and which of them may have been meant."""
    if not queues:
        return "no bus runs that has queues"
    near = closest(asked, queues)
    meant = f"; did you mean {near}?" if near else ""
    return f"queues with a consumer: {', '.join(queues)}{meant}"


def _problem(details: Mapping[str, Any], challenge: str | None = None) -> Response:
    headers = {"Content-Type": "application/problem+json"}
    if challenge:
        headers["WWW-Authenticate"] = challenge
    return Response(int(details["status"]), headers, json.dumps(dict(details)).encode())


def _unheard(_event: Event) -> None:
    """Tell nobody: the broker's steps tell that it was published."""
