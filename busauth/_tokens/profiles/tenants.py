"""Issuers of many tenants: a template, and the tenants that may stand in it.

Microsoft Entra ID signs for all of its tenants with the same keys, so that neither a signature nor
the beginning of `iss` says whose a token is. Three things have to agree to the letter: `iss` is the
template with the tenant in its place, `tid` is that tenant, and the key is not another tenant's
(its JWK may have a member `issuer`, which is such a template, or one tenant's issuer).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from busauth._tokens.keys.key import Key
from busauth.errors import ConfigurationError, NotGenuine

ANY = "any"
"""Said instead of tenants, where everybody may come who has one."""

_PLACEHOLDER = "{tenantid}"
_TENANT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LENGTH = 36  # characters of an identifier
_NOBODYS = "00000000-0000-0000-0000-000000000000"
_CLAIM = "tid"


@dataclass(frozen=True, slots=True)
class Tenants:
    """Whose tokens a template of issuers stands for.

    Attributes:
        template: the issuer, with ``{tenantid}`` where the tenant is.
        accepted: the tenants, None for any.
    """

    template: str
    accepted: frozenset[str] | None

    @property
    def named(self) -> tuple[str, ...]:
        """Return them as they were given."""
        return (ANY,) if self.accepted is None else tuple(sorted(self.accepted))

    @property
    def one(self) -> str:
        """Return the issuer of one of them, for tests; where any may come, of nobody's."""
        return self._issuer(_NOBODYS if self.accepted is None else min(self.accepted))

    def tenant_of(self, issuer: object) -> str | None:
        """Return the tenant of an issuer that is the template with an accepted one in it."""
        start = self.template.index(_PLACEHOLDER)
        tenant = issuer[start : start + _LENGTH] if isinstance(issuer, str) else ""
        if not _TENANT.fullmatch(tenant) or self._issuer(tenant) != issuer:
            return None
        return tenant if self.accepted is None or tenant in self.accepted else None

    def issuer_in(self, claims: Mapping[str, Any], key: Key) -> str:
        """Return the issuer of claims whose signature holds, one tenant's.

        Args:
            claims: the payload.
            key: which key signed.

        Raises:
            NotGenuine: ``token.issuer`` for none of them; ``token.claim_missing`` and
                ``token.claim_invalid`` for a `tid` that is another one; ``token.signature`` for a
                key of another one.
        """
        tenant = self.tenant_of(issuer := claims.get("iss"))
        if tenant is None:
            raise NotGenuine("token.issuer", found=issuer, expected=str(self))
        if _CLAIM not in claims:
            raise NotGenuine("token.claim_missing", found=f"no {_CLAIM}", expected=_CLAIM)
        if claims[_CLAIM] != tenant:
            found = (
                f"tid={claims[_CLAIM]!r}" if isinstance(claims[_CLAIM], str) else "no text in tid"
            )
            expected = f"tid={tenant!r}, the tenant in iss"
            raise NotGenuine("token.claim_invalid", found=found, expected=expected)
        if key.issuer not in (None, self.template, issuer):
            found = f"the signature of a key of {key.issuer}"
            raise NotGenuine("token.signature", found=found, expected="the issuer's")
        return self._issuer(tenant)

    def _issuer(self, tenant: str) -> str:
        return self.template.replace(_PLACEHOLDER, tenant)

    def __str__(self) -> str:
        whose = "any tenant" if self.accepted is None else "a tenant that is listed"
        return f"{self.template} of {whose}"


def tenants_of(issuer: str, given: str | Iterable[str] | None) -> Tenants | None:
    """Return whose tokens an issuer stands for, None for those of one issuer.

    Raises:
        ConfigurationError: a template without tenants, tenants without a template, or a tenant
            whose name is no identifier.
    """
    if given is None and "{" not in issuer and "}" not in issuer:
        return None
    if given is None:
        raise ConfigurationError(
            f"issuer={issuer!r} is a template: expected the tenants that you serve, "
            f"tenants=[...], or tenants={ANY!r} where everybody may come who has one"
        )
    around = issuer.split(_PLACEHOLDER)
    if len(around) != 2 or "{" in (rest := "".join(around)) or "}" in rest:  # noqa: PLR2004
        raise ConfigurationError(
            f"issuer={issuer!r} with tenants: expected a template with {_PLACEHOLDER} in it, once, "
            f"such as 'https://login.microsoftonline.com/{_PLACEHOLDER}/v2.0'"
        )
    named = tenant_names(given)
    return Tenants(issuer, None if named == (ANY,) else frozenset(named))


def tenant_names(given: str | Iterable[str]) -> tuple[str, ...]:
    """Return tenants by their identifiers, or `ANY` alone.

    Raises:
        ConfigurationError: there is none, or one is no identifier: a domain, say, which `tid` never
            is.
    """
    names = (given,) if isinstance(given, str) else tuple(given)
    if names == (ANY,):
        return names
    odd = [name for name in names if not _TENANT.fullmatch(name)]
    if odd or not names:
        raise ConfigurationError(
            f"tenants={odd or list(names)}: expected tenants' identifiers in lower case, such as "
            f"'72f988bf-86f1-41af-91ab-2d7cd011db47', or {ANY!r} alone"
        )
    return names
