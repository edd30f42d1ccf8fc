"""What providers' access tokens look like, on payloads as they send them."""

from dataclasses import replace
from typing import Any

import pytest

from busauth import NotGenuine, keycloak
from busauth._tokens.claims import check_profile
from busauth.errors import ConfigurationError
from busauth.tokens import AUTH0, COGNITO, ENTRA, LENIENT, OKTA, RFC9068, ZITADEL, Profile
from tests.unit.support import NOW, Signer, authenticate, payload, refusal, verifier

TIMES = {"iat": int(NOW), "exp": int(NOW) + 300}

KEYCLOAK: dict[str, Any] = {
    **TIMES,
    "jti": "onrtac:8a4c5bcb-1b0e-4e5e-9ad0-3e4d7f0c1a11",
    "iss": "https://sso.example/realms/shop",
    "aud": ["orders", "account"],
    "sub": "f5b8c3f0-6f0e-4b39-8d5c-0a4f2d6c9b11",
    "typ": "Bearer",
    "azp": "shop-web",
    "sid": "5f1c6a7e",
    "acr": "1",
    "realm_access": {"roles": ["offline_access", "clerk"]},
    "resource_access": {"orders": {"roles": ["approver"]}, "account": {"roles": ["view-profile"]}},
    "scope": "openid email orders:write",
    "preferred_username": "alice",
}
AUTH0_TOKEN: dict[str, Any] = {
    **TIMES,
    "iss": "https://shop.eu.auth0.example/",
    "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
    "aud": ["https://api.shop.example", "https://shop.eu.auth0.example/userinfo"],
    "azp": "my_client_id",
    "scope": "openid profile orders:read",
    "permissions": ["orders:write"],
}
ENTRA_USER: dict[str, Any] = {
    **TIMES,
    "nbf": int(NOW),
    "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
    "iss": "https://login.microsoftonline.example/72f988bf/v2.0",
    "azp": "64f1aa5e",
    "azpacr": "0",
    "name": "Alice",
    "oid": "690222be",
    "roles": ["Orders.Approve"],
    "scp": "Orders.Read Orders.Write",
    "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
    "tid": "72f988bf",
    "ver": "2.0",
}
ENTRA_APP: dict[str, Any] = {
    **{name: value for name, value in ENTRA_USER.items() if name not in ("scp", "azp")},
    "appid": "daemon",
    "ver": "1.0",
}
COGNITO_TOKEN: dict[str, Any] = {
    **TIMES,
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "cognito:groups": ["clerks", "eu-west-1_abc_Google"],
    "iss": "https://cognito-idp.eu-west-1.amazonaws.example/eu-west-1_abc",
    "client_id": "1example23456789",
    "origin_jti": "a",
    "event_id": "b",
    "token_use": "access",
    "scope": "aws.cognito.signin.user.admin shop/orders.write",
    "auth_time": int(NOW),
    "jti": "c",
    "username": "alice",
}

OKTA_TOKEN: dict[str, Any] = {
    **TIMES,
    "ver": 1,
    "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
    "iss": "https://shop.okta.example/oauth2/default",
    "aud": "api://shop",
    "cid": "0oa8qljcrl2TXNBCn5d7",
    "uid": "00uixa271s6x7qt8I0h7",
    "scp": ["openid", "orders:write"],
    "groups": ["Everyone", "clerks"],
    "sub": "alice@shop.example",
}
ZITADEL_TOKEN: dict[str, Any] = {
    **TIMES,
    "iss": "https://shop.zitadel.example",
    "sub": "224139347719356420",
    "aud": ["220047653491179525", "shop-web@shop"],
    "azp": "shop-web@shop",
    "jti": "V2_1",
    "urn:zitadel:iam:org:project:roles": {
        "clerk": {"220047571165380613": "shop.zitadel.example"},
        "approver": {"220047571165380613": "shop.zitadel.example"},
    },
}


async def read(claims: dict[str, Any], profile: Profile, audience: str, **header: Any) -> Any:
    raw = Signer().sign(claims, **header)
    return (
        await authenticate(raw, issuer=claims["iss"], audience=audience, profile=profile)
    ).caller


async def code(claims: dict[str, Any], profile: Profile, audience: str) -> str:
    raw = Signer().sign(claims)
    return (await refusal(raw, issuer=claims["iss"], audience=audience, profile=profile)).code


async def test_keycloak() -> None:
    """Realm roles, the roles of one client, and scopes are found where Keycloak puts them."""
    caller = await read(KEYCLOAK, keycloak("orders"), "orders")
    assert caller.roles == {"offline_access", "clerk", "approver"}
    assert caller.scopes == {"openid", "email", "orders:write"}
    assert caller.client == "shop-web"


