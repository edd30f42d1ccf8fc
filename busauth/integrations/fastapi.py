"""HTTP in, messages out: a FastAPI route that asks for its caller, and says so in its OpenAPI.

```python
from busauth.integrations.fastapi import CallerBearer, lifespan, problems

app = FastAPI(lifespan=lifespan(bus), exception_handlers=problems())
bearer = CallerBearer(bus)
Buyer = Annotated[Caller, Security(bearer, scopes=["orders:write"])]


@app.post("/orders", status_code=202)
async def place_order(order: Order, caller: Buyer) -> None:
    await bus.publish("orders.placed", order)  # on behalf of the request's caller
```

While the route runs its caller is in scope, as a message's is in its handler, and no longer: what
is published behind it, by a background task or a body that is streamed, is refused.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Annotated

from busauth._amqp.bus import Bus
from busauth._amqp.guard import Guard
from busauth._arguments import checked
from busauth._decision import Demand
from busauth._expiry import Policies
from busauth._extras import needs
from busauth.caller import Caller
from busauth.errors import ConfigurationError

with needs(__name__, "fastapi", "fastapi", "starlette"):
    from fastapi import Depends, Request, WebSocketException, status
    from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
    from fastapi.security import SecurityScopes
    from fastapi.security.base import SecurityBase
    from starlette.requests import HTTPConnection

    from busauth.integrations.starlette import (
        authenticated,
        guard_of,
        lifespan,
        problems,
        readiness,
    )

__all__ = ["CallerBearer", "lifespan", "problems", "readiness"]

_LETTERS = 4
"""Scopes of one character: as many are a lone string, which FastAPI takes letter by letter."""

_NO_SOCKETS = "callers are not let in here: a connection may outlive its caller's token"


async def _route() -> AsyncIterator[AsyncExitStack]:
    """What ends with the route: before the answer is sent, and background tasks begin."""
    async with AsyncExitStack() as stack:
        yield stack


class CallerBearer(SecurityBase):
    """A dependency that gives a request's `Caller`, or refuses: ``Security(bearer, scopes=[...])``.

    With a guard of transaction tokens it reads ``Txn-Token``, which OpenAPI shows as a key.

    Scopes of dependencies that depend on each other add up, and all of them are demanded, as
    OpenAPI shows them.

    Args:
        guard: what verifies; of a bus its guard, in tests the one of the kit that it uses.
        roles: all of them must be in the token.
        on_expired: for services behind a queue; default: nothing late is accepted.
        scheme_name: what OpenAPI calls it.
        description: what OpenAPI says of it.

    Raises:
        ConfigurationError: an argument of another type, a policy that can never be reached or needs
            what cannot be had, or a `Restrict` that takes the roles away. What it takes of the
            scopes is told with the first request, as FastAPI says no sooner which they are.
    """

    @checked
    def __init__(
        self,
        guard: Guard | Bus,
        *,
        roles: Iterable[str] = (),
        on_expired: Policies | None = None,
        scheme_name: str = "bearer",
        description: str | None = None,
    ) -> None:
        header = guard_of(guard).core.header
        self.model = (
            APIKey(**{"in": APIKeyIn.header}, name=header.on_http, description=description)
            if header.is_transactions
            else HTTPBearer(bearerFormat="JWT", description=description)
        )
        self.scheme_name = scheme_name
        self._guard, self._on_expired = guard, on_expired
        demand = Demand.of((), roles)
        guard_of(guard).core.edge_rules(demand, on_expired)  # what cannot work is told here
        self._roles = demand.roles

    async def __call__(
        self,
        request: HTTPConnection,
        demanded: SecurityScopes,
        route: Annotated[AsyncExitStack, Depends(_route, scope="function")],
    ) -> Caller:
        """Return the caller, who is in scope until the route has returned; FastAPI calls this.

        Raises:
            Refused, Deferred: as of `authenticated`; `problems` answers them.
            WebSocketException: a WebSocket is closed with 1008, and nobody is let in.
            ConfigurationError: scopes are one string, or one of them has a blank.
        """
        if not isinstance(request, Request):
            raise WebSocketException(status.WS_1008_POLICY_VIOLATION, _NO_SOCKETS)
        _check_scopes(demanded.scopes)
        return await route.enter_async_context(
            authenticated(
                self._guard,
                request,
                scopes=demanded.scopes,
                roles=self._roles,
                on_expired=self._on_expired,
            )
        )


def _check_scopes(scopes: Sequence[str]) -> None:
    letters = [scope for scope in scopes if len(scope) == 1]
    if len(letters) >= _LETTERS:
        raise ConfigurationError(
            f"Security(..., scopes=...): got scopes of one letter each, {', '.join(letters)}: "
            'expected a list, scopes=["orders:write"]; FastAPI takes a lone string letter by letter'
        )
