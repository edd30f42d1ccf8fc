"""The registered claims, judged strictly (RFC 7519, section 4.1).

Nothing here asks whether a token has expired: that is judged later, by policy, once the token is
known to be genuine. What is checked is that the claim is there and means an instant at all.
"""

import math
from collections.abc import Mapping, Set
from typing import Any

from busauth._tokens.profiles.places import MISSING, value_at
from busauth._tokens.profiles.profile import Profile
from busauth.caller import Actor
from busauth.errors import NotGenuine

_MAX_ACTORS = 8  # services in a chain: what is kept of each token has a bound
_CONFIRMATION = "cnf"


def check_profile(claims: Mapping[str, Any], profile: Profile) -> None:
    """Hold a payload to its profile.

    Raises:
        NotGenuine: ``token.claim_missing``, ``token.claim_invalid``, ``token.type`` for a claim
            that gives another kind of token away, ``token.sender_constrained`` for `cnf`,
            ``token.client`` for a client whose tokens are not taken.
    """
    for name in ("exp", *profile.required):
        if value_at(claims, name) is MISSING:
            raise NotGenuine("token.claim_missing", found=f"no {name}", expected=name)
    _check_kind(claims, profile)
    if _CONFIRMATION in claims:
        # Taking a sender-constrained token as a bearer token would undo the constraint (RFC 7800).
        found = "a token with cnf"
        raise NotGenuine("token.sender_constrained", found=found, expected="a bearer token")
    for name in ("sub", "jti"):
        if name in claims and not isinstance(claims[name], str):
            raise _invalid(name, claims[name], "a string")
    if profile.clients is not None and (client := profile.client_in(claims)) not in profile.clients:
        expected = f"a token for {' or '.join(sorted(profile.clients))}"
        raise NotGenuine(
            "token.client", found=f"a token for {client or 'no client'}", expected=expected
        )


def _check_kind(claims: Mapping[str, Any], profile: Profile) -> None:
    kind = "a transaction token" if profile.is_transaction else "an access token"
    expected = f"{kind}, {profile.name}"
    for name in profile.absent:
        if value_at(claims, name) is not MISSING:
            raise NotGenuine("token.type", found=f"a token with {name}", expected=expected)
    for name, value in profile.equals:
        if value_at(claims, name) != value:
            expected = f"the claim {name}={value!r}"
            raise NotGenuine("token.claim_invalid", found=_said(claims, name), expected=expected)
    for name, kinds in profile.others:
        said = _text(claims.get(name))
        if said is not None and said.lower() in kinds:
            raise NotGenuine("token.type", found=f"a token with {name}={said!r}", expected=expected)


def instant(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a NumericDate in seconds since the epoch, None where the claim is missing.

    Raises:
        NotGenuine: ``token.claim_invalid`` for anything but a finite, non-negative number.
    """
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float):  # True is an int, and no instant
        raise _invalid(name, value, "a number of seconds")
    try:
        seconds = float(value)
    except OverflowError:  # JSON has integers that no float holds
        seconds = math.inf
    if not 0 <= seconds < math.inf:
        raise _invalid(name, value, "a finite, non-negative number of seconds")
    return seconds


def check_audience(
    claims: Mapping[str, Any], profile: Profile, accepted: Set[str]
) -> tuple[str, ...]:
    """Return whom the token is for: case-exactly one of ours (RFC 7519, section 4.1.3).

    Raises:
        NotGenuine: ``token.audience``, or ``token.claim_invalid`` for neither text nor list.
    """
    value = claims.get(profile.audience)
    audience = [value] if isinstance(value, str) else value
    # One odd member makes the whole list odd: who reads past it takes what was meant for nobody.
    if not isinstance(audience, list) or not all(isinstance(one, str) for one in audience):
        raise _invalid(profile.audience, value, "a string or a list of strings")
    if accepted.isdisjoint(audience):
        expected = " or ".join(sorted(accepted))
        raise NotGenuine("token.audience", found=", ".join(audience) or "none", expected=expected)
    return tuple(audience)


def actors_of(claims: Mapping[str, Any]) -> tuple[Actor, ...]:
    """Return the chain in `act`, outermost first (RFC 8693, section 4.1).

    Raises:
        NotGenuine: ``token.claim_invalid`` for a malformed or overlong chain.
    """
    actors: list[Actor] = []
    act = claims.get("act")
    while act is not None:
        if not isinstance(act, Mapping) or not isinstance(act.get("sub"), str):
            raise _invalid("act", act, "an object with sub")
        if len(actors) == _MAX_ACTORS:
            raise NotGenuine(
                "token.claim_invalid",
                found="a longer chain",
                expected=f"{_MAX_ACTORS} actors in act",
            )
        actors.append(Actor(act["sub"], _text(act.get("iss")), _text(act.get("client_id"))))
        act = act.get("act")
    return tuple(actors)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _said(claims: Mapping[str, Any], name: str) -> str:
    value = value_at(claims, name)
    if value is MISSING:
        return f"no claim {name}"
    kind = repr(value) if isinstance(value, str) else f"of type {type(value).__name__}"
    return f"the claim {name}{'=' if isinstance(value, str) else ' '}{kind}"


def _invalid(name: str, value: Any, expected: str) -> NotGenuine:
    number = isinstance(value, int | float)
    found = f"{name}={value!r}" if number else f"{name} of type {type(value).__name__}"
    return NotGenuine("token.claim_invalid", found=found, expected=f"{name} as {expected}")
