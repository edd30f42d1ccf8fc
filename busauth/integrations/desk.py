"""A desk over HTTP: operators buy statements for dead letters with tokens of their own.

```python
from busauth.integrations.desk import statements

signer = StatementSigner("ops-desk", key, algorithm="EdDSA")
app = Starlette(routes=[statements(Desk(guard, signer))])
```

``POST /statements`` with ``Authorization: Bearer <operator's token>`` and
``{"queue": "orders.placed", "letters": [{"letter": "…", "seal": "…", "body": "…"}]}`` answers
``{"statements": ["…"]}``, one for each letter, in order. Refusals are problem details (RFC 9457).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from busauth._amqp.desks import Desk
from busauth._amqp.headers import bearer_token
from busauth._arguments import checked
from busauth._extras import needs
from busauth._messages.statements import MAX_LETTERS, StatedLetter
from busauth.errors import BadMessage, Deferred, Refused
from busauth.integrations.starlette import problems

with needs(__name__, "starlette"):
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

_MAX_BYTES = 64 * 1024
"""Of a request: a hundred letters of two digests and an id take 20 KB."""

_Digest = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]


class _Letter(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    letter: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")]
    seal: _Digest
    body: _Digest


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    queue: Annotated[str, Field(min_length=1, max_length=255)]
    letters: Annotated[list[_Letter], Field(max_length=MAX_LETTERS)]

    def stated(self) -> list[StatedLetter]:
        return [
            StatedLetter(queue=self.queue, letter=each.letter, seal=each.seal, body=each.body)
            for each in self.letters
        ]


@checked
def statements(desk: Desk, *, path: str = "/statements") -> Route:
    """Return the route of a desk, for a Starlette or FastAPI application behind TLS.

    Args:
        desk: who verifies operators and signs.
        path: where it is; `OperatorToken` and the command line ask at ``/statements``.
    """
    answers = problems(realm=path.strip("/") or "statements")

    async def state(request: Request) -> Response:
        try:
            # who it is comes first: of a stranger's request nothing is read
            token = _token(request)
            await desk.state(token, ())
            signed = await desk.state(token, (await _asked(request)).stated())
        except Refused as refused:
            return await answers[Refused](request, refused)
        except Deferred as deferred:
            return await answers[Deferred](request, deferred)
        return JSONResponse({"statements": signed}, headers={"cache-control": "no-store"})

    return Route(path, state, methods=["POST"])


def _token(request: Request) -> str:
    """Return the bearer token; several headers are one list (RFC 9110, section 5.3), and none."""
    return bearer_token(", ".join(request.headers.getlist("authorization")) or None)


async def _asked(request: Request) -> _Asked:
    """Read what is asked for.

    Raises:
        BadMessage: ``redrive.statement``: it is too long, or nothing that a desk is asked.
    """
    body = b""
    async for chunk in request.stream():  # what it says of its length may be a lie
        body += chunk
        if len(body) > _MAX_BYTES:
            found, expected = f"more than {_MAX_BYTES} bytes", "fewer letters"
            raise BadMessage("redrive.statement", found=found, expected=expected)
    try:
        return _Asked.model_validate_json(body)
    except ValidationError as error:
        found = f"{error.error_count()} faults, the first at {error.errors()[0]['loc']}"
        expected = "queue, and letters with letter, seal and body"
        raise BadMessage("redrive.statement", found=found, expected=expected) from None
