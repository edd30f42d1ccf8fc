"""Token exchange (RFC 8693).

Rules:

1. Subject and actor token are this issuer's and count now, opaque ones included.
2. With an actor token the new token says who acts: `act` names the actor, and inside it whoever
   acted before. Without one, `act` stays as it was.
3. Where the subject token has `may_act`, it must name the actor, or the client that acts itself.
4. Scope is never wider than the subject token's.
5. What is said of the subject stays: every claim but those that are about the token itself.
6. A voucher is no access token, and its kind is asked for by name. Where its audience has one
   receiver, `may_act` names that client, and nobody else has anything for it. It ends with the
   token that it was given for when that is revoked, and a chain of vouchers ends at
   `Mint.voucher_total` after its first one, as does whatever was had for one of them.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from busauth._delegation.exchanging import ACCESS_TOKEN, JWT, VOUCHER, VOUCHER_TYP
from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.http.errors import OAuthError
from busauth.testing.issuer.http.form import Form
from busauth.testing.issuer.http.messages import NO_STORE, Response, json_response
from busauth.testing.issuer.keyring import ACCESS_TYPES
from busauth.testing.issuer.keys import present
from busauth.testing.issuer.minting import VOUCHER_TYPES, Mint

_TYPES: Mapping[str, Collection[str]] = {
    ACCESS_TOKEN: ACCESS_TYPES,
    JWT: ACCESS_TYPES,
    VOUCHER: VOUCHER_TYPES,
}
"""What may be handed in and asked for, and the `typ` that it has."""

_REGISTERED = ("iss", "aud", "exp", "nbf", "iat", "jti")
_ABOUT_THE_TOKEN = (*_REGISTERED, "client_id", "scope", "may_act", "cnf")
_IDENTITY = ("sub", "iss", "client_id")
_CHAIN = "voucher"
"""The claim in which a voucher, and what is had for it, says when the first one was given."""


def exchange(mint: Mint, form: Form, client: Client) -> Response:
    """Answer with a token for somewhere else, or for later.

    Raises:
        OAuthError: ``invalid_request``, ``invalid_scope`` or ``invalid_target``.
    """
    subject, actor = _presented(mint, form, "subject"), _actor(mint, form)
    _check_may_act(subject, actor or _itself(mint, client))
    issued = _one_of(form, "requested_token_type", _TYPES, ACCESS_TOKEN)
    changed = {
        "act": _act(subject, actor),
        "aud": targets(mint, form) or subject.get("aud"),
        "client_id": client.client_id,
        "scope": scope_for(subject, form),
        "exp": int(min(mint.clock.now() + mint.lifetime, _last(mint, subject))),
    }
    claims = present(mint.claims(sub=None) | kept(subject) | changed)
    source = form.required("subject_token")
    if issued == VOUCHER:
        return _voucher(mint, claims, source)
    token = mint.sign(claims)
    if _CHAIN in claims:
        mint.derive(token, claims, source)
    return _answer(mint, token, claims, {"issued_token_type": issued})


def _voucher(mint: Mint, claims: dict[str, Any], source: str) -> Response:
    """Answer with a token for later, which only its receiver can exchange."""
    first, depth = _chain(mint, claims)
    if depth >= mint.voucher_depth:
        raise OAuthError("invalid_request", f"expected at most {mint.voucher_depth} vouchers")
    receiver = mint.receivers.get(str(claims.get("aud")))
    ends_at = min(mint.clock.now() + mint.voucher_lifetime, first + mint.voucher_total)
    claims |= {_CHAIN: {"iat": int(first), "depth": depth + 1}, "exp": int(ends_at)}
    if receiver is not None:
        claims["may_act"] = {"client_id": receiver}
    token = mint.sign(claims, {"typ": VOUCHER_TYP})
    mint.derive(token, claims, source)
    return _answer(mint, token, claims, {"issued_token_type": VOUCHER, "token_type": "N_A"})


def _answer(mint: Mint, token: str, claims: Mapping[str, Any], more: Mapping[str, str]) -> Response:
    answer = {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": int(claims["exp"] - mint.clock.now()),
        "scope": claims.get("scope"),
        **more,
    }
    return json_response(present(answer), headers=NO_STORE)


def _chain(mint: Mint, claims: Mapping[str, Any]) -> tuple[float, int]:
    """Return when the first voucher was given, and how many there were; now and none at first."""
    chain = claims.get(_CHAIN)
    if not isinstance(chain, Mapping):
        return mint.clock.now(), 0
    return chain["iat"], chain["depth"]


def _last(mint: Mint, subject: Mapping[str, Any]) -> float:
    """Return the instant at which a chain of vouchers ends, infinity where there is none."""
    first, depth = _chain(mint, subject)
    return first + mint.voucher_total if depth else math.inf


def _presented(mint: Mint, form: Form, role: str) -> dict[str, Any]:
    """Return the claims of a token in the form."""
    token = form.required(f"{role}_token")
    kind = _one_of(form, f"{role}_token_type", _TYPES)
    claims = mint.standing(token, _TYPES[kind])
    if claims is None:
        raise OAuthError("invalid_request", f"{role}_token is unknown, late or revoked")
    return claims


def _actor(mint: Mint, form: Form) -> dict[str, Any] | None:
    if form.one("actor_token") is None:
        if form.one("actor_token_type") is not None:
            raise OAuthError("invalid_request", "actor_token_type without an actor_token")
        return None
    claims = _presented(mint, form, "actor")
    if not isinstance(claims.get("sub"), str):
        raise OAuthError("invalid_request", "actor_token names nobody: expected sub")
    return claims


def _itself(mint: Mint, client: Client) -> dict[str, Any]:
    return {"sub": client.client_id, "client_id": client.client_id, "iss": mint.url}


def _one_of(form: Form, name: str, known: Collection[str], usual: str | None = None) -> str:
    value = form.required(name) if usual is None else form.one(name) or usual
    if value not in known:
        raise OAuthError("invalid_request", f"{name}: expected {' or '.join(known)}")
    return value


def _check_may_act(subject: Mapping[str, Any], actor: Mapping[str, Any]) -> None:
    """Every identifier in `may_act` must be the actor's (section 4.4)."""
    if "may_act" not in subject:
        return
    allowed = subject["may_act"]
    named = isinstance(allowed, Mapping) and not {"sub", "client_id"}.isdisjoint(allowed)
    if not named or any(actor.get(name) != value for name, value in allowed.items()):
        raise OAuthError("invalid_request", "may_act of the subject_token names somebody else")


