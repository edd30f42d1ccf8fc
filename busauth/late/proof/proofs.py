"""Does a proof speak of this message, here and now?

1. Whose it is comes first (`Publishers`): nothing that it says means anything before.
2. The token, its caller where one is named, the body, the id, the properties and the declared
   headers are the message's own.
3. It was published to where this consumer is bound, by whom may publish there. What the delivery
   says of its exchange and key plays no part: a copy made by a retry came another way, and so did a
   message that somebody moved; the declared routes tell them apart.
4. An original inside speaks of the same message, for the token that was recorded with it.
5. Time comes last, judged against the published instant.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from busauth.errors import BadMessage, ConfigurationError, Forbidden, Untimely
from busauth.late.canonical import NotCanonical
from busauth.late.proof.binding import (
    CALLER,
    HEADER,
    MAX_HEADERS,
    TOKEN_SHA256,
    SeenMessage,
    bound_header,
    bound_properties,
    digest,
    token_digest,
)
from busauth.late.proof.publishers import KeyUnknown, Publisher, Publishers, Signed
from busauth.late.proof.routes import Route
from busauth.tokens.signing import b64url

_LOOKS = 4
"""Fetches that unknown keys are worth: two for each of two publishers."""

_MAX_SKEW = 300.0
_SAME = ("body", "message_id", "exchange", "routing_key")


class ProofDemand(Enum):
    """What a consumer asks of the messages' publishers."""

    REQUIRED = "required"
    """No message without a proof that holds."""

    IF_PRESENT = "if-present"
    """A proof that is there must hold. Whoever can take it away is not held by it."""

    IGNORED = "ignored"
    """Proofs are not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What a proof says about a message, all of it proven.

    Attributes:
        publisher: who published this message; on a release, who released it.
        published_at: when, seconds since the epoch.
        message_id: the message's id, as it was signed.
        headers: the names of headers that the proof binds, there or not.
        root_publisher: who signed first, as far as that was proven: the original's publisher.
        root_published_at: when the first message was published, by the original or by the word of a
            publisher that is trusted to relay; else `published_at`.
        names_caller: whether what was signed first names the token's issuer and subject, who are
            then this message's, too.
        released: whether the proof embeds an original.
    """

    publisher: str
    published_at: float
    message_id: str
    headers: frozenset[str]
    root_publisher: str
    root_published_at: float
    names_caller: bool = False
    released: bool = False


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

    def __init__(
        self,
        publishers: Iterable[Publisher],
        *,
        demand: ProofDemand = ProofDemand.REQUIRED,
        max_age: float,
        skew: float = 30.0,
    ) -> None:
        self._publishers = Publishers(publishers)
        self.demand = demand
        self.max_age = max_age
        self.skew = skew
        if demand is not ProofDemand.IGNORED and not self._publishers:
            raise ConfigurationError("publishers is empty: expected at least one Publisher")
        if not 0 < max_age < float("inf") or not 0 <= skew <= _MAX_SKEW:
            expected = f"more than 0 seconds, and 0 to {_MAX_SKEW:g}"
            raise ConfigurationError(f"max_age={max_age!r}, skew={skew!r}: expected {expected}")

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

    async def authenticate(self, proof: object) -> Signed | None:
        """Prove whose a proof is, fetching its publisher's keys if they are not at hand.

        Raises:
            Refused: as `check`, for what can be told without the message.
            Deferred: the publisher's keys are out of reach.
        """
        asked: set[str] = set()
        for _ in range(_LOOKS):
            try:
                return self.recall(proof)
            except KeyUnknown as unknown:
                publisher = unknown.publisher
            if publisher.name in asked:
                break
            if await publisher.keys.refresh():
                asked.add(publisher.name)
        return self._recall_or_refuse(proof)

    def _recall_or_refuse(self, proof: object) -> Signed | None:
        try:
            return self.recall(proof)
        except KeyUnknown as unknown:
            raise unknown.refusal from None

    def recall(self, proof: object) -> Signed | None:
        """Prove whose a proof is, with the keys at hand; None where none is needed.

        Raises:
            Refused: as `check`, for what can be told without the message.
            KeyUnknown: no key at hand fits.
        """
        if self.demand is ProofDemand.IGNORED:
            return None
        if proof is not None:
            return self._publishers.prove(proof)
        if self.demand is ProofDemand.REQUIRED:
            # Not forged, only absent: it must not end where the oldest are dropped.
            raise Forbidden("proof.missing", found=f"no {HEADER}", expected="a publisher's proof")
        return None

    def judge(
        self, signed: Signed, seen: SeenMessage, routes: Sequence[Route], now: float
    ) -> Proven:
        """Compare a proof with its message; see `check`.

        Raises:
            Refused: as `check`, for what can be told of the message.
        """
        body = digest(seen.body)
        _check_token(signed.claims, seen)
        _check_caller(signed.claims, seen)
        _check_message(signed.claims, seen, body)
        _check_route(signed.claims, routes)
        _check_allowed(signed.publisher, signed.claims)
        if signed.original is not None:
            self._check_original(signed, signed.original, seen, body)
        self._check_time(signed, now)
        return self._proven(signed)

    def _check_original(
        self, signed: Signed, original: Signed, seen: SeenMessage, body: str
    ) -> None:
        """Hold the original to the same message; its token was another, and is gone."""
        for name in _SAME:
            if original.claims[name] != signed.claims[name]:
                raise _not_the_original(f"another {name}")
        if _recorded(signed.claims) not in (original.claims.get("ath"), original.claims.get("tth")):
            raise _not_the_original("the proof of another token")
        if original.published_at > signed.published_at + self.skew:
            raise _not_the_original("published after its release")
        try:
            _check_caller(original.claims, seen)
            _check_message(original.claims, seen, body)
            _check_allowed(original.publisher, original.claims)
        except (BadMessage, Forbidden) as refused:
            raise _not_the_original(refused.detail) from None

    def _check_time(self, signed: Signed, now: float) -> None:
        age = now - signed.published_at
        if age < -self.skew:
            found, expected = f"published {-age:.3f} s ahead", f"{self.skew:g} s at most"
            raise Untimely("proof.from_the_future", found=found, expected=expected)
        if age >= self.max_age + self.skew:
            found, expected = f"published {age:.3f} s ago", f"less than {self.max_age:g} s"
            raise Untimely("proof.stale", found=found, expected=expected)

    def _proven(self, signed: Signed) -> Proven:
        root = signed.original or signed
        since = root.published_at if root.root_published_at is None else root.root_published_at
        if since > root.published_at + self.skew:
            found = "root_iat after iat"
            raise Untimely("proof.from_the_future", found=found, expected="before it")
        return Proven(
            publisher=signed.publisher.name,
            published_at=signed.published_at,
            message_id=signed.claims["message_id"],
            headers=frozenset(signed.claims.get("headers", ())),
            root_publisher=root.publisher.name,
            root_published_at=since,
            names_caller=all(name in root.claims for name in CALLER),
            released=signed.original is not None,
        )


