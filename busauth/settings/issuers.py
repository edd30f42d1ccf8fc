"""What an operator says about an issuer."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from busauth._arguments import Seconds
from busauth._files.keys import read_secret
from busauth._knobs import Knobs
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.keys.key import ASYMMETRIC, allow_list
from busauth._tokens.keys.retired import RetiredKeys
from busauth._tokens.profiles.places import check_place
from busauth._tokens.profiles.profile import Profile, media_type
from busauth._tokens.profiles.providers import keycloak, profile_of
from busauth._tokens.profiles.tenants import tenant_names
from busauth._tokens.verifier import LEEWAY, Leeway, Verifier
from busauth.clock import Clock
from busauth.errors import ConfigurationError
from busauth.settings.places import at


def _bare(name: str) -> str:
    """Refuse what a shell, an env file or a list has left around a name; none has any of it."""
    if name != name.strip():
        raise ConfigurationError("has blanks around it: expected the name alone")
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        raise ConfigurationError(
            "has quotes around it: expected the name alone, as env files keep them"
        )
    return name


def _one(name: str) -> str:
    if "," in name:
        several = json.dumps([part.strip() for part in name.split(",")])
        raise ConfigurationError(f"has a comma: expected one name, or several as a list, {several}")
    return name


def _places(given: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(check_place(each) for each in ((given,) if isinstance(given, str) else given))


def _as_text(audience: object) -> object:
    """Some providers' audiences are made of digits, which JSON in a variable reads as a number."""
    return str(audience) if type(audience) is int else audience


Algorithms = Annotated[tuple[str, ...], AfterValidator(allow_list)]
Name = Annotated[str, AfterValidator(_bare)]
_One = Annotated[Name, AfterValidator(_one)]
Audience = Annotated[_One | tuple[Name, ...], BeforeValidator(_as_text)]
"""Whom tokens are for: a comma in text is a list, written otherwise; in a list it is none."""
TenantNames = Annotated[_One | tuple[Name, ...], AfterValidator(tenant_names)]
Place = Annotated[Name, AfterValidator(check_place)]
Places = Annotated[_One | tuple[Name, ...], AfterValidator(_places)]
"""Where in the claims something is, one or several."""


class Table(Knobs):
    """A table of the settings file."""

    holds_paths: ClassVar = True


class RetiredSettings(Table):
    """Keys that an issuer removed; see `RetiredKeys`.

    Attributes:
        keep_for: seconds.
        sources: whose word for a published instant counts.
        file: where the memory survives a restart; one for each process.
        file_key_file: the secret that authenticates that file.
    """

    keep_for: Seconds
    sources: tuple[str, ...]
    file: Path | None = None
    file_key_file: Path | None = None

    def keys(self) -> RetiredKeys:
        """Return the memory.

        Raises:
            ConfigurationError: no span, nobody's word, or a file without a key.
        """
        with at("file_key_file"):
            key = None if self.file_key_file is None else read_secret(self.file_key_file)
        return RetiredKeys(
            keep_for=self.keep_for, sources=self.sources, file=self.file, file_key=key
        )


class ClaimSettings(Table):
    """Where an issuer's tokens have what is looked for; see `Profile`.

    Where something is, replaces what the profile says; what must hold, holds next to it. A place is
    a claim's name, or a JSON Pointer such as ``/realm_access/roles``.

    Attributes:
        scopes, roles, role_keys, client: places, the profile's by default.
        required: places where something must be.
        equals: values, by the places where they must be.
        absent: places where something gives another kind of token away.
    """

    scopes: Places | None = None
    roles: Places | None = None
    role_keys: Places | None = None
    client: Places | None = None
    required: tuple[Place, ...] = ()
    equals: Mapping[Place, str] = Field(default_factory=dict)
    absent: tuple[Place, ...] = ()

    def on(self, profile: Profile) -> Profile:
        """Return a profile with these places in it, and these demands beside its own."""
        places = {"scopes", "roles", "role_keys", "client"}
        said = self.model_dump(include=places, exclude_none=True)
        return replace(
            profile,
            **said,
            required=(*profile.required, *self.required),
            equals=(*profile.equals, *self.equals.items()),
            absent=(*profile.absent, *self.absent),
        )


ProfileName = Literal[
    "lenient", "at+jwt", "auth0", "cognito", "entra", "keycloak", "okta", "transaction", "zitadel"
]


class IssuerTable(Table):
    """What may be said about an issuer next to its name.

    Attributes:
        types: values of `typ` that are taken instead of the profile's, "none" for a missing one.
        claims: what differs from the profile.
        clients: the OAuth clients whose tokens are taken; all of them by default.
        tenants: with a template as issuer, whose tokens are taken; "any" for everybody's.
        leeway: seconds of clock skew tolerated.
        jwks_url: where its keys are; default: found by discovery.
        keycloak_client: with the profile "keycloak", whose client roles count.
        retired: keys that it removed count for what was published before.
        distrusted: `kid` or RFC 7638 thumbprint of keys that count no more, whoever lists them.
    """

    algorithms: Algorithms = ASYMMETRIC
    profile: ProfileName = "lenient"
    types: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    claims: ClaimSettings = ClaimSettings()
    clients: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    tenants: TenantNames | None = None
    leeway: Leeway = LEEWAY
    jwks_url: Name | None = None
    keycloak_client: Name | None = None
    retired: RetiredSettings | None = None
    distrusted: tuple[Name, ...] = ()

    @field_validator("keycloak_client")
    @classmethod
    def _counts(cls, client: str | None, info: ValidationInfo) -> str | None:
        """Refuse a client whose roles nobody would look at."""
        if client is not None and info.data.get("profile", "keycloak") != "keycloak":
            raise ConfigurationError('counts with profile = "keycloak" only: say that, too')
        return client


class IssuerSettings(IssuerTable):
    """One issuer whose tokens are accepted; see `Verifier`."""

    issuer: Name = Field(min_length=1)
    audience: Audience = Field(min_length=1)

    def verifier(self, fetcher: Fetcher, clock: Clock) -> Verifier:
        """Return the verifier of this issuer.

        Raises:
            ConfigurationError: an algorithm is unknown, or a URL may not be asked.
        """
        with at("retired"):
            retired = None if self.retired is None else self.retired.keys()
        common: dict[str, Any] = {
            "algorithms": self.algorithms,
            "fetcher": fetcher,
            "clock": clock,
            "retired": retired,
            "distrusted": self.distrusted,
        }
        url = self.jwks_url
        if url is None and self.tenants is not None:
            raise ConfigurationError(
                "tenants: expected a jwks_url, as a template has no metadata: "
                '"https://login.microsoftonline.com/common/discovery/v2.0/keys", say'
            )
        return Verifier(
            JWKS(url, **common) if url else JWKS.discover(self.issuer, **common),
            issuer=self.issuer,
            audience=self.audience,
            algorithms=self.algorithms,
            profile=self._profile(),
            clients=self.clients,
            tenants=self.tenants,
            leeway=self.leeway,
        )

    def _profile(self) -> Profile:
        client = self.keycloak_client if self.profile == "keycloak" else None
        profile = self.claims.on(keycloak(client) if client else profile_of(self.profile))
        if self.types is None:
            return profile
        types = frozenset(None if each == "none" else media_type(each) for each in self.types)
        return replace(profile, types=types)
