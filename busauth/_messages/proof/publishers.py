"""Whom a consumer trusts, and whether a proof is really theirs.

The order is the one that a hostile proof meets: shape, then who claims to have signed it, then type
and algorithm, then the signature, and only then what it says. Nothing in its header leads to a key:
`kid` chooses among the keys of the publisher that `iss` names, and no other member is allowed.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from busauth._arguments import checked
from busauth._messages.proof.binding import (
    CALLER,
    MAX_BYTES,
    MAX_RELEASED_BYTES,
    ORIGINAL,
    ROOT_IAT,
    TOKEN_SHA256,
    TYPE,
)
from busauth._messages.proof.routes import Route
from busauth._messages.proof.signer import ALGORITHMS
from busauth._tokens.claims import instant
from busauth._tokens.compact import CompactToken, split
from busauth._tokens.evidence import Evidence
from busauth._tokens.keys.key import KeySource, allow_list
from busauth._tokens.keys.waiting import KeyUnknown
from busauth._tokens.signatories import Codes, Signatory, as_compact, party_of
from busauth.errors import BadMessage, ConfigurationError, Forbidden, NotGenuine, Refused

SIGNED_WITH = ("ES256", "EdDSA")

_TEXTS = ("body", "exchange", "routing_key", "message_id")
_TABLES = ("properties", "headers")
_CLAIMS = frozenset(
    {"iss", "iat", *_TEXTS, "ath", "tth", *_TABLES, *CALLER, ORIGINAL, TOKEN_SHA256, ROOT_IAT}
)
"""All that a proof may say: whoever adds a rule of their own must not see it ignored."""

_MEDIA_TYPE = f"application/{TYPE}"
_CODES = Codes(
    malformed="proof.malformed",
    type="proof.type",
    algorithm="proof.algorithm",
    key_unknown="proof.key_unknown",
    signature="proof.signature",
)


@dataclass(frozen=True, slots=True, init=False)
class TrustedPublisher:
    """A publisher whose proofs count.

    Args:
        name: its exact `iss`.
        keys: its keys, and nobody else's: whoever shares one can speak in its name.
        algorithms: what it signs with: ES256 and EdDSA, or HS256 alone.
        routes: where it may publish; None for anywhere.
        relays: believe what it says of earlier publications: `root_iat`, and originals.

    Raises:
        ConfigurationError: no name, or another algorithm.
    """

    name: str
    keys: KeySource
    algorithms: tuple[str, ...]
    routes: tuple[Route, ...] | None
    relays: bool
    _signatory: Signatory = field(init=False, repr=False, compare=False)

    @checked
    def __init__(
        self,
        name: str,
        keys: KeySource,
        *,
        algorithms: Iterable[str] = SIGNED_WITH,
        routes: Iterable[Route] | None = None,
        relays: bool = False,
    ) -> None:
        known = allow_list(algorithms)
        if not name or not set(known) <= set(ALGORITHMS):
            expected = f"a name, and some of {list(ALGORITHMS)}"
            raise ConfigurationError(f"name={name!r}, algorithms={known}: expected {expected}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "algorithms", known)
        object.__setattr__(self, "routes", None if routes is None else tuple(routes))
        object.__setattr__(self, "relays", relays)
        object.__setattr__(self, "_signatory", self._as_signatory())

    def _as_signatory(self) -> Signatory:
        return Signatory(
            name=self.name,
            keys=self.keys,
            algorithms=self.algorithms,
            types=frozenset({_MEDIA_TYPE}),
            typ=TYPE,
            codes=_CODES,
            key="a publisher's key",
            signature=f"one of {self.name}",
            strict=True,
        )

    def signer(self, proof: CompactToken) -> Evidence:
        """Return the key of this publisher's that signed a proof.

        Raises:
            NotGenuine: with the first rule that its header or its signature breaks.
            KeyUnknown: no key at hand fits.
        """
        return self._signatory.signer(proof)


class Signed(NamedTuple):
    """A proof whose signature is its publisher's; what it says was not compared with a message."""

    publisher: TrustedPublisher
    claims: Mapping[str, Any]
    published_at: float
    root_published_at: float | None
    by: Evidence
    original: "Signed | None" = None

    def holds(self) -> bool:
        """Return whether what proved it still counts, and the original in it, too.

        Where it does not, the proof is to be proven again.
        """
        return self.by.holds() and (self.original is None or self.original.holds())


