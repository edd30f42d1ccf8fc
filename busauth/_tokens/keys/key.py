"""Keys, each pinned to one algorithm, and where they come from (RFC 7517, RFC 8725 section 3.1).

A JWK that names its algorithm in `alg` is one key, used with that one alone. One that does not is
a key for each algorithm that fits its type, curve and length: one for most, several for RSA and for
shared secrets. Which of them counts says the allow-list of whoever verifies, and `alg` of the JWK
where there is one; the token never widens either.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.utils import base64url_encode

from busauth._arguments import checked
from busauth.errors import ConfigurationError

ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    **dict.fromkeys(("HS256", "HS384", "HS512"), ("oct", None)),
}
"""Every algorithm that busauth knows, with its key type and curve. `none` is not among them."""

ASYMMETRIC = tuple(name for name, (kty, _) in ALGORITHMS.items() if kty != "oct")
"""What an issuer may sign with when nobody said otherwise, RS256 first."""

_IMPLEMENTATIONS: Mapping[str, Algorithm] = get_default_algorithms()
_PUBLIC_MEMBERS = {"RSA": ("e", "n"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
_HASHES = {"HS256": hashes.SHA256(), "HS384": hashes.SHA384(), "HS512": hashes.SHA512()}
_MIN_RSA_BITS = 2048  # RFC 7518, section 3.3
_MIN_SECRET_BYTES = 32  # as long as the hash of HS256 (RFC 7518, section 3.2)
_TOLD = 5
"""Keys that are named where none fits."""


class KeyMissing(Exception):  # noqa: N818 -- not an error: the source may be asked again
    """No key of a `KeySource` fits; a fresh copy might hold one. Its text tells which there are."""


@dataclass(frozen=True, slots=True)
class Key:
    """A prepared public key or secret, pinned to one algorithm.

    Attributes:
        key_id: `kid`, or None for a key without one.
        algorithm: the only algorithm that this key verifies.
        thumbprint: an identifier of the key's material (RFC 7638, SHA-256, in hex), however a JWK
            spells it.
        names: whatever somebody may call it by: `kid`, the thumbprint in hex or base64url, and the
            hash of the JWK as it is spelled.
        issuer: whose key its JWK says that it is, where a set has those of several.
    """

    key_id: str | None
    algorithm: str
    thumbprint: str
    names: frozenset[str] = field(repr=False, compare=False)
    _prepared: Any = field(repr=False, compare=False)
    _mac: HMAC | None = field(init=False, repr=False, compare=False)
    issuer: str | None = None

    def __post_init__(self) -> None:
        """Take a secret into a MAC once, which is most of what a short message costs."""
        shared = isinstance(self._prepared, bytes)
        object.__setattr__(self, "_mac", keyed(self._prepared, self.algorithm) if shared else None)

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        """Return whether the signature is this key's, by this key's algorithm."""
        if self._mac is not None:
            return hmac.compare_digest(mac_of(self._mac, signing_input), signature)
        return _IMPLEMENTATIONS[self.algorithm].verify(signing_input, self._prepared, signature)


def keyed(secret: bytes, algorithm: str) -> HMAC:
    """Return a MAC that holds a secret, and no message yet (RFC 7518, section 3.2)."""
    return HMAC(secret, _HASHES[algorithm])


def mac_of(mac: HMAC, message: bytes) -> bytes:
    """Return the MAC of one message; what holds the secret stays as it is."""
    copy = mac.copy()
    copy.update(message)
    return copy.finalize()


def canonical_algorithm(name: Any) -> str | None:
    """Return busauth's name of an algorithm, None for one that it does not know.

    RFC 9864 gave EdDSA on Ed25519 keys a name of its own.
    """
    if name == "Ed25519":
        return "EdDSA"
    return name if isinstance(name, str) and name in ALGORITHMS else None


def allow_list(algorithms: Iterable[str]) -> tuple[str, ...]:
    """Check an issuer's algorithms and return them in order.

    Raises:
        ConfigurationError: one is unknown, or secrets and public keys are mixed.
    """
    names = (algorithms,) if isinstance(algorithms, str) else tuple(algorithms)
    known = tuple(dict.fromkeys(filter(None, map(canonical_algorithm, names))))
    if not names or any(canonical_algorithm(name) is None for name in names):
        raise ConfigurationError(f"algorithms={names!r}: expected some of {sorted(ALGORITHMS)}")
    if len({ALGORITHMS[name][0] == "oct" for name in known}) > 1:
        raise ConfigurationError(f"algorithms={names!r} mixes secrets and public keys: choose one")
    return known


class KeySource(Protocol):
    """A set of keys of one issuer, which may change over time.

    Asked for each message: whoever writes one looks its keys up by `kid` and algorithm, as
    `StaticKeys` does, and searches no list. docs/keys.md has a whole one.
    """

    @property
    def epoch(self) -> int:
        """Return a number that changes whenever the set of keys does."""
        ...

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys that may have signed, without waiting.

        Raises:
            KeyMissing: none is known; `refresh` may bring one.
        """
        ...

    async def refresh(self) -> bool:
        """Bring the set up to date; return whether it was asked for after this call began.

        Where it was, a key that is still missing does not exist.

        Raises:
            Deferred: the set cannot be had now.
        """
        ...


