"""The transaction token service of a trust domain (draft-ietf-oauth-transaction-tokens-10).

Rules:

1. The subject is a token of this issuer's that counts now; or a transaction token, which is then
   replaced; or a JWT that a workload has signed, whose key is known (`Mint.workloads`).
2. Scope is asked for, and never wider than the subject's: one that is not known allows nothing.
3. `request_details` become `tctx`, and `request_context` becomes `rctx`.
4. Who acts for the subject is named as before.
5. A replacement has the same `txn`, `sub` and `aud`; what was said stays, and more may be said. Its
   `req_wl` names all workloads that asked, in order, and there are a few at most.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import jwt

from busauth._delegation.exchanging import ACCESS_TOKEN, JWT, TXN_TOKEN
from busauth._delegation.transactions.self_signed import SELF_SIGNED
from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.http.errors import OAuthError
from busauth.testing.issuer.http.form import Form
from busauth.testing.issuer.http.messages import NO_STORE, Response, json_response
from busauth.testing.issuer.minting import TXN_TYPES, Mint, counts_at

_MOST = 4
"""Workloads that may have asked for the tokens of one transaction."""


def transact(mint: Mint, form: Form, client: Client) -> Response:
    """Answer with a transaction token.

    Raises:
        OAuthError: ``invalid_request``, ``invalid_scope`` or ``invalid_target``.
    """
    domain = mint.trust_domain or mint.audience
    if [*form.all("audience")] != [domain]:
        raise OAuthError("invalid_target", f"audience: expected the trust domain, {domain}")
    subject = _subject(mint, form)
    scope = form.required("scope")
    if not set(scope.split()) <= set(str(subject.get("scope") or "").split()):
        raise OAuthError("invalid_scope", "expected no more than the subject_token's scope")
    said = {
        "txn": subject.get("txn", uuid4().hex),
        "scope": scope,
        "act": subject.get("act"),
        "req_wl": _workloads(subject, client),
        "tctx": {**_object(form, "request_details"), **subject.get("tctx", {})},
        "rctx": {**_object(form, "request_context"), **subject.get("rctx", {})},
    }
    token = mint.transaction_token(subject["sub"], **said)
    claims = mint.read(token, TXN_TYPES) or {}
    mint.derive(token, claims, form.required("subject_token"))
    answer = {
        "access_token": token,
        "issued_token_type": TXN_TOKEN,
        "token_type": "N_A",
        "expires_in": int(mint.transaction_lifetime),
    }
    return json_response(answer, headers=NO_STORE)


def _subject(mint: Mint, form: Form) -> Mapping[str, Any]:
    """Return the claims of a subject token: `txn` is there where that is replaced."""
    token, kind = form.required("subject_token"), form.required("subject_token_type")
    claims: Mapping[str, Any] | None
    if kind == SELF_SIGNED:
        claims = _signed(mint, token)
    elif kind == TXN_TOKEN:
        claims = mint.standing(token, TXN_TYPES)
    elif kind in (ACCESS_TOKEN, JWT):
        claims = {**(mint.standing(token) or {})}
        for name in ("txn", "tctx", "rctx", "req_wl"):  # of another kind's they say nothing
            claims.pop(name, None)
    else:
        raise OAuthError("invalid_request", "subject_token_type: expected one that is known")
    if not claims or not isinstance(claims.get("sub"), str):
        raise OAuthError("invalid_request", "subject_token is unknown, late or revoked")
    return claims


def _signed(mint: Mint, token: str) -> Mapping[str, Any] | None:
    """Return what a workload says, with the scope that it may ask for; None for what is no JWT."""
    try:
        said = jwt.decode(token, options={"verify_signature": False})
        workload = mint.workloads[said["iss"]]
        key = jwt.PyJWK({**workload.jwk})
        # Of its instants and its audience the kit's own clock and name are the measure.
        claims = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
        )
    except (jwt.PyJWTError, KeyError, TypeError):
        return None
    is_whole = claims.get("aud") == mint.url and {"sub", "iat", "exp"} <= claims.keys()
    if not is_whole or not counts_at(claims, mint.clock.now()):
        return None
    return {"sub": claims["sub"], "scope": " ".join(sorted(workload.scopes))}


def _workloads(subject: Mapping[str, Any], client: Client) -> str | list[str]:
    before = subject.get("req_wl", [])
    asked = [*(before if isinstance(before, list) else [before]), client.client_id]
    if len(asked) > _MOST:
        raise OAuthError("invalid_request", f"expected {_MOST} workloads of a transaction at most")
    return asked[0] if len(asked) == 1 else asked


def _object(form: Form, name: str) -> dict[str, Any]:
    try:
        said = json.loads(form.one(name) or "{}")
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise OAuthError("invalid_request", f"{name}: expected an object of JSON")
    return said