def scope_for(subject: Mapping[str, Any], form: Form) -> str | None:
    """Return the scope of a new token: what was asked for, or all that the subject's allows.

    Raises:
        OAuthError: ``invalid_scope``, it would be wider than the subject's.
    """
    held, asked = subject.get("scope"), form.one("scope")
    held = held if isinstance(held, str) else None
    if asked is None:
        return held
    if not set(asked.split()) <= set((held or "").split()):
        raise OAuthError("invalid_scope", "expected no more than the subject_token's scope")
    return asked


def targets(mint: Mint, form: Form) -> str | list[str] | None:
    """Return whom the new token is for (section 2.1, RFC 8707), None where nobody was named.

    Raises:
        OAuthError: ``invalid_target``.
    """
    resources = form.all("resource")
    if not all(_is_target(uri) for uri in resources):
        raise OAuthError("invalid_target", "resource: expected absolute URIs without fragment")
    names = list(dict.fromkeys((*form.all("audience"), *resources)))
    if mint.targets is not None and not mint.targets.issuperset(names):
        raise OAuthError("invalid_target", "expected services that this issuer knows")
    return names[0] if len(names) == 1 else names or None


def _is_target(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return bool(parts.scheme) and "#" not in uri


def _act(subject: Mapping[str, Any], actor: Mapping[str, Any] | None) -> Any:
    """Return the new `act`, outermost first (section 4.1)."""
    before = subject.get("act")
    if actor is None:
        return before
    return present({name: actor.get(name) for name in _IDENTITY} | {"act": before})


def kept(subject: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a new token says of its subject, as the one before did."""
    return {name: value for name, value in subject.items() if name not in _ABOUT_THE_TOKEN}
