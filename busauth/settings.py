"""Settings from a TOML file and from environment variables, as the objects that code would make.

What the environment says counts above what the file says. Errors name where a value came from, its
key, the value and what was expected. The names are those of the arguments that they become::

    issuer = "https://idp.example"
    audience = "shop"
    on_expired = [{ policy = "grace", minutes = 10 }, { policy = "discard" }]

    [guard]
    concurrency = 20

    [consumers."orders.placed"]
    on_expired = { policy = "dead-letter" }

In the environment the same are ``BUSAUTH_ISSUER``, ``BUSAUTH_GUARD__CONCURRENCY``,
``BUSAUTH_ON_EXPIRED='{"policy": "grace", "minutes": 10}'`` and
``BUSAUTH_CONSUMERS='{"orders.placed": {"concurrency": 5}}'``.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError

from busauth.amqp.guard import Guard
from busauth.amqp.options import ConsumerOptions, GuardOptions
from busauth.audit import LOGGER, Auditor, log_event
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, evidence
from busauth.late.expiry import DeadLetter, DeclaredPolicies
from busauth.tokens.fetch import Fetcher, UnsafeHttp
from busauth.tokens.jwks import JWKS
from busauth.tokens.keys import ASYMMETRIC, allow_list
from busauth.tokens.providers import AUTH0, COGNITO, ENTRA, LENIENT, RFC9068, Profile, keycloak
from busauth.tokens.verifier import Verifier

_PREFIX = "BUSAUTH_"
_OF_COMMANDS = frozenset({"amqp_url", "event_key", "transmitter", "feed_audience"})
"""What commands and tests read from the environment, and no guard does."""
_POLICY = "on_expired"
_TAGS = frozenset({"str", "grace", "restrict", "dead-letter", "discard"})
_PROFILES: Mapping[str, Profile] = {
    "lenient": LENIENT,
    "at+jwt": RFC9068,
    "auth0": AUTH0,
    "cognito": COGNITO,
    "entra": ENTRA,
}


def _as_text(audience: object) -> object:
    """Some providers' audiences are made of digits, which JSON in a variable reads as a number."""
    return str(audience) if type(audience) is int else audience


Algorithms = Annotated[tuple[str, ...], AfterValidator(allow_list)]
Audience = Annotated[str | tuple[str, ...], BeforeValidator(_as_text)]


