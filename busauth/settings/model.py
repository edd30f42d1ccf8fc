"""Everything that an operator can say, from a file and from the environment.

What the environment says counts above what the file says. The names are those of the arguments that
they become:

```toml
issuer = "https://idp.example"
audience = "shop"
on_expired = [{ policy = "grace", minutes = 10 }, { policy = "discard" }]

[guard]
concurrency = 20

[consumers."orders.placed"]
on_expired = { policy = "dead-letter" }
```

    [bus]
    url = "amqps://orders@rabbit.example/"

In the environment the same are ``BUSAUTH_ISSUER``, ``BUSAUTH_GUARD__CONCURRENCY``,
``BUSAUTH_ON_EXPIRED='{"policy": "grace", "minutes": 10}'`` and
``BUSAUTH_CONSUMERS='{"orders.placed": {"concurrency": 5}}'``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from busauth._amqp.bus import Bus
from busauth._amqp.feed import RevocationFeed
from busauth._amqp.guard import Guard
from busauth._amqp.options import BusOptions, ConsumerOptions, GuardOptions
from busauth._amqp.publishing.onwards import Declared
from busauth._expiry import DeadLetter, DeclaredPolicies
from busauth._messages.replay import ReplayMemory
from busauth._revocation.revocations import Revocations
from busauth._sinks.together import every
from busauth._tokens.fetch import Fetcher, UnsafeHttp
from busauth.audit import Auditor, Sink, log_event
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, Transient
from busauth.settings.audit import AuditSettings
from busauth.settings.bus import BusSettings
from busauth.settings.console import ConsoleSettings
from busauth.settings.issuers import Audience, IssuerSettings, IssuerTable, Name
from busauth.settings.messages import LetterSettings, MessageSettings
from busauth.settings.places import PREFIX, Gathering, MisplacedError, Place, at, told
from busauth.settings.variables import Variables

_WHOLE = frozenset({"on_expired", "seal", "encryption"})
"""What the environment replaces as a whole: two halves make no policy, and a seal has an order."""

_OF_WHOM = frozenset({*IssuerSettings.model_fields, "issuers", "unsafe_http"})
"""What tells whom to trust; the rest may hold a service's keys."""