async def test_keycloak_without_a_client_counts_realm_roles_alone() -> None:
    """Another client's roles are never counted."""
    assert (await read(KEYCLOAK, keycloak(), "orders")).roles == {"offline_access", "clerk"}


@pytest.mark.parametrize("typ", ["ID", "Refresh", "Offline", "DPoP", "Logout", None, "bearer", 5])
async def test_keycloaks_other_tokens_are_refused(typ: Any) -> None:
    """Keycloak names the kind of a token in the claim `typ`."""
    assert await code({**KEYCLOAK, "typ": typ}, keycloak(), "orders") == "token.claim_invalid"


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"typ": "JWT"}, "got the claim typ='JWT', expected the claim typ='Bearer'"),
        ({}, "got no claim typ, expected the claim typ='Bearer'"),
        ({"typ": 5}, "got the claim typ of type int, expected"),
    ],
)
def test_a_claim_that_says_something_else_is_told(claims: dict[str, Any], told: str) -> None:
    """What was found is told, and that it is a claim and no header."""
    with pytest.raises(NotGenuine) as caught:
        check_profile({"sub": "a", "aud": "b", "iat": 1, "exp": 2, **claims}, keycloak())
    assert told in caught.value.detail


_PLAIN: dict[str, Any] = {"alg": "RS256", "kid": "main"}


@pytest.mark.parametrize("header", [_PLAIN, {**_PLAIN, "typ": "JWT"}], ids=["untyped", "typed"])
@pytest.mark.parametrize(
    "said",
    [
        {"at_hash": "x"},
        {"c_hash": "x"},
        {"s_hash": "x"},
        {"typ": "ID"},
        {"typ": "id"},
        {"typ": "Serialized-ID"},
        {"typ": "Refresh"},
        {"typ": "Offline"},
        {"typ": "Logout"},
        {"token_use": "id"},
        {"token_use": "ID"},
        {"token_use": "refresh"},
    ],
    ids=str,
)
async def test_what_says_that_it_is_an_id_token_is_no_access_token(
    said: dict[str, Any], header: dict[str, Any]
) -> None:
    """Nor is what says that it is another kind, whatever its audience."""
    raw = Signer().sign({**payload(), "nonce": "n", **said}, header=header)
    assert (await refusal(raw)).code == "token.type"


@pytest.mark.parametrize(
    "said",
    [
        {"nonce": "n"},
        {"nonce": "n", "auth_time": int(NOW), "acr": "1", "amr": ["pwd"], "sid": "s", "azp": "web"},
        {"typ": "Bearer", "nonce": "n"},
        {"typ": "DPoP"},
        {"typ": 5},
        {"token_use": "access"},
        {"token_use": None},
    ],
    ids=str,
)
async def test_nothing_else_gives_an_access_token_away(said: dict[str, Any]) -> None:
    """Providers write `nonce` and the like into access tokens, too: it proves nothing alone."""
    raw = Signer().sign({**payload(), **said}, header=_PLAIN)
    assert (await authenticate(raw)).caller.subject == "alice"


async def test_a_nonce_can_be_what_tells_them_apart() -> None:
    """Where only ID tokens have one, a profile says so."""
    profile = replace(LENIENT, absent=(*LENIENT.absent, "nonce"))
    raw = Signer().sign({**payload(), "nonce": "n"}, header=_PLAIN)
    assert (await refusal(raw, profile=profile)).code == "token.type"


@pytest.mark.parametrize("held", ["n", None, [], False])
async def test_what_is_inside_of_a_claim_can_tell_them_apart(held: Any) -> None:
    """A pointer leads inside here as it does elsewhere, and is no claim that nothing ever has."""
    profile = replace(LENIENT, absent=(*LENIENT.absent, "/app/draft"))
    raw = Signer().sign({**payload(), "app": {"draft": held}}, header=_PLAIN)
    assert (await refusal(raw, profile=profile)).code == "token.type"


async def test_auth0() -> None:
    """Permissions of Auth0's RBAC count as scopes."""
    caller = await read(AUTH0_TOKEN, AUTH0, "https://api.shop.example", typ="JWT")
    assert caller.scopes == {"openid", "profile", "orders:read", "orders:write"}
    assert (caller.client, caller.roles) == ("my_client_id", frozenset())


async def test_entra_with_a_user() -> None:
    """Delegated permissions are scopes, app roles are roles."""
    caller = await read(ENTRA_USER, ENTRA, ENTRA_USER["aud"])
    assert caller.scopes == {"Orders.Read", "Orders.Write"}
    assert caller.roles == {"Orders.Approve"}
    assert caller.client == "64f1aa5e"


async def test_entra_with_an_app() -> None:
    """A daemon has roles, no scopes, and `appid` in tokens of version 1."""
    caller = await read(ENTRA_APP, ENTRA, ENTRA_APP["aud"])
    assert (caller.scopes, caller.roles) == (frozenset(), {"Orders.Approve"})
    assert caller.client == "daemon"


