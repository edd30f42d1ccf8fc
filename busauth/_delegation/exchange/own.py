"""A service's own token, by which it says who acts (RFC 6749, section 4.4).

It is had at the endpoint that exchanges, as the same client, and remembered until shortly before
it ends. Nothing is read from it: the answer to an exchange says who acts, and that is checked.
"""

import math

from busauth._delegation.exchange.options import ExchangeOptions
from busauth._delegation.exchange.server import TokenEndpoint
from busauth._tokens.asking.flights import Flights
from busauth._tokens.claims import instant
from busauth._tokens.compact import is_signed, split
from busauth.clock import Clock
from busauth.errors import Deferred, NotGenuine, Refused


class OwnToken:
    """Has the service's own token.

    Args:
        server: where it is had.
        options: how long before its end it is had anew.
        clock: where instants come from.
    """

    def __init__(self, server: TokenEndpoint, *, options: ExchangeOptions, clock: Clock) -> None:
        self._server = server
        self._options = options
        self._clock = clock
        self._token = ""
        self._until = self._young_until = -math.inf
        self._flights: Flights[str] = Flights("own tokens", 1)

    def at_hand(self) -> str | None:
        """Return the token that is remembered, None where there is none that counts for a while."""
        return self._token if self._clock.now() < self._until else None

    async def get(self) -> str:
        """Return a token, remembered or new.

        Raises:
            Deferred: there is none to be had now, for whatever reason: no message is guilty of it.
        """
        return self.at_hand() or await self._flights.get("", self._asked)

    def is_doubted(self, token: str) -> bool:
        """Return whether what was refused with this token may be tried with another one.

        One that was had just now has not ended: else all whose own token counts no more would have
        this service's had anew, each by itself.
        """
        if token == self._token and self._clock.monotonic() < self._young_until:
            return False
        if token == self._token:
            self._until = -math.inf
        return True

    async def _asked(self) -> str:
        began = self._clock.now()
        try:
            given = await self._server.ask({"grant_type": "client_credentials"})
        except Refused as refused:
            why = f"{self._server.issuer} gives {self._server.client_id} no token of its own"
            raise Deferred(f"{why}: {refused.found}", probe=self.get) from refused
        ends_at = min(began + given.seconds, self._end(given.token))
        # Nobody said when it ends: it counts for this once.
        self._until = -math.inf if ends_at == math.inf else ends_at - self._options.early
        self._young_until = self._clock.monotonic() + self._options.refused_for
        self._token = given.token
        return given.token

    def _end(self, token: str) -> float:
        if not is_signed(token):
            return math.inf
        try:
            payload = split(token, max_bytes=self._options.max_token_bytes).payload
            ends_at = instant(payload, "exp")
        except NotGenuine:  # whoever is handed it says what is wrong with it
            return math.inf
        return math.inf if ends_at is None else ends_at
