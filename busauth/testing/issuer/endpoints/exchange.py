"""Token exchange (RFC 8693).

Rules:

1. Subject and actor token are this issuer's and count now, opaque ones included.
2. With an actor token the new token says who acts: `act` names the actor, and inside it whoever
   acted before. Without one, `act` stays as it was.
3. Where the subject token has `may_act`, it must name the actor, or the client that acts itself.
4. Scope is never wider than the subject token's.
5. What is said of the subject stays: every claim but those that are about the token itself.
"""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.endpoints.documents import TOKEN_EXCHANGE
from busauth.testing.issuer.http.errors import OAuthError
from busauth.testing.issuer.http.form import Form
from busauth.testing.issuer.http.messages import NO_STORE, Request, Response, json_response
from busauth.testing.issuer.keys import present
from busauth.testing.issuer.minting import Mint

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 -- a name
JWT = "urn:ietf:params:oauth:token-type:jwt"
_TYPES = (ACCESS_TOKEN, JWT)
_REGISTERED = ("iss", "aud", "exp", "nbf", "iat", "jti")
_ABOUT_THE_TOKEN = (*_REGISTERED, "client_id", "scope", "may_act", "cnf")
_IDENTITY = ("sub", "iss", "client_id")


def exchange(mint: Mint, _request: Request, form: Form, client: Client) -> Response:
    """Answer with a token for somewhere else.

    Raises:
        OAuthError: ``unsupported_grant_type``, ``invalid_request``, ``invalid_scope`` or
            ``invalid_target``.
    """
    if form.required("grant_type") != TOKEN_EXCHANGE:
        raise OAuthError("unsupported_grant_type", f"expected {TOKEN_EXCHANGE}")
    subject, actor = _presented(mint, form, "subject"), _actor(mint, form)
    _check_may_act(subject, actor or _itself(mint, client))
    issued = _one_of(form, "requested_token_type", _TYPES, ACCESS_TOKEN)
    scope = _scope(subject, form)
    changed = {
        "act": _act(subject, actor),
        "aud": _targets(mint, form) or subject.get("aud"),
        "client_id": client.client_id,
        "scope": scope,
    }
    answer = {
        "access_token": mint.sign(present(mint.claims(sub=None) | _kept(subject) | changed)),
        "issued_token_type": issued,
        "token_type": "Bearer",
        "expires_in": int(mint.lifetime),
        "scope": scope,
    }
    return json_response(present(answer), headers=NO_STORE)


def _presented(mint: Mint, form: Form, role: str) -> dict[str, Any]:
    """Return the claims of a token in the form."""
    token = form.required(f"{role}_token")
    _one_of(form, f"{role}_token_type", _TYPES)
    claims = mint.standing(token)
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


def _scope(subject: Mapping[str, Any], form: Form) -> str | None:
    held, asked = subject.get("scope"), form.one("scope")
    held = held if isinstance(held, str) else None
    if asked is None:
        return held
    if not set(asked.split()) <= set((held or "").split()):
        raise OAuthError("invalid_scope", "expected no more than the subject_token's scope")
    return asked


def _targets(mint: Mint, form: Form) -> str | list[str] | None:
    """Return whom the new token is for (section 2.1, RFC 8707), None where nobody was named."""
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


def _kept(subject: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in subject.items() if name not in _ABOUT_THE_TOKEN}
