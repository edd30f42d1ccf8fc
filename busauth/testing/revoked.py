"""Revocations by a test's word, next to whatever a service's guard asks."""

from busauth._amqp.feed import RevocationFeed
from busauth._revocation import RevokedTokens
from busauth._revocation.events import SecurityEvent, Target
from busauth._revocation.revocations import NoRevocations, Revocations
from busauth.caller import Caller
from busauth.errors import ConfigurationError

_NEVER = 1e10
"""Seconds: no token is so old that it could not be told whether it was revoked."""


class KitRevocations:
    """A guard's `Revocations`, and what the test has revoked.

    Args:
        asked: what the guard asks by itself.

    Attributes:
        session_claim: the claim that names a token's session.
    """

    def __init__(self, asked: Revocations) -> None:
        self._asked = asked
        self.session_claim: str = getattr(asked, "session_claim", "sid")
        self._tokens = RevokedTokens(
            retention=_NEVER, token_life=_NEVER, session_claim=self.session_claim
        )

    def revoked(self, caller: Caller, now: float) -> bool:
        """Return whether the test, or who is asked, says so."""
        if self._tokens.revoked(caller, now):
            return True
        if isinstance(self._asked, RevocationFeed) and not self._asked.is_open:
            return False  # a test without the feed would wait for it for ever
        return self._asked.revoked(caller, now)

    def add(self, target: Target, now: float) -> None:
        """Count the tokens of a target as revoked that were issued until now."""
        event = SecurityEvent(
            transmitter="kit",
            event_id="",
            issued_at=now,
            targets=(target,),
            effective_at=now,
            is_heartbeat=False,
        )
        self._tokens.add(event)


class Revoking:
    """Everybody who asks a kit what was revoked."""

    def __init__(self) -> None:
        self._asking: list[KitRevocations] = []

    def beside(self, asked: Revocations | None) -> Revocations:
        """Return what a guard asks instead; None where it asks nobody else."""
        asking = KitRevocations(asked or NoRevocations())
        self._asking.append(asking)
        return asking

    def forget(self, asking: Revocations) -> None:
        """Let go of a guard that is not used any more."""
        self._asking = [each for each in self._asking if each is not asking]

    def revoke(self, target: Target, now: float) -> None:
        """Tell all who ask.

        Raises:
            ConfigurationError: nobody asks, or the target names nobody.
        """
        if not (target.token_id or target.subject or target.session or target.client):
            raise ConfigurationError(
                "whose tokens? expected kit.revoke('alice'), or session=, client= or token_id="
            )
        if not self._asking:
            raise ConfigurationError(
                "no guard in use asks what was revoked, so a revoked token would be handled: "
                "expected Guard(revocations=...) on the bus that is tested, with an object that "
                "has `def revoked(self, caller, now) -> bool` (a small class of yours, or a "
                "RevocationFeed), and kit.revoke(...) inside `async with kit.using(bus)`; or "
                "kit.bus(kit.guard()), whose guard asks the kit"
            )
        for asking in self._asking:
            asking.add(target, now)