def _check_token(claims: Mapping[str, Any], seen: SeenMessage) -> None:
    """Both tokens, there or not: neither can be swapped, added or taken away."""
    for name, token in (("ath", seen.token), ("tth", seen.transaction_token)):
        if claims.get(name) != token_digest(token):
            found = f"the proof of another token ({name})"
            raise BadMessage("proof.token", found=found, expected="the proof of this one")


def _check_caller(claims: Mapping[str, Any], seen: SeenMessage) -> None:
    """Where a proof names whose token it was, it is this one's, or that of a fresh one."""
    for name, value in zip(CALLER, (seen.issuer, seen.subject), strict=True):
        if name in claims and claims[name] != value:
            found = f"the proof of another caller ({name})"
            raise BadMessage("proof.caller", found=found, expected="the proof of this one")


def _check_message(claims: Mapping[str, Any], seen: SeenMessage, body: str) -> None:
    if claims["body"] != body:
        raise BadMessage("proof.body", found="another body", expected="the one that was signed")
    if claims["message_id"] != seen.message_id:
        found = seen.message_id or "no message id"
        raise BadMessage("proof.message_id", found=found, expected=claims["message_id"])
    signed, properties = claims.get("properties", {}), bound_properties(seen.properties)
    if signed != properties:
        raise _differs("proof.property", signed, properties)
    if "headers" in claims:
        _check_headers(claims["headers"], seen.headers)


def _check_headers(signed: Mapping[str, Any], headers: Mapping[str, Any]) -> None:
    if len(signed) > MAX_HEADERS:
        count = f"{len(signed)} headers"
        raise BadMessage("proof.malformed", found=count, expected=f"{MAX_HEADERS} at most")
    try:
        found = {name: bound_header(headers, name) for name in signed}
    except NotCanonical as error:
        raise BadMessage("proof.header", found=error, expected="a canonical value") from None
    if signed != found:
        raise _differs("proof.header", signed, found)


def _differs(code: str, signed: Mapping[str, Any], found: Mapping[str, Any]) -> BadMessage:
    """Name what differs; values may be anybody's secrets."""
    names = sorted(
        name
        for name in signed.keys() | found.keys()
        if signed.get(name, ...) != found.get(name, ...)
    )
    return BadMessage(code, found=f"another {', '.join(names)}", expected="as it was signed")


def _check_allowed(publisher: Publisher, claims: Mapping[str, Any]) -> None:
    if publisher.routes is not None:
        _check_route(claims, publisher.routes)


def _check_route(claims: Mapping[str, Any], routes: Sequence[Route]) -> None:
    exchange, key = claims["exchange"], claims["routing_key"]
    if not any(route.covers(exchange, key) for route in routes):
        expected = " or ".join(map(str, routes)) or "a declared route"
        raise Forbidden("proof.route", found=str(Route(exchange, key)), expected=expected)


def _recorded(claims: Mapping[str, Any]) -> str:
    try:
        return b64url(bytes.fromhex(claims[TOKEN_SHA256])).decode("ascii")
    except (KeyError, TypeError, ValueError):
        raise _not_the_original(f"no {TOKEN_SHA256}") from None


def _not_the_original(found: str) -> BadMessage:
    return BadMessage("proof.original", found=found, expected="the first proof of this message")
