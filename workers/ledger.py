"""Keeps the books, behind HTTP: the same caller, the same token, one more permission.

No message bus in here. The guard that stands in front of consumers verifies requests as well. By
default it takes nothing late from HTTP; this service is asked from behind a queue, and says so.
"""

from uuid import UUID

import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from busauth import Grace
from workers import edge, shop

PORT = 9001

guard = shop.make_guard()
GRACE = Grace(seconds=shop.settings.grace)
entries: dict[tuple[UUID, str], int] = {}


class Entry(BaseModel):
    """What is written down, in cents."""

    amount: int


async def write(request: Request) -> Response:
    """Write an entry for the caller; writing it again changes nothing."""
    caller = await edge.authenticate(guard, request, scopes={"ledger:write"}, on_expired=GRACE)
    entry = Entry.model_validate_json(await request.body())
    entries[request.path_params["order"], caller.subject] = entry.amount
    return Response(status_code=204)


app = Starlette(
    routes=[
        Route("/entries/{order:uuid}", write, methods=["PUT"]),
        Route("/healthz", edge.healthz),
    ],
    exception_handlers=edge.ANSWERS,
)


if __name__ == "__main__":
    shop.log_to_stderr()
    uvicorn.run(app, host=shop.settings.host, port=shop.settings.port or PORT, log_level="warning")
