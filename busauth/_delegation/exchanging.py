"""What is asked of who gives a token for a token, and what comes back (RFC 8693)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from busauth._arguments import scope_names
from busauth._tokens.profiles.profile import TXN_JWT, VOUCHER_JWT
from busauth.caller import Caller, Subject
from busauth.errors import ConfigurationError

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 -- a name
JWT = "urn:ietf:params:oauth:token-type:jwt"
TXN_TOKEN = "urn:ietf:params:oauth:token-type:txn_token"  # noqa: S105 -- a name
VOUCHER = "urn:busauth:params:oauth:token-type:voucher"
"""A token for later: nobody's access token, and good for an exchange by whom it names alone."""

VOUCHER_TYP, TXN_TYP = (each.removeprefix("application/") for each in (VOUCHER_JWT, TXN_JWT))
"""`typ` in the headers of such JWTs; access tokens have another."""

EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRequest:
    """What is asked for, next to the subject (RFC 8693, section 2.1).

    Attributes:
        audience: whom the new token is for, each by its name.
        resource: the same, by absolute URIs (RFC 8707).
        scopes: what it may allow at most; None for what the subject's allows.
        token_type: the `requested_token_type`.
    """

    audience: frozenset[str] = frozenset()
    resource: frozenset[str] = frozenset()
    scopes: frozenset[str] | None = None
    token_type: str = ACCESS_TOKEN

    @classmethod
    def of(
        cls,
        audience: str | Iterable[str] = (),
        *,
        resource: str | Iterable[str] = (),
        scopes: str | Iterable[str] | None = None,
        token_type: str = ACCESS_TOKEN,
    ) -> "ExchangeRequest":
        """Return a request; a lone string is one name, not its letters.

        Raises:
            ConfigurationError: for nobody; with no scopes at all, for which there is no word; or a
                scope has a name that none can have.
        """
        request = cls(
            audience=_names(audience),
            resource=_names(resource),
            scopes=None if scopes is None else asked_scopes(scopes),
            token_type=token_type,
        )
        named = request.audience | request.resource
        if not named or "" in named:
            raise ConfigurationError(
                f"audience={sorted(named)}: expected whom the new token is for, such as 'payments'"
            )
        return request


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A token that was had for another one, and held to what was asked for.

    Attributes:
        caller: whose it is, and what it allows: proven of this token.
        token: raw.
        token_type: the `issued_token_type`.
    """

    caller: Caller
    token: str = field(repr=False)
    token_type: str = ACCESS_TOKEN


class Exchanger(Protocol):
    """Gives a token for a token: an authorization server's client."""

    @property
    def issuer(self) -> str:
        """Return whose tokens it gives."""
        ...

    async def exchange(self, subject: Subject, request: ExchangeRequest) -> Exchanged:
        """Return a token for the subject's, held to what was asked for.

        Nobody asks here whether the subject was revoked: who exchanges has done so.

        Raises:
            Refused: ``exchange.…``: the server says no, or has given what was not asked for.
            Deferred: there is no answer to be had now.
        """
        ...


class OnwardToken(Protocol):
    """Says which token goes on, in place of the one in hand."""

    async def token_for(self, subject: Subject) -> str:
        """Return a raw token for the next service.

        Raises:
            CallerError, Refused, Deferred: there is none.
        """
        ...


def asked_scopes(scopes: str | Iterable[str]) -> frozenset[str]:
    """Return the scopes that a token is asked for with.

    Raises:
        ConfigurationError: there are none, or one has a name that none can have.
    """
    names = scope_names("scopes", scopes)
    if not names:  # an empty `scope` is a missing one (RFC 6749, section 3.2): all there is
        raise ConfigurationError(
            "scopes=(): no server can be asked for a token without scopes: expected one that means "
            "little there, or None for those that the subject's token allows"
        )
    return names


def _names(given: str | Iterable[str]) -> frozenset[str]:
    return frozenset((given,) if isinstance(given, str) else given)
