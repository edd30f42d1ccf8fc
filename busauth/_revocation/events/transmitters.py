"""Who may send security events, and about whose tokens.

Nothing in an event's header leads to a key: `kid` chooses among the keys of the transmitter that
`iss` names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from busauth._arguments import checked
from busauth._tokens.compact import CompactToken, split
from busauth._tokens.keys.key import (
    ASYMMETRIC,
    KeyMissing,
    KeySource,
    allow_list,
    canonical_algorithm,
)
from busauth._tokens.profiles import media_type
from busauth._tokens.signatures import signer_of
from busauth.errors import ConfigurationError, NotGenuine, Refused

TYPE = "secevent+jwt"
MAX_BYTES = 8 * 1024
"""Longer events are refused unread."""


@dataclass(frozen=True, slots=True, init=False)
class Transmitter:
    """Somebody whose events count.

    Args:
        name: its exact `iss`.
        keys: its keys, and nobody else's.
        algorithms: what it signs with.
        issuers: whose tokens it may speak of; default: its own, where it is the issuer itself.
        heartbeats: whether it keeps the feed's time. Whoever does can make a feed look alive.

    Raises:
        ConfigurationError: no name, an unknown algorithm, or nothing that it could say.
    """

    name: str
    keys: KeySource = field(repr=False)
    algorithms: tuple[str, ...]
    issuers: frozenset[str]
    heartbeats: bool

    @checked
    def __init__(
        self,
        name: str,
        keys: KeySource,
        *,
        algorithms: Iterable[str] = ASYMMETRIC,
        issuers: str | Iterable[str] | None = None,
        heartbeats: bool = False,
    ) -> None:
        said = name if issuers is None else issuers
        spoken = (said,) if isinstance(said, str) else tuple(said)
        if not name or "" in spoken or not (spoken or heartbeats):
            found = f"name={name!r}, issuers={spoken!r}"
            raise ConfigurationError(f"{found}: expected names, none of them empty")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "algorithms", allow_list(algorithms))
        object.__setattr__(self, "issuers", frozenset(spoken))
        object.__setattr__(self, "heartbeats", heartbeats)


class KeyUnknown(KeyMissing):
    """No key at hand fits; once the transmitter was asked, it is a refusal.

    Attributes:
        transmitter: whose key is missing.
        key_id: the key's name in the event.
        refusal: what it comes to where there is no such key.
    """

    def __init__(self, transmitter: Transmitter, key_id: object, refusal: Refused) -> None:
        super().__init__(refusal.detail)
        self.transmitter = transmitter
        self.key_id = key_id
        self.refusal = refusal


def proven(raw: object, known: Mapping[str, Transmitter]) -> tuple[Transmitter, Mapping[str, Any]]:
    """Return who signed an event, and its claims, which were not judged yet.

    Raises:
        NotGenuine: ``event.malformed``, ``event.transmitter``, ``event.type``,
            ``event.algorithm`` or ``event.signature``.
        KeyUnknown: no key at hand fits.
    """
    compact = _read(raw)
    transmitter = _transmitter(compact.payload.get("iss"), known)
    algorithm = _check_header(compact.header, transmitter)
    _check_signature(compact, transmitter, algorithm)
    return transmitter, compact.payload


def _read(raw: object) -> CompactToken:
    if not isinstance(raw, str):
        found = f"an event of type {type(raw).__name__}"
        raise NotGenuine("event.malformed", found=found, expected="a compact JWS")
    try:
        return split(raw, max_bytes=MAX_BYTES)
    except NotGenuine as refused:
        why = {"found": refused.found, "expected": refused.expected}
        raise NotGenuine("event.malformed", **why) from None


def _transmitter(name: object, known: Mapping[str, Transmitter]) -> Transmitter:
    transmitter = known.get(name) if isinstance(name, str) else None
    if transmitter is None:
        found = "no iss" if name is None else name
        raise NotGenuine("event.transmitter", found=found, expected=" or ".join(sorted(known)))
    return transmitter


def _check_header(header: Mapping[str, Any], transmitter: Transmitter) -> str:
    if "crit" in header or "b64" in header:
        raise NotGenuine("event.malformed", found="critical extensions", expected="none")
    if media_type(header.get("typ")) != f"application/{TYPE}":
        raise NotGenuine("event.type", found=header.get("typ") or "none", expected=TYPE)
    algorithm = canonical_algorithm(header.get("alg"))
    if algorithm is None or algorithm not in transmitter.algorithms:
        expected = " or ".join(transmitter.algorithms)
        raise NotGenuine("event.algorithm", found=header.get("alg") or "none", expected=expected)
    return algorithm


def _check_signature(compact: CompactToken, transmitter: Transmitter, algorithm: str) -> None:
    key_id = compact.header.get("kid")
    if "kid" in compact.header and not isinstance(key_id, str):
        raise _key_unknown(key_id, algorithm)
    try:
        by = signer_of(compact, transmitter.keys, algorithm)
    except KeyMissing as missing:
        raise KeyUnknown(transmitter, key_id, _key_unknown(key_id, algorithm, missing)) from None
    if by is None:
        found = f"no valid {algorithm} signature"
        raise NotGenuine("event.signature", found=found, expected=f"one of {transmitter.name}")


def _key_unknown(key_id: object, algorithm: str, missing: KeyMissing | None = None) -> NotGenuine:
    found = f"kid={key_id!r} alg={algorithm}"
    there = f": {missing}" if missing is not None and str(missing) else ""
    return NotGenuine("event.key_unknown", found=found, expected=f"a transmitter's key{there}")
