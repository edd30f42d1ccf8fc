"""HTTP in, messages out: a FastAPI route that asks for its caller, and says so in its OpenAPI.

::

    from busauth.integrations.fastapi import CallerBearer, lifespan, problems

    app = FastAPI(lifespan=lifespan(bus), exception_handlers=problems())
    bearer = CallerBearer(bus)
    Buyer = Annotated[Caller, Security(bearer, scopes=["orders:write"])]


    @app.post("/orders", status_code=202)
    async def place_order(order: Order, caller: Buyer) -> None:
        await bus.publish("orders.placed", order)  # on behalf of the request's caller

While the route runs its caller is in scope, as a message's is in its handler, and no longer: what
is published behind it, by a background task or a body that is streamed, is refused.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from busauth._amqp.bus import Bus
from busauth._amqp.guard import Guard
from busauth._arguments import checked, role_names
from busauth._expiry import Policies
from busauth.caller import Caller
from busauth.integrations.starlette import authenticated, lifespan, problems, readiness

__all__ = ["CallerBearer", "lifespan", "problems", "readiness"]


async def _route() -> AsyncIterator[AsyncExitStack]:
    """What ends with the route: before the answer is sent, and background tasks begin."""
    async with AsyncExitStack() as stack:
        yield stack


class CallerBearer(SecurityBase):
    """A dependency that gives a request's `Caller`, or refuses: ``Security(bearer, scopes=[...])``.

    Scopes of dependencies that depend on each other add up, and all of them are demanded, as
    OpenAPI shows them.

    Args:
        guard: what verifies; of a bus its guard, in tests the one of the kit that it uses.
        roles: all of them must be in the token.
        on_expired: for services behind a queue; default: nothing late is accepted.
        scheme_name: what OpenAPI calls it.
        description: what OpenAPI says of it.

    Raises:
        ConfigurationError: an argument of another type.
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
        self.model = HTTPBearer(bearerFormat="JWT", description=description)
        self.scheme_name = scheme_name
        self._guard, self._on_expired = guard, on_expired
        self._roles = role_names("roles", roles)

    async def __call__(
        self,
        request: Request,
        demanded: SecurityScopes,
        route: Annotated[AsyncExitStack, Depends(_route, scope="function")],
    ) -> Caller:
        """Return the caller, who is in scope until the route has returned; FastAPI calls this.

        Raises:
            Refused, Deferred: as of `authenticated`; `problems` answers them.
        """
        return await route.enter_async_context(
            authenticated(
                self._guard,
                request,
                scopes=demanded.scopes,
                roles=self._roles,
                on_expired=self._on_expired,
            )
        )