async def test_entra_id_tokens_are_refused() -> None:
    """A nonce gives Entra's ID token away."""
    assert await code({**ENTRA_USER, "nonce": "n"}, ENTRA, ENTRA_USER["aud"]) == "token.type"


async def test_cognito() -> None:
    """Cognito's access tokens are for the app client, and groups are roles."""
    caller = await read(COGNITO_TOKEN, COGNITO, "1example23456789")
    assert caller.audience == ("1example23456789",)
    assert caller.roles == {"clerks", "eu-west-1_abc_Google"}
    assert caller.scopes == {"aws.cognito.signin.user.admin", "shop/orders.write"}


async def test_cognito_of_another_client_is_refused() -> None:
    """Another app client's token is for somebody else."""
    assert await code(COGNITO_TOKEN, COGNITO, "another") == "token.audience"


@pytest.mark.parametrize(("use", "expected"), [("id", "invalid"), (..., "missing"), (5, "invalid")])
async def test_cognitos_id_tokens_are_refused(use: Any, expected: str) -> None:
    """`token_use` must be `access`."""
    claims = {**COGNITO_TOKEN, "aud": "1example23456789", "token_use": use}
    claims = {name: value for name, value in claims.items() if value is not ...}
    assert await code(claims, COGNITO, "1example23456789") == f"token.claim_{expected}"


async def test_a_string_is_split_at_blanks_and_a_list_is_not() -> None:
    """`scope` is a list of words; a list's items stay whole."""
    assert LENIENT.scopes_in({"scope": " a  b "}) == {"a", "b"}
    assert LENIENT.scopes_in({"scp": ["a b", "c"]}) == {"a b", "c"}
    assert LENIENT.scopes_in({"scope": "a", "scp": ["b"]}) == {"a", "b"}


@pytest.mark.parametrize("blank", ["\u00a0", "\u2003", "\t", "\n", "\x1f", "\u3000"])
async def test_scopes_are_separated_by_spaces_alone(blank: str) -> None:
    """RFC 6749, section 3.3 separates by U+0020: no other blank makes a scope of a suffix."""
    assert "admin" not in LENIENT.scopes_in({"scope": f"a{blank}admin"})


@pytest.mark.parametrize("odd", [None, 5, True, {}, {"a": 1}, [5, None, ["x"], {}], ""])
async def test_what_is_not_text_is_no_scope_and_no_role(odd: Any) -> None:
    """Malformed rights are no rights."""
    assert LENIENT.scopes_in({"scope": odd}) == frozenset()
    assert LENIENT.roles_in({"roles": odd}) == frozenset()
    assert keycloak("c").roles_in({"realm_access": odd, "resource_access": odd}) == frozenset()


async def test_rfc_9068_reads_the_standards_scope_only() -> None:
    """`scp` is some providers' word, not the standard's."""
    assert RFC9068.scopes_in({"scp": "a", "scope": "b"}) == {"b"}


@pytest.mark.parametrize(
    ("claims", "client"),
    [
        ({"client_id": "a", "azp": "b", "appid": "c"}, "a"),
        ({"azp": "b", "appid": "c"}, "b"),
        ({"appid": "c"}, "c"),
        ({"client_id": 5}, None),
        ({"client_id": 5, "azp": "b"}, None),
        ({"client_id": None, "azp": "b"}, None),
        ({}, None),
    ],
)
async def test_the_first_client_that_is_there_counts(
    claims: dict[str, Any], client: str | None
) -> None:
    """`client_id`, then `azp`, then `appid`."""
    assert LENIENT.client_in(claims) == client


async def test_okta() -> None:
    """Okta names the client `cid`, and has scopes as a list."""
    caller = await read(OKTA_TOKEN, OKTA, "api://shop")
    assert caller.scopes == {"openid", "orders:write"}
    assert caller.roles == {"Everyone", "clerks"}
    assert (caller.client, caller.subject) == ("0oa8qljcrl2TXNBCn5d7", "alice@shop.example")


async def test_zitadel() -> None:
    """Roles are the keys of an object, whoever granted them."""
    caller = await read(ZITADEL_TOKEN, ZITADEL, "220047653491179525")
    assert caller.roles == {"clerk", "approver"}
    assert caller.client == "shop-web@shop"


@pytest.mark.parametrize(
    "held", [False, None, {}, [], "", 0, 1, "true", "org", ["org"], [{"org": "name"}]]
)
def test_a_key_that_holds_nothing_is_no_role(held: Any) -> None:
    """What says false of a role does not grant it, nor does what says nothing that is known."""
    profile = replace(LENIENT, role_keys=("/app/roles",))
    claims = {"app": {"roles": {"admin": held, "clerk": True, "": True}}}
    assert profile.roles_in(claims) == {"clerk"}