class IssuerSettings(BaseModel):
    """One issuer whose tokens are accepted; see `Verifier`.

    Attributes:
        jwks_url: where its keys are; default: found by discovery.
        keycloak_client: with the profile "keycloak", whose client roles count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1)
    audience: str | tuple[str, ...] = Field(min_length=1)
    algorithms: Algorithms = ASYMMETRIC
    profile: Literal["lenient", "at+jwt", "auth0", "cognito", "entra", "keycloak"] = "lenient"
    leeway: float = Field(default=30.0, ge=0, le=300)
    jwks_url: str | None = None
    keycloak_client: str | None = None

    def verifier(self, fetcher: Fetcher, clock: Clock) -> Verifier:
        """Return the verifier of this issuer.

        Raises:
            ConfigurationError: an algorithm is unknown, or a URL may not be asked.
        """
        common: dict[str, Any] = {
            "algorithms": self.algorithms,
            "fetcher": fetcher,
            "clock": clock,
        }
        url = self.jwks_url
        return Verifier(
            JWKS(url, **common) if url else JWKS.discover(self.issuer, **common),
            issuer=self.issuer,
            audience=self.audience,
            algorithms=self.algorithms,
            profile=_PROFILES.get(self.profile) or keycloak(self.keycloak_client),
            leeway=self.leeway,
        )


class Settings(BaseSettings):
    """Everything that an operator can say about a guard.

    Attributes:
        issuer, audience, algorithms, profile, leeway, jwks_url, keycloak_client: the issuer; see
            `IssuerSettings`.
        issuers: further issuers, each a table of the same.
        on_expired: one expiry policy, or several in order.
        guard: see `GuardOptions`.
        consumers: what is said about single consumers, by queue; counts above their decorators.
        unsafe_http: hosts that may be asked for keys over plain http.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    issuer: str | None = None
    audience: Audience | None = None
    algorithms: Algorithms = ASYMMETRIC
    profile: Literal["lenient", "at+jwt", "auth0", "cognito", "entra", "keycloak"] = "lenient"
    leeway: float = Field(default=30.0, ge=0, le=300)
    jwks_url: str | None = None
    keycloak_client: str | None = None
    issuers: tuple[IssuerSettings, ...] = ()
    on_expired: DeclaredPolicies = DeadLetter()
    guard: GuardOptions = GuardOptions()
    consumers: Mapping[str, ConsumerOptions] = Field(default_factory=dict)
    unsafe_http: tuple[str, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment count above the file, which comes in as arguments."""
        file = _without_overruled(init_settings(), env_settings())
        return env_settings, InitSettingsSource(settings_cls, file)

    def make_guard(self, *, clock: Clock | None = None, auditor: Auditor = log_event) -> Guard:
        """Return the guard that these settings describe.

        Raises:
            ConfigurationError: there is no issuer, or the parts do not go together.
        """
        clock = clock or SystemClock()
        fetcher = Fetcher(unsafe_http=UnsafeHttp(*self.unsafe_http))
        verifiers = [issuer.verifier(fetcher, clock) for issuer in self._all_issuers()]
        merged = {**self.guard.consumers, **self.consumers}
        options = self.guard.model_copy(update={"consumers": merged})
        return Guard(
            *verifiers, on_expired=self.on_expired, options=options, clock=clock, auditor=auditor
        )

    def _all_issuers(self) -> list[IssuerSettings]:
        if not self.issuer and not self.issuers:
            raise ConfigurationError(
                f"issuer = {self.issuer!r}: expected the exact `iss` of your identity provider "
                "(issuer in the settings file, or BUSAUTH_ISSUER)"
            )
        if not self.issuer:
            return list(self.issuers)
        if not self.audience:
            raise ConfigurationError(
                f"audience = {self.audience!r}: expected whom tokens must be for, such as 'shop' "
                "(audience in the settings file, or BUSAUTH_AUDIENCE)"
            )
        names = IssuerSettings.model_fields.keys()
        first = IssuerSettings(**{name: getattr(self, name) for name in names})
        return [first, *self.issuers]


def _without_overruled(file: dict[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the file's policies where the environment has its own: two halves make no whole."""
    return {
        name: _without_overruled(value, above)
        if isinstance(value, dict) and isinstance(above := environment.get(name), dict)
        else value
        for name, value in file.items()
        if not (name == _POLICY and name in environment)
    }


def load_settings(path: str | Path | None = None) -> Settings:
    """Read settings from a TOML file, if one is given, and from ``BUSAUTH_...`` variables.

    Raises:
        ConfigurationError: a line for each problem, with file or variable, key, value and what was
            expected.
    """
    table = _read_toml(Path(path)) if path is not None else {}
    _warn_of_unknown_variables()
    try:
        return Settings(**table)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problems(error, table, path))) from None
    except SettingsError as error:
        raise ConfigurationError(_undecoded(error)) from None


def _warn_of_unknown_variables() -> None:
    """A misspelt policy is not in force; other software may own the variable, so it is no error."""
    for name in os.environ:
        first = name.upper().removeprefix(_PREFIX).partition("__")[0].lower()
        known = first in Settings.model_fields or first in _OF_COMMANDS
        if name.upper().startswith(_PREFIX) and not known:
            LOGGER.warning("environment variable %s is no setting of busauth's: ignored", name)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from None


def _problems(
    error: ValidationError, table: Mapping[str, Any], path: str | Path | None
) -> Iterator[str]:
    """Tell each problem once: of a union's members, the one that was meant."""
    problems = [(_location(each["loc"]), each) for each in error.errors(include_url=False)]
    told: set[tuple[str, ...]] = set()
    for location, problem in problems:
        deeper = any(other[: len(location)] == location != other for other, _ in problems)
        if not deeper and location not in told:
            told.add(location)
            source = _variable(location) or (str(path) if location[0] in table else "settings")
            key, value = ".".join(location), _shown(problem["input"])
            yield f"{source}: {key} = {value}: {problem['msg']}"


def _location(found: Sequence[str | int]) -> tuple[str, ...]:
    """Drop what pydantic adds to say which member of a union it tried; queues may be named so."""
    before = ("", *found)
    return tuple(
        str(part)
        for part, parent in zip(found, before, strict=False)
        if parent == "consumers" or not (part in _TAGS or "[" in str(part))
    )


def _undecoded(error: SettingsError) -> str:
    """Name the variable that holds what is not JSON."""
    text = getattr(error.__cause__, "doc", None)
    names = (name for name in os.environ if name.upper().startswith(_PREFIX))
    name = next((name for name in names if os.environ[name] == text), "")
    return f"environment variable {name} = {_shown(text)}: expected JSON: {error.__cause__}"


def _variable(location: Sequence[str]) -> str | None:
    """Return the environment variable that said it, if one did: the most specific first."""
    names = {name.upper(): name for name in os.environ}
    for length in range(len(location), 0, -1):
        candidate = _PREFIX + "__".join(location[:length]).upper()
        if candidate in names:
            return f"environment variable {names[candidate]}"
    return None


def _shown(value: object) -> str | None:
    try:
        return evidence(json.dumps(value))
    except TypeError:
        return evidence(value)
