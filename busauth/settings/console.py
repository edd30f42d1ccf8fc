"""Who may look at a console: the table `console`, in which no key stands but public ones."""

from pathlib import Path

from pydantic import Field, model_validator

from busauth._amqp.feed import FeedOptions, RevocationFeed
from busauth._arguments import Seconds
from busauth._revocation.events import Transmitter, Transmitters
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.keys.key import ASYMMETRIC
from busauth.clock import Clock
from busauth.errors import ConfigurationError
from busauth.settings.issuers import Algorithms, Audience, Name, Table
from busauth.settings.messages import static_keys
from busauth.settings.places import Gathering, at


class TransmitterSettings(Table):
    """Whose word on revocations counts; see `Transmitter`.

    Attributes:
        name: its exact `iss`.
        jwks_url: where its public keys are; or
        key_file: a JWK or a JWK set.
        issuers: whose tokens it may speak of; default: its own.
        heartbeats: whether it keeps the feed's time.
    """

    name: Name
    jwks_url: Name | None = None
    key_file: Path | None = None
    algorithms: Algorithms = ASYMMETRIC
    issuers: tuple[Name, ...] | None = None
    heartbeats: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> "TransmitterSettings":
        if (self.jwks_url is None) == (self.key_file is None):
            raise ConfigurationError("expected its keys in one place: jwks_url or key_file")
        return self

    def transmitter(self, fetcher: Fetcher, clock: Clock) -> Transmitter:
        """Return the transmitter.

        Raises:
            ConfigurationError: a key cannot be used, or a URL may not be asked.
        """
        with at("key_file" if self.key_file else "jwks_url"):
            keys = (
                static_keys(self.key_file, self.algorithms)
                if self.key_file
                else JWKS(self.jwks_url or "", algorithms=self.algorithms, fetcher=fetcher)
            )
        return Transmitter(
            self.name,
            keys,
            algorithms=self.algorithms,
            issuers=self.issuers,
            heartbeats=self.heartbeats,
        )


class ConsoleFeedSettings(FeedOptions, Table):
    """What a console knows of revocations, as `FeedOptions` has it; seconds throughout.

    Attributes:
        audience: whom events are for.
        transmitters: whose events count.
    """

    audience: Audience
    transmitters: tuple[TransmitterSettings, ...] = Field(min_length=1)

    def feed(self, url: str, fetcher: Fetcher, clock: Clock) -> RevocationFeed:
        """Return the feed.

        Raises:
            ConfigurationError: a transmitter cannot be used, or the URL could never connect.
        """
        transmitters, gathering = [], Gathering()
        for index, each in enumerate(self.transmitters):
            with gathering.at("transmitters", str(index)):
                transmitters.append(each.transmitter(fetcher, clock))
        gathering.check()
        said = {name: getattr(self, name) for name in FeedOptions.model_fields}
        return RevocationFeed(
            url,
            Transmitters(transmitters, audience=self.audience),
            options=FeedOptions(**said),
            clock=clock,
        )


class ConsoleSettings(Table):
    """Who may look, and at what; see docs/console.md.

    Attributes:
        audience: whom their tokens must be for: the console, and no service.
        clients: the OAuth clients whose tokens are taken; all of them by default.
        scopes: what whoever looks must have.
        bodies: the scope for which bodies are shown; by default nobody sees one.
        idle: seconds after which a session that nobody uses ends.
        feed: what knows of revocations; by default nothing does.
    """

    audience: Audience = "busauth-console"
    clients: tuple[Name, ...] | None = Field(default=None, min_length=1)
    scopes: tuple[Name, ...] = Field(default=("console:read",), min_length=1)
    bodies: Name | None = None
    idle: Seconds = 900.0
    feed: ConsoleFeedSettings | None = None
