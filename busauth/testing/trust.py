"""The keys of a test's issuer, as they are at this moment: rotated and retired without a fetch."""

from collections.abc import Sequence

from busauth._tokens.keys.key import Key, StaticKeys
from busauth.testing.issuer import Issuer


class IssuerKeys:
    """A `KeySource` that looks at what an issuer publishes now.

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
