"""Whose is a proof, is it this message's, and is it in time?

1. Whose it is comes first (`publishers`): nothing that it says means anything before.
2. Whether it speaks of this message, and of a way to here, is compared next (`matching`).
3. Time comes last, judged against the published instant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Annotated, NamedTuple

from busauth._arguments import Range, Seconds, checked
from busauth._messages.proof.binding import HEADER, TOKEN_ISS, TOKEN_SUB, SeenMessage
from busauth._messages.proof.matching import check_message, check_recorded, check_token
from busauth._messages.proof.publishers import Publishers, Signed, TrustedPublisher
from busauth._messages.proof.routes import Route
from busauth._tokens.keys.waiting import KeyUnknown
from busauth.errors import BadMessage, ConfigurationError, Forbidden, Untimely

Skew = Annotated[float, Range(unit="seconds", most=300)]
SKEW = 30.0


class ProofDemand(Enum):
    """What a consumer asks of the messages' publishers."""

    REQUIRED = "required"
    """No message without a proof that holds."""

    IF_PRESENT = "if-present"
    """A proof that is there must hold. Whoever can take it away is not held by it."""

    IGNORED = "ignored"
    """Proofs are not looked at."""


class Proven(NamedTuple):
    """What a proof says about a message, all of it proven.

    Attributes:
        publisher: who published this message; on a release, who released it.
        published_at: when, seconds since the epoch.
        message_id: the message's id, as it was signed.
        exchange: where it was published to; ``""`` is the default exchange.
        routing_key: with which key.
        headers: the names of headers that the proof binds, there or not.
        root_publisher: who signed first, as far as that was proven: the original's publisher.
        root_published_at: when the first message was published, by the original or by the word of a
            publisher that is trusted to relay; else `published_at`.
        issuer: the token's issuer, where what was signed first names it: this message's, too.
        subject: the token's subject, likewise.
        released: whether the proof embeds an original.
    """

    publisher: str
    published_at: float
    message_id: str
    exchange: str
    routing_key: str
    headers: frozenset[str]
    root_publisher: str
    root_published_at: float
    issuer: str | None = None
    subject: str | None = None
    released: bool = False

    @property
    def names_caller(self) -> bool:
        """Return whether what was signed first names the token's issuer and subject."""
        return bool(self.issuer and self.subject)