def fitting(keys: Iterable[Key], key_id: str | None, algorithm: str) -> list[Key]:
    """Select by `kid` and algorithm; a token without a `kid` may be any fitting key's."""
    return [
        key
        for key in keys
        if key.algorithm == algorithm and (key_id is None or key.key_id == key_id)
    ]


KeysByName = Mapping[tuple[str | None, str], tuple[Key, ...]]
"""What `fitting` selects for each `kid` and algorithm, where it selects anything."""


def by_name(keys: Sequence[Key]) -> KeysByName:
    """Return what a set of keys has for each question, so that nobody searches it for a message."""
    asked = {(name, key.algorithm) for key in keys for name in (None, key.key_id)}
    return {question: tuple(fitting(keys, *question)) for question in asked}


def at_hand(keys: Sequence[Key], key_id: str | None) -> str:
    """Tell what a `kid` is good for; where nobody has it, what there is instead."""
    named = [key for key in keys if key.key_id == key_id] if key_id is not None else []
    serving: dict[str | None, list[str]] = {}
    for key in named or keys:
        serving.setdefault(key.key_id, []).append(key.algorithm)
    told = [f"kid={name!r} for {' or '.join(found)}" for name, found in serving.items()]
    more = [f"{len(told) - _TOLD} more"] if len(told) > _TOLD else []
    return ", ".join([*told[:_TOLD], *more])


class StaticKeys:
    """Keys that are known beforehand: JWKs, a JWK set, or shared secrets.

    Args:
        keys: JWKs as mappings (RFC 7517), or one JWK set. Private members are ignored.
        algorithms: what the keys may serve, those without `alg` included.

    Attributes:
        epoch: 0: these keys never change.

    Raises:
        ConfigurationError: a key is unusable, too short, or there is none.
    """

    epoch = 0

    @checked
    def __init__(
        self,
        keys: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        algorithms: Iterable[str] = tuple(ALGORITHMS),
    ) -> None:
        jwks = keys.get("keys", [keys]) if isinstance(keys, Mapping) else keys
        if not isinstance(jwks, list | tuple) or not jwks:
            raise ConfigurationError("StaticKeys needs a list of JWKs, or a set: got none")
        allowed = tuple(canonical_algorithm(name) or name for name in algorithms)
        self._keys = tuple(key for jwk in jwks for key in load_keys(jwk, allowed))
        self._by_name = by_name(self._keys)

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """Return the fitting keys, or raise `KeyMissing`."""
        found = self._by_name.get((key_id, algorithm))
        if found is None:
            raise KeyMissing(at_hand(self._keys, key_id))
        return found

    async def refresh(self) -> bool:
        """Return True: what is not here does not exist."""
        return True


@checked
def shared_secret(
    secret: bytes, *, algorithm: str = "HS256", key_id: str | None = None
) -> dict[str, str]:
    """Return a JWK for a secret that issuer and consumer share (RFC 7518, section 6.4).

    Raises:
        ConfigurationError: the secret is shorter than 32 bytes.
    """
    if len(secret) < _MIN_SECRET_BYTES:
        raise ConfigurationError(f"a shared secret has {len(secret)} bytes: expected 32 or more")
    encoded = base64url_encode(secret).decode()
    return {"kty": "oct", "k": encoded, "alg": algorithm} | ({"kid": key_id} if key_id else {})


def load_key(jwk: Mapping[str, Any], allowed: Sequence[str]) -> Key:
    """Prepare one JWK, pinned to the first of these algorithms that it may serve: see `load_keys`.

    Raises:
        ConfigurationError: with what was found and expected; the key itself is never printed.
    """
    return load_keys(jwk, allowed)[0]