class Settings(IssuerTable, BaseSettings):
    """Everything that an operator can say about a guard, and about the bus that it stands in.

    Attributes:
        issuer, audience, and what `IssuerSettings` has: the issuer.
        issuers: further issuers, each a table of the same.
        on_expired: one expiry policy, or several in order.
        letters: what letters keep, so that they can be sent again; see `LetterSettings`.
        messages: proofs, seals, replay and encryption; see `MessageSettings`.
        guard: see `GuardOptions`.
        consumers: what is said about single consumers, by queue; counts above their decorators.
        bus: the broker, and how a service consumes; see `BusSettings`.
        console: who may look at a `busauth console`; see `ConsoleSettings`.
        audit: where events are kept; see `AuditSettings`.
        unsafe_http: hosts that may be asked for keys over plain http.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")

    issuer: Name | None = None
    audience: Audience | None = None
    issuers: tuple[IssuerSettings, ...] = ()
    on_expired: DeclaredPolicies = DeadLetter()
    letters: LetterSettings = LetterSettings()
    messages: MessageSettings = MessageSettings()
    guard: GuardOptions = GuardOptions()
    consumers: Mapping[str, ConsumerOptions] = Field(default_factory=dict)
    bus: BusSettings = BusSettings()
    console: ConsoleSettings = ConsoleSettings()
    audit: AuditSettings = AuditSettings()
    unsafe_http: tuple[Name, ...] = ()

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
        variables = Variables(settings_cls)
        file = _without_overruled(init_settings(), variables())
        return variables, InitSettingsSource(settings_cls, file)

    def make_guard(
        self,
        *,
        clock: Clock | None = None,
        auditor: Auditor = log_event,
        revocations: Revocations | None = None,
        replay: ReplayMemory | None = None,
        transient: Transient = (),
    ) -> Guard:
        """Return the guard that these settings describe.

        Args:
            clock: the machine's by default.
            auditor: hears of every decision, next to the sinks of ``[audit]``.
            revocations: a feed, which has a connection of its own and so is made in code.
            replay: a memory that workers share, likewise; counts above the settings.
            transient: see `GuardOptions.transient`; kinds of errors cannot stand in a file.

        Raises:
            ConfigurationError: there is no issuer, or a key's file cannot be used: a line for each;
                or the parts do not go together.
        """
        with self._placed():
            guard = self._guard(clock or SystemClock(), auditor, revocations, replay, transient)
        self._follow(guard)
        return guard

    def make_bus(
        self,
        service: str,
        *,
        guard: Guard | None = None,
        options: BusOptions | None = None,
        onward: Declared | None = None,
    ) -> Bus:
        """Return the bus that these settings describe, without its consumers.

        Args:
            service: its name, shown by the broker's management.
            guard: one of `make_guard` with parts that are made in code; default: without them.
            options: what counts where nothing is said in ``[bus]``.
            onward: where callers' tokens go, and as what; see `Bus`.

        Raises:
            ConfigurationError: no broker is named, or its password's file cannot be read; and as of
                `make_guard`.
        """
        guard = guard or self.make_guard()
        with self._placed("bus"):
            url, said = self.bus.address(), self.bus.options(options or BusOptions())
        return Bus(url, guard=guard, service=service, options=said, onward=onward)

    def make_console_guard(self, url: str) -> tuple[Guard, RevocationFeed | None]:
        """Return who verifies whoever looks at a console, and the feed that the guard asks.

        It trusts the issuers for the console's own audience, and has no key but public ones: no
        seal, no signer, nothing that opens a token.

        Args:
            url: the broker, where the feed is.

        Raises:
            ConfigurationError: as of `make_guard`.
        """
        whose = {"audience": self.console.audience, "clients": self.console.clients}
        issuers = tuple(each.model_copy(update={**whose, "retired": None}) for each in self.issuers)
        # of everything else, of later versions' tables too, the defaults: no key is among them
        usual = {
            name: each.get_default(call_default_factory=True)
            for name, each in type(self).model_fields.items()
            if name not in _OF_WHOM
        }
        needed: dict[str, Any] = {**usual, **whose, "retired": None, "issuers": issuers}
        feed = None
        if self.console.feed is not None:
            with self._placed("console", "feed"):
                fetcher = Fetcher(unsafe_http=UnsafeHttp(*self.unsafe_http))
                feed = self.console.feed.feed(url, fetcher, SystemClock())
        return self.model_copy(update=needed).make_guard(revocations=feed), feed

    @contextmanager
    def _placed(self, *place: str) -> Iterator[None]:
        """Tell what is wrong inside with where it stands."""
        try:
            with at(*place):
                yield
        except MisplacedError as error:
            sentences = (self._told(place, why) for place, why in error.wrong)
            raise ConfigurationError("\n".join(sentences)) from None

    def _guard(
        self,
        clock: Clock,
        auditor: Auditor,
        revocations: Revocations | None,
        replay: ReplayMemory | None,
        transient: Transient,
    ) -> Guard:
        fetcher = Fetcher(unsafe_http=UnsafeHttp(*self.unsafe_http))
        verifiers, gathering = [], Gathering()
        for place, issuer in self._all_issuers():
            with gathering.at(*place):
                verifiers.append(issuer.verifier(fetcher, clock))
        with gathering.at("messages"):
            security = self.messages.security(fetcher, clock, replay)
        with gathering.at("letters"):
            letters = self.letters.letters()
        options = self.guard_options
        consumers = dict(options.consumers)
        for queue, each in options.consumers.items():
            with gathering.at("consumers", queue, "on_redrive"):
                consumers[queue] = _located(each, fetcher, clock)
        sinks: tuple[Sink, ...] = ()
        with gathering.at("bus"):
            sinks = self.audit.sinks(self.bus.address() if self.audit.stream else None)
        gathering.check()
        said = {**dict(options), "consumers": consumers, "transient": transient}
        return Guard(
            *verifiers,
            on_expired=self.on_expired,
            revocations=revocations,
            messages=security,
            letters=letters,
            options=GuardOptions(**said),
            clock=clock,
            auditor=every(auditor, *sinks, logs=auditor is log_event) if sinks else auditor,
        )

    @property
    def guard_options(self) -> GuardOptions:
        """Return what is said in ``[guard]`` and in ``[consumers]``, which counts above."""
        merged = {**self.guard.consumers, **self.consumers}
        return GuardOptions(**{**dict(self.guard), "consumers": merged})

    def _follow(self, guard: Guard) -> None:
        """Have a guard's shadows follow the file; where that is, only who read it knows."""

    def _told(self, place: Place, why: str) -> str:
        """Return a sentence with its place; where that stands, only who read it knows."""
        return told(place, why)

    def _no_file(self) -> str:
        """Say that no file was read, where somebody may believe that one was."""
        return ""

    def _all_issuers(self) -> list[tuple[Place, IssuerSettings]]:
        further: list[tuple[Place, IssuerSettings]] = [
            (("issuers", str(index)), each) for index, each in enumerate(self.issuers)
        ]
        if not self.issuer and not self.issuers:
            raise ConfigurationError(
                f"issuer = {self.issuer!r}: expected the exact `iss` of your identity provider "
                f"(issuer in the settings file, or BUSAUTH_ISSUER){self._no_file()}"
            )
        if not self.issuer:
            return further
        if not self.audience:
            raise ConfigurationError(
                f"audience = {self.audience!r}: expected whom tokens must be for, such as 'shop' "
                "(audience in the settings file, or BUSAUTH_AUDIENCE)"
            )
        names = IssuerSettings.model_fields.keys()
        first = IssuerSettings(**{name: getattr(self, name) for name in names})
        return [((), first), *further]


def _located(said: ConsumerOptions, fetcher: Fetcher, clock: Clock) -> ConsumerOptions:
    """Return what is said of a consumer, with the keys of the desks that it trusts."""
    if said.on_redrive is None:
        return said
    return said.model_copy(update={"on_redrive": said.on_redrive.fetching(fetcher, clock)})


def _without_overruled(
    file: dict[str, Any], environment: Mapping[str, Any], *, are_queues: bool = False
) -> dict[str, Any]:
    """Leave out of the file what the environment says as a whole; queues may have any name."""
    found = {}
    for name, value in file.items():
        above = environment.get(name)
        if name in _WHOLE and name in environment and not are_queues:
            continue
        if isinstance(value, dict) and isinstance(above, dict):
            nested = name == "consumers" and not are_queues
            found[name] = _without_overruled(value, above, are_queues=nested)
        else:
            found[name] = value
    return found
