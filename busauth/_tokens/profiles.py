"""What an issuer's access tokens look like: their type, required claims, and where rights are.

A `Profile` says what must hold beyond signature, issuer and time, and where scopes, roles and the
client are found. Kinds of token are mutually exclusive (RFC 8725, section 3.11): every profile
names the values of `typ` that it takes, so that an ID token with an explicit type, a proof or a
security event is never read as an access token. Where the header says nothing, claims do that only
another kind has. `nonce` is none of them: providers write it into access tokens, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from busauth._arguments import checked, checked_class
from busauth.errors import ConfigurationError

ClaimPath = tuple[str, ...]
"""Where a claim is: member names from the outside in."""

Kinds = tuple[tuple[str, frozenset[str]], ...]
"""Claims that name a token's kind, and the kinds that are meant, in lower case."""

AT_JWT = "application/at+jwt"
_PLAIN_JWT = "application/jwt"

_OTHER_KINDS: Kinds = (
    ("typ", frozenset({"id", "serialized-id", "refresh", "offline", "logout"})),  # Keycloak
    ("token_use", frozenset({"id", "refresh"})),  # Cognito
)


@checked_class
@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of access token.

    Attributes:
        name: for messages.
        types: accepted values of `typ`, as full media types in lower case; None where a missing
            `typ` is accepted.
        required: claims that must be there, next to `exp` and `iss` which always must.
        audience: the claim that names whom the token is for.
        equals: claims that must have exactly this value.
        absent: claims that give another kind of token away, whatever their value.
        others: claims that do so by what they say.
        scopes: where scopes are; a string is split at spaces (RFC 6749, section 3.3), a list is
            taken as it is.
        roles: where roles are.
        client: where the client's identifier is; the first that is there counts.
    """

    name: str
    types: frozenset[str | None]
    required: tuple[str, ...] = ("sub", "aud")
    audience: str = "aud"
    equals: tuple[tuple[str, str], ...] = ()
    absent: tuple[str, ...] = ("at_hash", "c_hash", "s_hash", "events")
    others: Kinds = _OTHER_KINDS
    scopes: tuple[ClaimPath, ...] = (("scope",), ("scp",))
    roles: tuple[ClaimPath, ...] = (("roles",),)
    client: tuple[str, ...] = ("client_id", "azp", "appid")

    def scopes_in(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Return the scopes of a payload; what is not text is left out."""
        return _names(claims, self.scopes, lambda scopes: scopes.split(" "))

    def roles_in(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Return the roles of a payload; a string is one role, what is not text is left out."""
        return _names(claims, self.roles, lambda role: [role])

    def client_in(self, claims: Mapping[str, Any]) -> str | None:
        """Return the client that the token was issued to, if it says."""
        for name in self.client:
            if isinstance(value := claims.get(name), str):
                return value
        return None


def media_type(typ: Any) -> str | None:
    """Return `typ` as a full media type in lower case (RFC 7515, section 4.1.9)."""
    if not isinstance(typ, str):
        return None
    lowered = typ.lower()
    return lowered if "/" in lowered else f"application/{lowered}"


def _names(
    claims: Mapping[str, Any], paths: tuple[ClaimPath, ...], parts: Callable[[str], list[str]]
) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        value = claims.get(path[0])
        for name in path[1:]:  # what is no object on the way has nothing inside
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str):
            found.update(parts(value))
        elif isinstance(value, (list, tuple)):
            found.update(item for item in value if isinstance(item, str))
    found.discard("")  # two spaces in a row name nothing
    return frozenset(found)


_LENIENT_TYPES = frozenset({AT_JWT, _PLAIN_JWT, None})

RFC9068 = Profile(
    name="at+jwt (RFC 9068)",
    types=frozenset({AT_JWT}),
    required=("aud", "sub", "client_id", "iat", "jti"),
    scopes=(("scope",),),
)
"""Access tokens as the standard has them: explicitly typed, complete."""

LENIENT = Profile(name="lenient", types=_LENIENT_TYPES)
"""Access tokens as most providers send them: `typ` JWT or none at all."""

AUTH0 = Profile(
    name="Auth0",
    types=_LENIENT_TYPES,
    required=("sub", "aud", "iat"),
    scopes=(("scope",), ("permissions",)),
)
"""Auth0: RBAC puts what a user may do into `permissions`; they count as scopes."""

ENTRA = Profile(
    name="Microsoft Entra ID",
    types=_LENIENT_TYPES,
    required=("sub", "aud", "iat", "tid"),
    absent=(*LENIENT.absent, "nonce"),
    scopes=(("scp",),),
)
"""Entra ID: delegated permissions in `scp`, application permissions and app roles in `roles`.

An issuer is one tenant's; list each tenant that you serve. Groups beyond the overage limit are not
in the token: authorize by app roles.
"""

COGNITO = Profile(
    name="Amazon Cognito",
    types=_LENIENT_TYPES,
    required=("sub", "client_id", "token_use"),
    audience="client_id",
    equals=(("token_use", "access"),),
    roles=(("cognito:groups",),),
)
"""Cognito: access tokens have no `aud`; the audience to configure is the app client's id."""


@checked
def keycloak(client: str | None = None) -> Profile:
    """Return Keycloak's profile: realm roles, and one client's roles next to them.

    Args:
        client: whose ``resource_access`` roles count; None for realm roles alone.
    """
    clients: tuple[ClaimPath, ...] = (("resource_access", client, "roles"),) if client else ()
    return Profile(
        name="Keycloak",
        types=_LENIENT_TYPES,
        required=("sub", "aud", "iat"),
        equals=(("typ", "Bearer"),),
        roles=(("realm_access", "roles"), *clients),
    )


_NAMED: Mapping[str, Profile] = {
    "lenient": LENIENT,
    "at+jwt": RFC9068,
    "auth0": AUTH0,
    "cognito": COGNITO,
    "entra": ENTRA,
    "keycloak": keycloak(),
}
"""Profiles by the names that settings files have for them."""


def profile_of(given: Profile | str) -> Profile:
    """Return a profile as it is, or the one of that name.

    Raises:
        ConfigurationError: no profile has that name; says which there are.
    """
    if isinstance(given, Profile):
        return given
    if given in _NAMED:
        return _NAMED[given]
    raise ConfigurationError(
        f"profile={given!r}: expected a Profile, or one of {', '.join(_NAMED)}; "
        "keycloak('client') counts that client's roles, too"
    )