class Proofs:
    """What a consumer asks of proofs.

    Args:
        publishers: whom it trusts.
        demand: whether a message needs a proof.
        max_age: seconds between the published instant and the decision, from which on it is stale.
        skew: seconds of clock skew that both ends of that span tolerate.

    Attributes:
        remember_for: seconds for which a replay memory must know a message.

    Raises:
        ConfigurationError: nobody is trusted, two publishers have one name, or no such span.
    """

    @checked
    def __init__(
        self,
        publishers: Iterable[TrustedPublisher],
        *,
        demand: ProofDemand = ProofDemand.REQUIRED,
        max_age: Seconds,
        skew: Skew = SKEW,
    ) -> None:
        self._publishers = Publishers(publishers)
        self.demand = demand
        self.max_age = max_age
        self.skew = skew
        if demand is not ProofDemand.IGNORED and not self._publishers:
            raise ConfigurationError("publishers is empty: expected at least one TrustedPublisher")

    @property
    def remember_for(self) -> float:
        """Return how long a proof can be accepted after it was first seen."""
        return self.max_age + 2 * self.skew

    @property
    def names(self) -> frozenset[str]:
        """Return the publishers' names."""
        return self._publishers.names

    def relays(self, name: str) -> bool:
        """Return whether a publisher is trusted to relay; whoever is unknown is not."""
        return self._publishers.relays(name)

    def demanding(self, demand: ProofDemand) -> "Proofs":
        """Return a copy that asks for more, or less.

        Raises:
            ConfigurationError: it trusts nobody, and is to look at proofs.
        """
        return Proofs(self._publishers, demand=demand, max_age=self.max_age, skew=self.skew)

    def check(
        self, proof: object, seen: SeenMessage, routes: Sequence[Route], now: float
    ) -> Proven | None:
        """Return what a header proves of a message, with the keys at hand; None for no proof.

        Args:
            proof: the header's value, None where there is none.
            seen: the message as it was delivered.
            routes: how messages get to this consumer: its queue on the default exchange, and its
                bindings.
            now: the one instant of this decision.

        Raises:
            NotGenuine: it was not proven to be a trusted publisher's.
            BadMessage: it is, and speaks of another message than this.
            Forbidden: it is, and not for here; or there is none, and there must be.
            Untimely: it is stale, or from the future.
        """
        try:
            signed = self.recall(proof)
        except KeyUnknown as unknown:
            raise unknown.refusal from None
        return None if signed is None else self.judge(signed, seen, routes, now)

    def recall(self, proof: object) -> Signed | None:
        """Prove whose a proof is, with the keys at hand; None where none is needed.

        `found` fetches keys that are not at hand.

        Raises:
            Refused: as `check`, for what can be told without the message.
            KeyUnknown: no key at hand fits.
        """
        if proof is None or self.demand is ProofDemand.IGNORED:
            if self.demand is ProofDemand.REQUIRED:
                raise _missing()
            return None
        return self._publishers.prove(proof)

    def judge(
        self, signed: Signed, seen: SeenMessage, routes: Sequence[Route], now: float
    ) -> Proven:
        """Compare a proof with its message; see `check`.

        Raises:
            Refused: as `check`, for what can be told of the message.
        """
        check_token(signed.claims, seen)
        check_message(signed, seen, routes, skew=self.skew)
        # Last: how old it is means something only of this very message.
        self.check_age(signed, now)
        return self._proven(signed)

    def check_age(self, signed: Signed, now: float) -> None:
        """Refuse a proof for its published instant.

        Raises:
            Untimely: ``proof.stale`` or ``proof.from_the_future``.
        """
        self._check_age(signed, now, self.max_age)

    def check_original(
        self,
        proof: object,
        seen: SeenMessage,
        token_sha256: str,
        routes: Sequence[Route],
        now: float,
    ) -> Proven:
        """Return what the proof of a parked message proves, for who is about to release it.

        Its token is gone, and how old it is plays no part. It must name whose token it was: the
        message is released for that caller and nobody else. The keys must be at hand:
        `found` fetches them, for `recall`.

        Args:
            proof: the header's value; what it embeds, where the message was released before, counts
                for who published first, when, and for whom.
            seen: the parked message, without its tokens. Where it has an issuer and a subject, they
                must be those of the proof.
            token_sha256: the hex SHA-256, as it was recorded, of the token that came with it.
            routes: how messages get to the consumer that it was parked by.
            now: the one instant of this decision; nothing was published after it.

        Raises:
            Refused: as `check`, whatever the demand, save ``proof.stale``; ``proof.caller`` where
                nobody is named.
        """
        if proof is None:
            raise _missing()
        try:
            signed = self._publishers.prove(proof)
        except KeyUnknown as unknown:
            raise unknown.refusal from None
        check_recorded(signed.claims, token_sha256)
        return self.judge_tokenless(signed, seen, routes, now)

    def judge_tokenless(
        self, signed: Signed, seen: SeenMessage, routes: Sequence[Route], now: float
    ) -> Proven:
        """Compare a proof with a message whose token is gone; how old it is plays no part.

        Raises:
            Refused: as `check_original`, for what can be told without the token.
        """
        check_message(signed, _of_its_caller(seen, signed), routes, skew=self.skew)
        self._check_age(signed, now, float("inf"))
        return self._proven(signed)

    def _check_age(self, signed: Signed, now: float, max_age: float) -> None:
        age = now - signed.published_at
        if age < -self.skew:
            found, expected = f"published {-age:.3f} s ahead", f"{self.skew:g} s at most"
            raise Untimely("proof.from_the_future", found=found, expected=expected)
        if age >= max_age + self.skew:
            found, expected = f"published {age:.3f} s ago", f"less than {max_age:g} s"
            raise Untimely("proof.stale", found=found, expected=expected)

    def _proven(self, signed: Signed) -> Proven:
        claims, original = signed.claims, signed.original
        root = signed if original is None else original
        since = root.published_at if root.root_published_at is None else root.root_published_at
        if since > root.published_at + self.skew:
            found = "root_iat after iat"
            raise Untimely("proof.from_the_future", found=found, expected="before it")
        return Proven(
            signed.publisher.name,
            signed.published_at,
            claims["message_id"],
            claims["exchange"],
            claims["routing_key"],
            frozenset(claims.get("headers", ())),
            root.publisher.name,
            since,
            root.claims.get(TOKEN_ISS),
            root.claims.get(TOKEN_SUB),
            original is not None,
        )


def _missing() -> Forbidden:
    """Not forged, only absent: it must not end where the oldest are dropped."""
    return Forbidden("proof.missing", found=f"no {HEADER}", expected="a publisher's proof")


def _of_its_caller(seen: SeenMessage, signed: Signed) -> SeenMessage:
    """Take a message whose token is gone for that of the caller whom its first proof names."""
    first = (signed.original or signed).claims
    issuer, subject = first.get(TOKEN_ISS), first.get(TOKEN_SUB)
    if not (issuer and isinstance(issuer, str) and subject and isinstance(subject, str)):
        found = "a proof that names no caller"
        raise BadMessage("proof.caller", found=found, expected=f"{TOKEN_ISS} and {TOKEN_SUB}")
    return replace(
        seen,
        issuer=issuer if seen.issuer is None else seen.issuer,
        subject=subject if seen.subject is None else seen.subject,
    )
