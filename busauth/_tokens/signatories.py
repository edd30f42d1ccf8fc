"""Who signed this? A JWS of a party that is known beforehand, judged in one order for all of them.

Tokens, proofs of messages, security events and signed answers are told apart by `typ`, and by what
their refusals are called. The order is the one that a hostile JWS meets, once its shape was read
and its party found:

1. `crit` and `b64`: no extension is understood.
2. `typ`: one that is there and is no text is not a missing one.
3. Where a header may say little (`strict`), nothing else is in it.
4. `alg` is one of the party's.
5. `kid` chooses among the party's keys. It means nothing beyond them, and no other member leads to
   a key: `jku`, `jwk`, `x5u` and `x5c` are never followed.
6. The signature is of one of these keys, or of one that was removed, where those count (`former`).

What the payload says means nothing before, but for whose party it names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from busauth._tokens.compact import CompactToken
from busauth._tokens.evidence import SignedBy, former_keys
from busauth._tokens.keys.key import KeyMissing, KeySource, canonical_algorithm
from busauth._tokens.keys.waiting import KeyUnknown
from busauth._tokens.profiles.profile import media_type
from busauth.errors import NotGenuine

_STRICT = frozenset({"typ", "alg", "kid"})


class Codes(NamedTuple):
    """What refusals are called, written out so that each of them can be searched for.

    Attributes:
        malformed: the header holds what is not understood.
        type, algorithm, key_unknown, signature: as `Signatory` tells.
    """

    malformed: str
    type: str
    algorithm: str
    key_unknown: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """A party whose signature counts, and what is asked of what it signs.

    Attributes:
        name: who it is; for whoever waits for its keys.
        keys: its keys, and nobody else's.
        algorithms: what it signs with.
        types: media types that `typ` may name, in full and in lower case; None for a missing one.
        typ: what is expected of `typ`, for people.
        codes: what its refusals are called.
        key: what is expected of `kid`, for people.
        signature: what is expected of a signature, for people.
        strict: whether a header holds `typ`, `alg` and `kid` alone.
        former: whether keys count that were removed, where its source remembers any.
    """

    name: str
    keys: KeySource = field(repr=False)
    algorithms: tuple[str, ...]
    types: frozenset[str | None]
    typ: str
    codes: Codes
    key: str
    signature: str
    strict: bool = False
    former: bool = False

    def signer(self, token: CompactToken) -> SignedBy:
        """Return the key that signed, among those at hand.

        Args:
            token: a JWS of this party's, as its payload claims.

        Raises:
            NotGenuine: with the first rule that it breaks, or what the keys' source raises.
            KeyUnknown: no key at hand fits.
        """
        header = token.header
        self._check_type(header)  # before any key: another kind of token is refused as that
        named = header.get("alg")
        algorithm = canonical_algorithm(named)
        if algorithm is None or algorithm not in self.algorithms:
            found, expected = "none" if named is None else named, " or ".join(self.algorithms)
            raise NotGenuine(self.codes.algorithm, found=found, expected=expected)
        key_id = header.get("kid")
        if "kid" in header and not isinstance(key_id, str):
            found = "kid that is no string"
            raise NotGenuine(self.codes.key_unknown, found=found, expected="a string")
        return self._signed_by(token, key_id, algorithm)

    def _check_type(self, header: Mapping[str, Any]) -> None:
        if not self.strict and ("crit" in header or "b64" in header):
            raise NotGenuine(self.codes.malformed, found="critical extensions", expected="none")
        typ = header.get("typ")
        odd = "typ" in header and not isinstance(typ, str)
        if odd or media_type(typ) not in self.types:
            found = "none" if typ is None else typ
            raise NotGenuine(self.codes.type, found=found, expected=self.typ)
        if self.strict and not header.keys() <= _STRICT:
            found = f"a header with {', '.join(sorted(header.keys() - _STRICT))}"
            raise NotGenuine(self.codes.malformed, found=found, expected="typ, alg and kid")

    def _signed_by(self, token: CompactToken, key_id: str | None, algorithm: str) -> SignedBy:
        missing = None
        epoch = self.keys.epoch  # read first: what it counts can only be older than the key
        try:
            for key in self.keys.candidates(key_id, algorithm):
                if key.verifies(token.signing_input, token.signature):
                    return SignedBy(self.keys, key, epoch)
        except KeyMissing as error:  # not yet the verdict: a removed key may have signed
            missing = error
        try:
            for key, retired in former_keys(self.keys, key_id, algorithm) if self.former else ():
                if key.verifies(token.signing_input, token.signature):
                    return SignedBy(self.keys, key, epoch, retired)
        except KeyMissing as error:
            missing = missing or error
        if missing is not None:
            raise self._key_unknown(token.header, missing)
        found = f"no valid {algorithm} signature"
        raise NotGenuine(self.codes.signature, found=found, expected=self.signature)

    def _key_unknown(self, header: Mapping[str, Any], missing: KeyMissing) -> KeyUnknown:
        found = f"kid={header.get('kid')!r} alg={header.get('alg')!r}"
        expected = f"{self.key}: {str(missing) or 'none is there'}"
        refusal = NotGenuine(self.codes.key_unknown, found=found, expected=expected)
        return KeyUnknown(
            refusal, party=self.name, fetch=self.keys.refresh, key_id=header.get("kid")
        )


P = TypeVar("P")


def as_compact(
    raw: object, *, what: str, code: str, read: Callable[[str], CompactToken]
) -> CompactToken:
    """Return a compact JWS; what is none is refused by the code of whoever reads it.

    Args:
        raw: whatever stood where it was expected.
        what: what it should be, for people.
        code: of a refusal.
        read: reads text, within bounds.

    Raises:
        NotGenuine: with that code.
    """
    if not isinstance(raw, str):
        found = f"{what} of type {type(raw).__name__}"
        raise NotGenuine(code, found=found, expected="a compact JWS")
    try:
        return read(raw)
    except NotGenuine as refused:
        raise NotGenuine(code, found=refused.found, expected=refused.expected) from None


def party_of(token: CompactToken, known: Mapping[str, P], code: str) -> P:
    """Return the party that a JWS claims to be of, by the exact `iss`; nothing of it is proven yet.

    Args:
        token: with its payload.
        known: parties by their names.
        code: of a refusal.

    Raises:
        NotGenuine: with that code.
    """
    name = token.payload.get("iss")
    party = known.get(name) if isinstance(name, str) else None
    if party is None:
        found = "no iss" if name is None else name
        raise NotGenuine(code, found=found, expected=" or ".join(sorted(known)) or "nobody")
    return party
