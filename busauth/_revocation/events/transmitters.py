"""Who may send security events, and about whose tokens.

Nothing in an event's header leads to a key: `kid` chooses among the keys of the transmitter that
`iss` names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from busauth._arguments import checked
from busauth._tokens.compact import CompactToken, split
from busauth._tokens.keys.key import ASYMMETRIC, KeySource, allow_list
from busauth._tokens.signatories import Codes, Signatory, as_compact, party_of
from busauth.errors import ConfigurationError

TYPE = "secevent+jwt"
_CODES = Codes(
    malformed="event.malformed",
    type="event.type",
    algorithm="event.algorithm",
    key_unknown="event.key_unknown",
    signature="event.signature",
)
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
    _signatory: Signatory = field(init=False, repr=False, compare=False)

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
        object.__setattr__(self, "_signatory", self._as_signatory())

    def _as_signatory(self) -> Signatory:
        return Signatory(
            name=self.name,
            keys=self.keys,
            algorithms=self.algorithms,
            types=frozenset({f"application/{TYPE}"}),
            typ=TYPE,
            codes=_CODES,
            key="a transmitter's key",
            signature=f"one of {self.name}",
        )

    def check_signature(self, event: CompactToken) -> None:
        """Return if one of this transmitter's keys signed an event.

        Raises:
            NotGenuine: with the first rule that its header or its signature breaks.
            KeyUnknown: no key at hand fits.
        """
        self._signatory.signer(event)


def proven(raw: object, known: Mapping[str, Transmitter]) -> tuple[Transmitter, Mapping[str, Any]]:
    """Return who signed an event, and its claims, which were not judged yet.

    Raises:
        NotGenuine: ``event.malformed``, ``event.transmitter``, ``event.type``,
            ``event.algorithm`` or ``event.signature``.
        KeyUnknown: no key at hand fits.
    """
    compact = as_compact(raw, what="an event", code=_CODES.malformed, read=_read)
    transmitter = party_of(compact, known, "event.transmitter")
    transmitter.check_signature(compact)
    return transmitter, compact.payload


def _read(raw: str) -> CompactToken:
    return split(raw, max_bytes=MAX_BYTES)