class Publishers:
    """The publishers that a consumer trusts, by their exact names.

    Raises:
        ConfigurationError: two have one name.
    """

    def __init__(self, publishers: Iterable[TrustedPublisher]) -> None:
        given = tuple(publishers)
        self._by_name = {publisher.name: publisher for publisher in given}
        if len(self._by_name) != len(given):
            raise ConfigurationError("two publishers have one name: expected one each")

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[TrustedPublisher]:
        return iter(self._by_name.values())

    @property
    def names(self) -> frozenset[str]:
        """Return what they are called."""
        return frozenset(self._by_name)

    def relays(self, name: str) -> bool:
        """Return whether somebody is trusted to relay; nobody is whom this does not know."""
        publisher = self._by_name.get(name)
        return publisher is not None and publisher.relays

    def prove(self, proof: object) -> Signed:
        """Prove that a proof is its publisher's, and the original in it, too.

        Raises:
            NotGenuine: with the first rule that it breaks.
            KeyUnknown: no key at hand fits.
            BadMessage: ``proof.malformed`` or ``proof.original``: signed, and yet no proof.
            Forbidden: ``proof.relay``.
        """
        signed = self._prove(proof)
        if ORIGINAL not in signed.claims and TOKEN_SHA256 not in signed.claims:
            return signed
        if not signed.publisher.relays:
            found = f"an original in a proof of {signed.publisher.name}"
            raise Forbidden("proof.relay", found=found, expected="a publisher trusted to relay")
        return signed._replace(original=self._original(signed.claims))

    def _prove(self, proof: object) -> Signed:
        compact = as_compact(proof, what="a proof", code=_CODES.malformed, read=_read)
        publisher = party_of(compact, self._by_name, "proof.publisher")
        # Its signature before what it says: of a forged proof nothing else is told.
        return _signed(publisher, compact.payload, publisher.signer(compact))

    def _original(self, claims: Mapping[str, Any]) -> Signed:
        try:
            original = self._prove(claims.get(ORIGINAL))
        except KeyUnknown as unknown:
            raise unknown.but(refusal=_in_original(unknown.refusal)) from None
        except Refused as refused:
            raise _in_original(refused) from None
        if ORIGINAL in original.claims:
            found = "an original inside an original"
            raise BadMessage("proof.original", found=found, expected="the first proof")
        return original


def _in_original(refused: Refused) -> Refused:
    """Keep the verdict's kind: an original that nobody proved is not genuine either."""
    return type(refused)("proof.original", found=refused.detail, expected="a proof that holds")


def _read(proof: str) -> CompactToken:
    """Only what embeds another proof may be longer than one."""
    if len(proof) > MAX_BYTES:
        with suppress(NotGenuine):  # then it is too long, which is said below
            compact = split(proof, max_bytes=MAX_RELEASED_BYTES)
            if ORIGINAL in compact.payload:
                return compact
    return split(proof, max_bytes=MAX_BYTES)


def _signed(publisher: TrustedPublisher, claims: Mapping[str, Any], by: Evidence) -> Signed:
    if not claims.keys() <= _CLAIMS:
        found = f"a proof with {', '.join(sorted(claims.keys() - _CLAIMS))}"
        raise _malformed(found, "the claims of a proof only")
    for name in _TEXTS:
        if not isinstance(claims.get(name), str):
            raise _malformed(f"{name} of type {type(claims.get(name)).__name__}", "text")
    for name in _TABLES:
        if name in claims and not isinstance(claims[name], dict):
            raise _malformed(f"{name} of type {type(claims[name]).__name__}", "an object")
    try:
        published_at, root = instant(claims, "iat"), instant(claims, ROOT_IAT)
    except NotGenuine as refused:
        raise _malformed(refused.found, refused.expected) from None
    bound = claims.get("ath") or claims.get("tth")
    if published_at is None or not claims["message_id"] or not bound:
        raise _malformed("a proof without iat, message_id, or ath or tth", "all of them")
    # Of others' publications counts only what somebody says who is trusted to relay.
    return Signed(publisher, claims, published_at, root if publisher.relays else None, by)


def _malformed(found: object, expected: object) -> BadMessage:
    return BadMessage("proof.malformed", found=found, expected=expected)