@pytest.mark.parametrize("odd", [None, 5, "admin", ["admin"], [{"admin": {"org": "name"}}], True])
def test_what_is_no_object_has_no_keys(odd: Any) -> None:
    """A list of roles where an object was expected is of another shape: nobody guesses."""
    assert ZITADEL.roles_in({"urn:zitadel:iam:org:project:roles": odd}) == frozenset()


def test_an_object_where_a_list_is_expected_grants_nothing() -> None:
    """Its keys are roles only where a profile says so: elsewhere they are clients, say."""
    profile = replace(LENIENT, roles=("/resource_access",), scopes=("/resource_access",))
    claims = {"resource_access": {"admin": {"roles": ["a"]}}}
    assert (profile.roles_in(claims), profile.scopes_in(claims)) == (frozenset(), frozenset())


async def test_auth0_with_roles_under_a_name_of_ones_own() -> None:
    """Auth0 adds claims under URLs alone: such a name is one, with its dots and slashes."""
    name = "https://shop.example/roles"
    profile = replace(AUTH0, roles=(name,))
    caller = await read({**AUTH0_TOKEN, name: ["clerk"]}, profile, "https://api.shop.example")
    assert caller.roles == {"clerk"}


def test_a_keycloak_client_may_have_any_name() -> None:
    """A client that is named by a URL is one, and not a way through others."""
    claims = {"resource_access": {"https://a~b.example": {"roles": ["clerk"]}}}
    assert keycloak("https://a~b.example").roles_in(claims) == {"clerk"}


def test_what_is_kept_of_a_token_has_a_bound() -> None:
    """A token with more scopes or roles than anybody has is refused, and not cut."""
    named = [f"{number:x}" for number in range(1001)]
    for kind, found in (("scopes", LENIENT.scopes_in), ("roles", LENIENT.roles_in)):
        name = kind.replace("scopes", "scope")
        assert len(found({name: named[:1000]})) == 1000
        with pytest.raises(NotGenuine) as caught:
            found({name: named})
        assert caught.value.code == "token.claim_invalid"
        assert caught.value.found == f"1001 {kind}"


@pytest.mark.parametrize(
    "said",
    [
        {"client_id": ..., "azp": "shop-web"},
        {"client_id": "shop-web"},
        {"client_id": "shop-web", "azp": "another"},
    ],
    ids=str,
)
async def test_a_client_that_is_listed_may_come(said: dict[str, Any]) -> None:
    """Whichever claim names it: what the profile takes for the client counts."""
    raw = Signer().sign(payload(**said))
    caller = (await authenticate(raw, clients=["shop-web", "cli"])).caller
    assert caller.client == "shop-web"


@pytest.mark.parametrize(
    "said",
    [
        {"client_id": "another"},
        {"client_id": "another", "azp": "shop-web"},
        {"client_id": None, "azp": "shop-web"},
        {"client_id": ["shop-web"]},
        {"client_id": "Shop-Web"},
        {"client_id": "shop-web "},
        {"client_id": ""},
        {"client_id": ...},
    ],
    ids=str,
)
async def test_a_client_that_is_not_listed_is_refused(said: dict[str, Any]) -> None:
    """Its issuer's other clients, and tokens that do not name one as text."""
    raw = Signer().sign(payload(**said))
    assert (await refusal(raw, clients=["shop-web", "cli"])).code == "token.client"
    assert (await refusal(raw, clients="shop-web")).code == "token.client"


@pytest.mark.parametrize("clients", [[], "", [""], ["a", ""]], ids=str)
def test_a_list_of_no_clients_is_refused(clients: Any) -> None:
    """None at all would be refused one by one; all of them are taken where nothing is said."""
    with pytest.raises(ConfigurationError, match="expected identifiers of clients"):
        verifier(clients=clients)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ({"org": {"id": "shop"}}, None),
        ({"org": {"id": "another"}}, "token.claim_invalid"),
        ({"org": {"id": ["shop"]}}, "token.claim_invalid"),
        ({"org": {}}, "token.claim_missing"),
        ({"org": "shop"}, "token.claim_missing"),
        ({"/org/id": "shop"}, "token.claim_missing"),
        ({}, "token.claim_missing"),
    ],
    ids=str,
)
async def test_what_must_hold_may_be_inside(inside: dict[str, Any], expected: str | None) -> None:
    """Required and equal are places, as scopes and roles are."""
    own = replace(LENIENT, required=("sub", "/org/id"), equals=(("/org/id", "shop"),))
    raw = Signer().sign(payload(**inside))
    if expected is None:
        assert (await authenticate(raw, profile=own)).caller.subject == "alice"
    else:
        assert (await refusal(raw, profile=own)).code == expected
