"""Providers' access tokens, as profiles that are ready to use.

What differs from these is said, and not written: ``replace(AUTH0, roles=("https://...",))``.
"""

from collections.abc import Mapping

from busauth._arguments import checked
from busauth._tokens.profiles.profile import AT_JWT, TXN_JWT, Profile
from busauth.errors import ConfigurationError

_LENIENT_TYPES = frozenset({AT_JWT, "application/jwt", None})

RFC9068 = Profile(
    name="at+jwt (RFC 9068)",
    types=frozenset({AT_JWT}),
    required=("aud", "sub", "client_id", "iat", "jti"),
    scopes=("scope",),
)
"""Access tokens as the standard has them: explicitly typed, complete."""

LENIENT = Profile(name="lenient", types=_LENIENT_TYPES)
"""Access tokens as most providers send them: `typ` JWT or none at all."""

AUTH0 = Profile(
    name="Auth0",
    types=_LENIENT_TYPES,
    required=("sub", "aud", "iat"),
    scopes=("scope", "permissions"),
)
"""Auth0: RBAC puts what a user may do into `permissions`; they count as scopes."""

ENTRA = Profile(
    name="Microsoft Entra ID",
    types=_LENIENT_TYPES,
    required=("sub", "aud", "iat", "tid"),
    absent=(*LENIENT.absent, "nonce"),
    scopes=("scp",),
)
"""Entra ID: delegated permissions in `scp`, application permissions and app roles in `roles`.

An issuer is one tenant's; of several, `Verifier` takes a template and their list (``tenants=``).
Groups beyond the overage limit are not in the token: authorize by app roles.
"""

COGNITO = Profile(
    name="Amazon Cognito",
    types=_LENIENT_TYPES,
    required=("sub", "client_id", "token_use"),
    audience="client_id",
    equals=(("token_use", "access"),),
    roles=("cognito:groups",),
)
"""Cognito: access tokens have no `aud`; the audience to configure is the app client's id."""


OKTA = Profile(
    name="Okta",
    types=_LENIENT_TYPES,
    required=("sub", "aud", "iat", "cid"),
    scopes=("scp",),
    roles=("groups",),
    client=("cid",),
)
"""Okta, a custom authorization server: scopes are a list, groups count as roles if it adds them.

Tokens of the organization's own server are for Okta's API alone, and nobody else can verify them.
"""

ZITADEL = Profile(
    name="Zitadel",
    types=_LENIENT_TYPES,
    required=("sub", "aud", "iat"),
    roles=(),
    role_keys=("urn:zitadel:iam:org:project:roles",),
)
"""Zitadel, with JWTs as access tokens: roles are keys of an object that says who granted them."""


TRANSACTION = Profile(
    name="txntoken+jwt (transaction token)",
    types=frozenset({TXN_JWT}),
    required=("iat", "aud", "txn", "sub", "scope", "req_wl"),
    scopes=("scope",),
    roles=(),
    client=("req_wl",),
)
"""Transaction tokens (draft-ietf-oauth-transaction-tokens-10, section 5): never access tokens.

The audience is the trust domain, one and alone. `iss` may be missing: then a token is of the one
service of that domain. Its client is the workload that asked for it.
"""


@checked
def keycloak(client: str | None = None) -> Profile:
    """Return Keycloak's profile: realm roles, and one client's roles next to them.

    Args:
        client: whose ``resource_access`` roles count; None for realm roles alone.
    """
    escaped = client.replace("~", "~0").replace("/", "~1") if client else ""
    clients = (f"/resource_access/{escaped}/roles",) if escaped else ()
    return Profile(
        name="Keycloak",
        types=_LENIENT_TYPES,
        required=("sub", "aud", "iat"),
        equals=(("typ", "Bearer"),),
        roles=("/realm_access/roles", *clients),
    )


_NAMED: Mapping[str, Profile] = {
    "lenient": LENIENT,
    "at+jwt": RFC9068,
    "auth0": AUTH0,
    "cognito": COGNITO,
    "entra": ENTRA,
    "keycloak": keycloak(),
    "okta": OKTA,
    "transaction": TRANSACTION,
    "zitadel": ZITADEL,
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
