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

from busauth._arguments import checked_class
from busauth._tokens.compact import split
from busauth._tokens.profiles.places import MISSING, check_place, keys_of, value_at
from busauth.errors import ConfigurationError, NotGenuine

Kinds = tuple[tuple[str, frozenset[str]], ...]
"""Claims that name a token's kind, and the kinds that are meant, in lower case."""

AT_JWT = "application/at+jwt"
TXN_JWT = "application/txntoken+jwt"
VOUCHER_JWT = "application/voucher+jwt"
IN_TRANSACTIONS = frozenset({"iat", "aud", "txn", "sub", "scope", "req_wl"})
"""What a transaction token must have."""

_MOST = 1000
"""Scopes, or roles, of one token: what is kept of each has a bound."""

_OTHER_KINDS: Kinds = (
    ("typ", frozenset({"id", "serialized-id", "refresh", "offline", "logout"})),  # Keycloak
    ("token_use", frozenset({"id", "refresh"})),  # Cognito
)


@checked_class
@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of access token.

    Where something is, is a claim's name, or a JSON Pointer such as ``/realm_access/roles``; see
    `places`. What is of another shape than expected there is no right: it is never guessed at.

    Attributes:
        name: for messages.
        types: accepted values of `typ`, as full media types in lower case; None where a missing
            `typ` is accepted.
        required: places where something must be, next to `exp` and `iss` which always must.
        audience: the claim that names whom the token is for.
        equals: places where exactly this value must be.
        absent: places where something gives another kind of token away, whatever it is.
        others: claims that do so by what they say.
        scopes: where scopes are; a string is split at spaces (RFC 6749, section 3.3), a list is
            taken as it is.
        roles: where roles are; a string is one role, a list is taken as it is.
        role_keys: where an object is whose keys are roles; one counts if it holds an object that is
            not empty, or true.
        client: where the client's identifier is; the first that is there counts.
        clients: the clients whose tokens are taken; None for all.

    Raises:
        ConfigurationError: a place leads nowhere, or the clients are none; or it takes transaction
            tokens among others, or without what they must have.
    """

    name: str
    types: frozenset[str | None]
    required: tuple[str, ...] = ("sub", "aud")
    audience: str = "aud"
    equals: tuple[tuple[str, str], ...] = ()
    absent: tuple[str, ...] = ("at_hash", "c_hash", "s_hash", "events")
    others: Kinds = _OTHER_KINDS
    scopes: tuple[str, ...] = ("scope", "scp")
    roles: tuple[str, ...] = ("roles",)
    role_keys: tuple[str, ...] = ()
    client: tuple[str, ...] = ("client_id", "azp", "appid")
    clients: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """Check what would otherwise be found missing in each token."""
        values = (name for name, _ in self.equals)
        searched = (*self.scopes, *self.roles, *self.role_keys, *self.client)
        for place in (*self.required, *values, *self.absent, *searched):
            check_place(place)
        if self.clients is not None and (not self.clients or "" in self.clients):
            raise ConfigurationError(
                f"clients={sorted(self.clients)}: expected identifiers of clients, none empty"
            )
        if TXN_JWT in self.types and len(self.types) > 1:
            raise ConfigurationError(
                f"types with {TXN_JWT} and others: expected a profile for each, as a transaction "
                "token is no access token"
            )
        lacking = sorted(IN_TRANSACTIONS.difference(self.required))
        if self.is_transaction and (lacking or self.audience != "aud"):
            raise ConfigurationError(
                f"a profile of transaction tokens without {', '.join(lacking) or 'aud'}: expected "
                "all that those must have, as in replace(TRANSACTION, ...)"
            )

    @property
    def is_transaction(self) -> bool:
        """Return whether its tokens are transaction tokens, which no other profile takes."""
        return TXN_JWT in self.types

    @property
    def scope_claims(self) -> frozenset[str]:
        """Return the claims in which scopes are, or inside of which."""
        return frozenset(keys_of(place)[0] for place in self.scopes)

    def scopes_in(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Return the scopes of a payload; what is not text is left out.

        Raises:
            NotGenuine: ``token.claim_invalid``: there are too many.
        """
        return _bounded("scopes", _names(claims, self.scopes, lambda scopes: scopes.split(" ")))

    def roles_in(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Return the roles of a payload; what is not text is left out.

        Raises:
            NotGenuine: ``token.claim_invalid``: there are too many.
        """
        named = _names(claims, self.roles, lambda role: [role])
        return _bounded("roles", named | _keys(claims, self.role_keys))

    def client_in(self, claims: Mapping[str, Any]) -> str | None:
        """Return the client that the token was issued to, if it says; what is no text is none."""
        found = (value_at(claims, place) for place in self.client)
        value = next((value for value in found if value is not MISSING), None)
        return value if isinstance(value, str) else None


def media_type(typ: Any) -> str | None:
    """Return `typ` as a full media type in lower case (RFC 7515, section 4.1.9)."""
    if not isinstance(typ, str):
        return None
    lowered = typ.lower()
    return lowered if "/" in lowered else f"application/{lowered}"


def media_type_of(token: str) -> str | None:
    """Return the type that a token says it is of, None where it is no JWS or says none.

    It proves nothing.
    """
    try:
        return media_type(split(token, max_bytes=len(token)).header.get("typ"))
    except NotGenuine:
        return None


def _names(
    claims: Mapping[str, Any], places: tuple[str, ...], parts: Callable[[str], list[str]]
) -> set[str]:
    found: set[str] = set()
    for place in places:
        value = value_at(claims, place)
        if isinstance(value, str):
            found.update(parts(value))
        elif isinstance(value, (list, tuple)):
            found.update(item for item in value if isinstance(item, str))
    return found


def _keys(claims: Mapping[str, Any], places: tuple[str, ...]) -> set[str]:
    objects = (value_at(claims, place) for place in places)
    return {
        key
        for value in objects
        if isinstance(value, Mapping)
        for key, held in value.items()
        if held is True or (isinstance(held, Mapping) and held)  # false and null take it away
    }


def _bounded(what: str, names: set[str]) -> frozenset[str]:
    names.discard("")  # two spaces in a row name nothing
    if len(names) > _MOST:
        found, expected = f"{len(names)} {what}", f"{_MOST} at most"
        raise NotGenuine("token.claim_invalid", found=found, expected=expected)
    return frozenset(names)