def load_keys(jwk: Mapping[str, Any], allowed: Sequence[str]) -> tuple[Key, ...]:
    """Prepare one JWK for each algorithm that it may serve.

    Args:
        jwk: the key; one whose `use` or `key_ops` say that it is not for signatures is refused.
        allowed: the algorithms that it may serve, preferred first.

    Returns:
        One key, pinned to `alg`; without `alg` one for each allowed algorithm that fits it.

    Raises:
        ConfigurationError: with what was found and expected; the key itself is never printed.
    """
    if not isinstance(jwk, Mapping):
        raise ConfigurationError(f"a key of type {type(jwk).__name__}: expected a JWK, an object")
    name = f"key kid={jwk.get('kid')!r} kty={jwk.get('kty')!r} alg={jwk.get('alg')!r}"
    algorithms = _served(jwk, allowed)
    if not algorithms:
        raise ConfigurationError(f"{name} fits none of the algorithms {list(allowed)}")
    _check_use(jwk, name)
    prepared = _prepare(jwk, algorithms[0], name)
    weak = {each: _weakness(prepared, each) for each in algorithms}
    if all(weak.values()):
        raise ConfigurationError(f"{name} has {weak[algorithms[0]]}")
    key_id = jwk["kid"] if isinstance(jwk.get("kid"), str) else None
    # Spelled anew: a JWK may pad its numbers, and is the same key (RFC 7638, section 3.3).
    canonical = _IMPLEMENTATIONS[algorithms[0]].to_jwk(prepared, as_dict=True)
    digest, spelled = _hashed(canonical), _hashed(jwk)
    encoded = base64url_encode(digest).decode()
    given = (key_id, digest.hex(), digest.hex().upper(), encoded, spelled.hex())
    names = frozenset(filter(None, given))
    strong = [each for each in algorithms if not weak[each]]
    issuer = None if jwk.get("issuer") is None else str(jwk["issuer"])  # what is odd is nobody's
    return tuple(Key(key_id, each, digest.hex(), names, prepared, issuer) for each in strong)


def _served(jwk: Mapping[str, Any], allowed: Sequence[str]) -> list[str]:
    """Return the algorithms of this key: the one that it names, or all that fit it."""
    kind = (jwk.get("kty"), jwk.get("crv"))
    named = [canonical_algorithm(jwk["alg"]) or ""] if "alg" in jwk else allowed
    return [name for name in named if name in allowed and ALGORITHMS.get(name) == kind]


def _check_use(jwk: Mapping[str, Any], name: str) -> None:
    operations = jwk.get("key_ops", ["verify"])
    signs = isinstance(operations, list) and ("verify" in operations or "sign" in operations)
    if jwk.get("use", "sig") != "sig" or not signs:
        raise ConfigurationError(f"{name} is not for signatures")


def public_part(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that make a key, and nothing private (RFC 7638, section 3.2)."""
    return {member: jwk.get(member) for member in ("kty", *_PUBLIC_MEMBERS[jwk["kty"]])}


def _prepare(jwk: Mapping[str, Any], algorithm: str, name: str) -> Any:
    implementation = _IMPLEMENTATIONS[algorithm]
    try:
        return implementation.prepare_key(implementation.from_jwk(public_part(jwk)))
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        raise ConfigurationError(f"{name} is damaged: it cannot be loaded") from None


def _weakness(prepared: Any, algorithm: str) -> str | None:
    """RSA of 2048 bits and more (RFC 7518, section 3.3), secrets as long as their hash."""
    kty, _ = ALGORITHMS[algorithm]
    if kty == "oct":
        needed = max(_MIN_SECRET_BYTES, int(algorithm[2:]) // 8)
        short = len(prepared) < needed
        return f"{len(prepared)} bytes: expected {needed} or more" if short else None
    if kty == "RSA" and prepared.key_size < _MIN_RSA_BITS:
        return f"{prepared.key_size} bits: expected 2048 or more"
    return None


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of a JWK as it is spelled (RFC 7638, section 3)."""
    return _hashed(jwk).hex()


def _hashed(jwk: Mapping[str, Any]) -> bytes:
    """Hash the required members in order (RFC 7638, section 3)."""
    members = json.dumps(public_part(jwk), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(members.encode()).digest()
