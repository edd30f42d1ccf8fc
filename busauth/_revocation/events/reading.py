"""Security Event Tokens, read strictly (RFC 8417, CAEP 1.0).

Rules:

1. A compact JWS of at most 8 KiB, `typ` ``secevent+jwt``, signed by a known transmitter with one of
   its algorithms.
2. `iss`, `iat`, `jti`, `aud` and `events` are there; `sub` and `exp` are not: nothing that could be
   taken for an access token is an event.
3. `aud` names this feed, or one of the audiences that it goes by.
4. `iat` is no more than `SKEW` ahead of the reader's clock, and the event took effect no more than
   `SKEW` after it was told.
5. The transmitter may speak of the issuer whose tokens it means.

The instant when it took effect is `event_timestamp`, else `toe`, else `iat`. Events of other kinds
beside a known one are ignored; an event of unknown kinds alone is refused.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from busauth._arguments import audience_names, checked
from busauth._revocation.events.subjects import Target, targets_of
from busauth._revocation.events.transmitters import Transmitter, proven
from busauth._tokens.claims import instant
from busauth.errors import BadMessage, ConfigurationError, Forbidden, NotGenuine

_CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
SESSION_REVOKED = f"{_CAEP}session-revoked"
CLAIMS_CHANGE = f"{_CAEP}token-claims-change"
CREDENTIAL_CHANGE = f"{_CAEP}credential-change"
REVOKING = (SESSION_REVOKED, CLAIMS_CHANGE, CREDENTIAL_CHANGE)
"""The events after which earlier tokens count no more."""

HEARTBEAT = "urn:busauth:event:heartbeat"
VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"
"""How a transmitter tries out whether it is heard (OpenID SSF 1.0): nothing follows from it."""

SKEW = 300.0
"""Seconds by which clocks may differ."""

_KNOWN = frozenset({*REVOKING, HEARTBEAT, VERIFICATION})
_ID_LIMIT = 1024  # characters of a `jti`


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityEvent:
    """An event that is genuine, and that its transmitter may send.

    Attributes:
        transmitter: who sent it.
        event_id: its `jti`.
        issued_at: its `iat`, seconds since the epoch.
        targets: whose tokens are revoked; none for a heartbeat, or where nothing follows.
        effective_at: tokens issued until then are meant.
        is_heartbeat: whether it says no more than that the feed is alive.
    """

    transmitter: str
    event_id: str
    issued_at: float
    targets: tuple[Target, ...]
    effective_at: float
    is_heartbeat: bool


class Transmitters:
    """Everybody whose events count, and whom events must be for.

    Args:
        transmitters: at least one; no two of one name.
        audience: names of which an event's `aud` must hold one.

    Raises:
        ConfigurationError: with what was found.
    """

    @checked
    def __init__(self, transmitters: Iterable[Transmitter], *, audience: str | Iterable[str]):
        given = tuple(transmitters)
        self._by_name = {each.name: each for each in given}
        self.audience = audience_names(audience)
        if not given or len(self._by_name) != len(given):
            raise ConfigurationError("expected transmitters, no two of one name: got none, or two")
        if not self.audience or "" in self.audience:
            raise ConfigurationError(f"audience={audience!r}: expected names, none of them empty")

    def fingerprint(self) -> str:
        """Return a digest of who is trusted with what; keys, which may change, are not in it."""
        given = [self._by_name[name] for name in sorted(self._by_name)]
        told = [
            [each.name, list(each.algorithms), sorted(each.issuers), each.heartbeats]
            for each in given
        ]
        return sha256(json.dumps([sorted(self.audience), told]).encode()).hexdigest()

    def read(self, raw: object, now: float) -> SecurityEvent:
        """Return what an event says, if it counts.

        Raises:
            NotGenuine: nobody known is proven to have sent it, or it is for somebody else.
            KeyUnknown: no key at hand fits.
            BadMessage: it is signed, and says nothing that can be understood.
            Forbidden: its transmitter may not say so.
        """
        transmitter, claims = proven(raw, self._by_name)
        _check_audience(claims.get("aud"), self.audience)
        issued_at = _checked_claims(claims, now)
        kinds = _kinds(claims.get("events"))
        if HEARTBEAT in kinds:
            return _heartbeat(transmitter, claims, issued_at, kinds)
        revoking = {kind: kinds[kind] for kind in REVOKING if kind in kinds}
        # A credential that was added takes nothing away; whatever else changes one does.
        ends_tokens = any(
            not (kind == CREDENTIAL_CHANGE and payload.get("change_type") == "create")
            for kind, payload in revoking.items()
        )
        return SecurityEvent(
            transmitter=transmitter.name,
            event_id=claims["jti"],
            issued_at=issued_at,
            targets=_targets(transmitter, claims, revoking) if ends_tokens else (),
            effective_at=_effective_at(claims, revoking, issued_at),
            is_heartbeat=False,
        )


def _check_audience(given: object, accepted: frozenset[str]) -> None:
    audience = [given] if isinstance(given, str) else given
    if not isinstance(audience, list) or not accepted.intersection(
        each for each in audience if isinstance(each, str)
    ):
        expected = " or ".join(sorted(accepted))
        raise NotGenuine("event.audience", found=given or "none", expected=expected)


def _checked_claims(claims: Mapping[str, Any], now: float) -> float:
    """Return `iat`."""
    # An event is no token, and must not pass for one (RFC 8417, section 4).
    for name in ("sub", "exp"):
        if name in claims:
            raise _invalid(f"an event with {name}", f"no {name}")
    event_id = claims.get("jti")
    if not isinstance(event_id, str) or not 0 < len(event_id) <= _ID_LIMIT:
        raise _invalid("a jti that is no text, or none", f"1 to {_ID_LIMIT} characters")
    issued_at = _instant(claims, "iat")
    if issued_at is None:
        raise _invalid("no iat", "iat")
    if issued_at > now + SKEW:
        found = f"iat {issued_at - now:.0f} s ahead"
        raise BadMessage("event.issued_in_future", found=found, expected=f"at most {SKEW:g} s")
    return issued_at


def _kinds(events: object) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(events, dict) or not events:
        raise _invalid(f"events of type {type(events).__name__}, or none", "an object of events")
    if not all(isinstance(payload, dict) for payload in events.values()):
        raise _invalid("an event that is no object", "an object for each event")
    known = {kind: payload for kind, payload in events.items() if kind in _KNOWN}
    if not known:
        raise BadMessage("event.kind", found=", ".join(events), expected="a known kind of event")
    return known


def _heartbeat(
    transmitter: Transmitter,
    claims: Mapping[str, Any],
    issued_at: float,
    kinds: Mapping[str, Any],
) -> SecurityEvent:
    if not transmitter.heartbeats:
        found = f"a heartbeat of {transmitter.name}"
        raise Forbidden("event.heartbeat", found=found, expected="one who keeps the feed's time")
    if len(kinds) > 1:
        raise _invalid("a heartbeat with another event", "a heartbeat by itself")
    return SecurityEvent(
        transmitter=transmitter.name,
        event_id=claims["jti"],
        issued_at=issued_at,
        targets=(),
        effective_at=issued_at,
        is_heartbeat=True,
    )


def _targets(
    transmitter: Transmitter, claims: Mapping[str, Any], revoking: Mapping[str, Mapping[str, Any]]
) -> tuple[Target, ...]:
    if any("subject" in payload for payload in revoking.values()):
        found = "a subject inside of the event"
        raise BadMessage("event.subject", found=found, expected="sub_id beside events")
    session = SESSION_REVOKED in revoking
    targets = targets_of(claims.get("sub_id"), transmitter.issuers, session=session)
    for target in targets:
        if target.issuer not in transmitter.issuers:
            found = f"{transmitter.name} about tokens of {target.issuer}"
            expected = " or ".join(sorted(transmitter.issuers)) or "heartbeats only"
            raise Forbidden("event.issuer", found=found, expected=expected)
    if not targets:
        raise Forbidden("event.issuer", found=f"{transmitter.name}", expected="heartbeats only")
    return targets


def _effective_at(
    claims: Mapping[str, Any], revoking: Mapping[str, Mapping[str, Any]], issued_at: float
) -> float:
    said = [_instant(payload, "event_timestamp") for payload in revoking.values()]
    told = max((each for each in said if each is not None), default=None)
    told = _instant(claims, "toe") if told is None else told
    effective_at = issued_at if told is None else told
    if effective_at > issued_at + SKEW:
        found = f"in effect {effective_at - issued_at:.0f} s after it was told"
        raise BadMessage("event.timestamp", found=found, expected=f"at most {SKEW:g} s")
    return effective_at


def _instant(claims: Mapping[str, Any], name: str) -> float | None:
    try:
        return instant(claims, name)
    except NotGenuine as refused:
        raise _invalid(refused.found, refused.expected) from None


def _invalid(found: object, expected: object) -> BadMessage:
    return BadMessage("event.claim", found=found, expected=expected)
