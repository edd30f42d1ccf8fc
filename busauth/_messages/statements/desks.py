"""Whom a consumer believes about operators, and whether a statement is really theirs.

The order is that of `signatories`: shape, whose it claims to be, type and algorithm, signature, and
only then what it says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from busauth._arguments import kind_of
from busauth._files.keys import naming, read_jwk
from busauth._knobs import Knobs
from busauth._messages import first as record
from busauth._messages.statements.statement import (
    MAX_BYTES,
    SIGNED_WITH,
    TYPE,
    StatedLetter,
    read_letter,
)
from busauth._tokens.claims import instant
from busauth._tokens.compact import CompactToken, split
from busauth._tokens.evidence import Evidence
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.keys.key import KeySource, StaticKeys, allow_list
from busauth._tokens.profiles.profile import media_type
from busauth._tokens.signatories import Codes, Signatory, as_compact, party_of
from busauth.caller import FirstToken
from busauth.clock import Clock
from busauth.errors import BadMessage, ConfigurationError, NotGenuine

_MEDIA_TYPE = f"application/{TYPE}"
_CODES = Codes(
    malformed="redrive.statement",
    type="redrive.statement",
    algorithm="redrive.desk",
    key_unknown="redrive.desk",
    signature="redrive.desk",
)


def _source(keys: Any) -> Any:
    if keys is not None and not callable(getattr(keys, "candidates", None)):
        raise ConfigurationError(f"got {kind_of(keys)}, expected StaticKeys, JWKS or the like")
    return keys


def _known(algorithms: tuple[str, ...]) -> tuple[str, ...]:
    known = allow_list(algorithms)
    if not set(known) <= set(SIGNED_WITH):
        raise ConfigurationError(f"expected some of {list(SIGNED_WITH)}")
    return known


class TrustedDesk(Knobs):
    """A desk whose statements count.

    Attributes:
        name: its exact `iss`.
        keys: its keys, and nobody else's: whoever has one lets any operator act on any letter; or
        jwks_url: where they are; or
        key_file: the path of its public JWK or JWK set.
        algorithms: what it signs with: ES256 and EdDSA.
    """

    name: str = Field(min_length=1)
    keys: Annotated[Any, AfterValidator(_source)] = Field(default=None, repr=False)
    jwks_url: str | None = None
    key_file: Path | None = None
    algorithms: Annotated[tuple[str, ...], AfterValidator(_known)] = SIGNED_WITH

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        places = (self.keys, self.jwks_url, self.key_file)
        if sum(place is not None for place in places) != 1:
            raise ConfigurationError("expected its keys in one place: keys, jwks_url or key_file")
        return self

    def source(self, fetcher: Fetcher | None, clock: Clock) -> KeySource:
        """Return its keys.

        Args:
            fetcher: fetches those at a URL; None for one that asks over https alone.
            clock: says how old they are.

        Raises:
            ConfigurationError: the URL may not be asked, or the file cannot be used.
        """
        if self.jwks_url is not None:
            algorithms = self.algorithms
            return JWKS(self.jwks_url, algorithms=algorithms, fetcher=fetcher, clock=clock)
        if self.key_file is not None:
            with naming(self.key_file):
                return StaticKeys(read_jwk(self.key_file), algorithms=self.algorithms)
        keys: KeySource = self.keys
        return keys


class Stated(NamedTuple):
    """A statement whose signature is its desk's; what it says was not compared with a letter."""

    desk: str
    letter: StatedLetter
    operator: FirstToken
    issued_at: float
    by: Evidence

    def holds(self) -> bool:
        """Return whether what proved it still counts."""
        return self.by.holds()


@dataclass(frozen=True, slots=True)
class Desks:
    """The desks that a consumer trusts, by their exact names."""

    by_name: Mapping[str, Signatory] = field(repr=False)

    @classmethod
    def of(cls, desks: Iterable[TrustedDesk], fetcher: Fetcher | None, clock: Clock) -> Self:
        """Return them.

        Raises:
            ConfigurationError: two have one name, or the keys of one cannot be used.
        """
        given = tuple(desks)
        found = {desk.name: _signatory(desk, desk.source(fetcher, clock)) for desk in given}
        if len(found) != len(given):
            raise ConfigurationError("two desks have one name: expected one each")
        return cls(found)

    def prove(self, raw: object) -> Stated:
        """Prove that a statement is its desk's.

        Raises:
            NotGenuine: ``redrive.statement`` or ``redrive.desk``.
            KeyUnknown: no key at hand fits.
            BadMessage: ``redrive.statement``: signed, and yet none.
        """
        compact = as_compact(raw, what="a statement", code=_CODES.malformed, read=_read)
        desk = party_of(compact, self.by_name, "redrive.desk")
        return _stated(desk.name, compact.payload, desk.signer(compact))


def _signatory(desk: TrustedDesk, keys: KeySource) -> Signatory:
    return Signatory(
        name=desk.name,
        keys=keys,
        algorithms=desk.algorithms,
        types=frozenset({_MEDIA_TYPE}),
        typ=TYPE,
        codes=_CODES,
        key="a desk's key",
        signature=f"one of {desk.name}",
        strict=True,
    )


def _read(statement: str) -> CompactToken:
    return split(statement, max_bytes=MAX_BYTES)


def _stated(desk: str, claims: Mapping[str, Any], by: Evidence) -> Stated:
    """What is not among the claims is no part of a statement, and neither is anything more."""
    expected = "iss, iat, exp, jti, queue, letter, seal, body and operator"
    if set(claims) != set(expected.replace(" and", ",").split(", ")):
        raise _malformed(f"a statement with {', '.join(sorted(claims))}", expected)
    letter, operator = read_letter(claims), record.read_said(claims["operator"])
    if letter is None or operator is None or not isinstance(claims["jti"], str):
        raise _malformed("a claim of another type", "text, and the record of a token as operator")
    try:
        issued_at, expires_at = instant(claims, "iat"), instant(claims, "exp")
    except NotGenuine as refused:
        raise _malformed(refused.found, refused.expected) from None
    if issued_at is None or expires_at is None or expires_at <= issued_at:
        raise _malformed("exp that is not after iat", "an instant after it")
    return Stated(desk, letter, operator, issued_at, by)


def is_statement(value: object) -> bool:
    """Return whether a JWS is meant as a statement; whose it is, nobody has asked."""
    try:
        header = split(value, max_bytes=MAX_BYTES).header if isinstance(value, str) else {}
    except NotGenuine:
        return False
    return media_type(header.get("typ")) == _MEDIA_TYPE


def _malformed(found: object, expected: object) -> BadMessage:
    return BadMessage("redrive.statement", found=found, expected=expected)
