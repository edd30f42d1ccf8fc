"""A published key set, as its issuer shows it (RFC 7517): nothing is asked here."""

from base64 import b64decode, urlsafe_b64decode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cryptography import x509

from busauth._tokens.keys.key import ASYMMETRIC, load_keys, thumbprint
from busauth.cli.doctor.catalogue import finding
from busauth.cli.doctor.finding import Finding, told
from busauth.errors import ConfigurationError

_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth")
_MANY = 10
_OLD = 2 * 366 * 24 * 3600.0
_BITS = 2048
_NO_INSTANT = 1e12
"""Seconds since the epoch that no clock shows."""


def look(
    where: str, jwks: Sequence[object], algorithms: Sequence[str], now: float
) -> Iterator[Finding]:
    """Yield what is wrong with a key set.

    Args:
        where: whose it is.
        jwks: its entries.
        algorithms: what is allowed.
        now: seconds since the epoch.
    """
    entries = [each for each in jwks if isinstance(each, Mapping)]
    signing = [each for each in entries if _signs(each)]
    yield from _of_private(where, entries)
    yield from _of_fitness(where, signing, algorithms)
    yield from _of_names(where, signing)
    if len(signing) > _MANY:
        yield finding("keys-many", where, f"{len(signing)} keys for signatures")
    for each in signing:
        yield from _of_key(where, each, now)


def _signs(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops")
    return jwk.get("use", "sig") == "sig" and (
        not isinstance(operations, list) or "verify" in operations
    )


def _shown(jwk: Mapping[str, Any]) -> str:
    return f"the key with kid {told(jwk.get('kid'))} ({told(jwk.get('kty'))})"


def _of_private(where: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for each in entries:
        if each.get("kty") == "oct" or any(member in each for member in _PRIVATE):
            yield finding("key-private-published", where, f"{_shown(each)} is shown whole")


def _of_fitness(
    where: str, signing: Sequence[Mapping[str, Any]], algorithms: Sequence[str]
) -> Iterator[Finding]:
    """Compare the keys with what is allowed, as the service does."""
    served = {key for each in signing for key in _served(each, algorithms)}
    if not served:
        named = sorted({told(each.get("alg") or each.get("kty")) for each in signing})
        found = f"keys for {', '.join(named) or 'nothing'}; allowed: {', '.join(algorithms)}"
        yield finding("keys-unusable", where, found)
    elif tuple(algorithms) != ASYMMETRIC and (vain := set(algorithms) - served):
        yield finding("algorithm-unserved", where, f"no key for {', '.join(sorted(vain))}")


def _served(jwk: Mapping[str, Any], algorithms: Sequence[str]) -> set[str]:
    try:
        return {key.algorithm for key in load_keys(jwk, algorithms)}
    except ConfigurationError:
        return set()


def _of_names(where: str, signing: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    if len(signing) > 1 and (nameless := sum(1 for each in signing if not each.get("kid"))):
        yield finding("key-id-missing", where, f"{nameless} of {len(signing)} keys")
    by_name = defaultdict[str, set[str]](set)
    for each in signing:
        if isinstance(each.get("kid"), str) and each.get("kty") in ("RSA", "EC", "OKP"):
            by_name[each["kid"]].add(thumbprint(each))
    for name in (name for name, keys in by_name.items() if len(keys) > 1):
        yield finding("key-id-double", where, f"{len(by_name[name])} keys with kid {told(name)}")


def _of_key(where: str, jwk: Mapping[str, Any], now: float) -> Iterator[Finding]:
    if "use" not in jwk and "key_ops" not in jwk:
        yield finding("key-use-open", where, _shown(jwk))
    bits = _bits(jwk)
    if bits is not None and bits < _BITS:
        yield finding("key-weak", where, f"{_shown(jwk)} has {bits} bits")
    begun = _begun(jwk)
    if begun is not None and now - begun > _OLD:
        found = f"{_shown(jwk)} is {(now - begun) / 86400:.0f} days old, by its own word"
        yield finding("key-old", where, found)


def _bits(jwk: Mapping[str, Any]) -> int | None:
    """Return the length of an RSA modulus."""
    modulus = jwk.get("n")
    if jwk.get("kty") != "RSA" or not isinstance(modulus, str):
        return None
    try:
        return int.from_bytes(urlsafe_b64decode(modulus + "==")).bit_length()
    except ValueError:  # damaged: it fits nothing, which is told
        return None


def _begun(jwk: Mapping[str, Any]) -> float | None:
    """Return since when a key is there: as it says, or as its certificate does (`x5c`)."""
    for member in ("iat", "nbf"):
        if type(jwk.get(member)) in (int, float) and abs(jwk[member]) < _NO_INSTANT:
            return float(jwk[member])
    chain = jwk.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return None
    try:
        return x509.load_der_x509_certificate(b64decode(chain[0])).not_valid_before_utc.timestamp()
    except ValueError:
        return None
