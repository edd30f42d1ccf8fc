"""A test's issuer in the place of a service's own: whose keys count, and who gives tokens."""

from collections.abc import Sequence

from busauth._delegation.exchange.server import Reach
from busauth._tokens.asking.client_auth import ClientSecretBasic
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.key import Key, StaticKeys
from busauth.clock import Clock
from busauth.testing.issuer import Issuer
from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.transport import IssuerTransport


class IssuerKeys:
    """A `KeySource` that looks at what an issuer publishes now: rotated and retired unfetched.

    Args:
        issuer: whose keys they are.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._published = tuple(issuer.published)
        self._keys = StaticKeys(issuer.jwks())
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """Return how often the set has changed."""
        self._look()
        return self._epoch

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """Return the fitting keys, or raise `KeyMissing`."""
        self._look()
        return self._keys.candidates(key_id, algorithm)

    async def refresh(self) -> bool:
        """Return True: what is not published now does not exist."""
        return True

    def _look(self) -> None:
        published = tuple(self._issuer.published)
        if published != self._published:
            self._published, self._keys = published, StaticKeys(self._issuer.jwks())
            self._epoch += 1


class IssuerClients:
    """Services that a test's issuer knows, each by the name that it has at its own one.

    Args:
        issuer: who knows them.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._known: dict[str, Client] = {}

    def reach(self, client_id: str, transport: IssuerTransport, clock: Clock) -> Reach:
        """Return how a service asks the issuer, which knows it from now on."""
        if client_id not in self._known:
            self._known[client_id] = self._issuer.register(client_id)
        return Reach(
            client=ClientSecretBasic(client_id, self._known[client_id].secret),
            endpoint=None,
            keys=IssuerKeys(self._issuer),
            fetcher=Fetcher(transport=transport),
            clock=clock,
        )
