"""Tokens for whoever is named: what is asked for, and what is made of it."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from busauth.testing.issuer import Issuer, Request, Response
from busauth.testing.issuer.http.messages import JSON, NO_STORE, json_response

MINT_PATH = "/mint"
LONGEST_SECONDS = 24 * 3600.0
_OURS = ("iss", "sub", "iat", "exp", "scope", "jti")
_BAD_REQUEST, _UNSUPPORTED = 400, 415
_PLACES = 1000  # milliseconds: a token of five seconds lives five, not four and a half


class Wanted(BaseModel):
    """A token that is asked for.

    Attributes:
        subject: whose it is.
        scope: what it allows, with blanks between.
        lifetime: seconds until it expires.
        claims: further ones; what the issuer says itself is not for others to say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Annotated[str, Field(min_length=1, max_length=255)]
    scope: Annotated[str, Field(max_length=2000)] = ""
    lifetime: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] = 300.0
    claims: Mapping[str, JsonValue] = {}

    @field_validator("claims")
    @classmethod
    def _others(cls, claims: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        if taken := [name for name in claims if name in _OURS]:
            raise ValueError(f"{', '.join(taken)}: the issuer says that; expected other claims")
        return claims


def minted(issuer: Issuer, request: Request) -> Response:
    """Return the answer to ``POST /mint``, as of a token endpoint (RFC 6749, section 5.1).

    JSON alone is read: a form is what a page of somebody else's could send without being asked.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        return _error(f"got a body of type {media_type!r}: expected {JSON}", _UNSUPPORTED)
    try:
        wanted = Wanted.model_validate_json(request.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        return _error(f"{place}: {first['msg']}", _BAD_REQUEST)
    answer = {
        "access_token": issuer.token(wanted.subject, **_claims(wanted)),
        "token_type": "Bearer",
        "expires_in": wanted.lifetime,
        "scope": wanted.scope,
    }
    return json_response(answer, headers=NO_STORE)


def _claims(wanted: Wanted) -> dict[str, Any]:
    now = time.time()
    ends = round((now + wanted.lifetime) * _PLACES) / _PLACES
    return {**wanted.claims, "scope": wanted.scope or None, "iat": int(now), "exp": ends}


def _error(words: str, status: int) -> Response:
    return json_response({"error": "invalid_request", "error_description": words}, status, NO_STORE)
