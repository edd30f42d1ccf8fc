"""What an operator says about proofs, seals, replay and encryption: the table `messages`.

Keys stand in files, never in the settings: that is why these are tables of their own. What a number
may be, and what it is where nobody says it, is taken from what is made of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import Field, model_validator

from busauth._amqp.consuming.security import MessageSecurity
from busauth._amqp.options import Letters
from busauth._arguments import Count, Seconds
from busauth._files.keys import naming, read_jwk, read_key, read_secret
from busauth._messages.proof import (
    SIGNED_WITH,
    SKEW,
    ProofDemand,
    Proofs,
    ProofSigner,
    Route,
    Skew,
    TrustedPublisher,
)
from busauth._messages.replay import CAPACITY, InProcessReplay, ReplayMemory
from busauth._messages.seal import check_secret
from busauth._tokens.encryption.encryption import Decryption, TokenEncryption
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.keys.key import KeySource, StaticKeys, shared_secret
from busauth.clock import Clock
from busauth.errors import ConfigurationError
from busauth.settings.issuers import Algorithms, Table
from busauth.settings.places import Gathering, at


class RouteSettings(Table):
    """A way to a queue; see `Route`."""

    exchange: str
    key: str
    exact: bool = False

    def route(self) -> Route:
        """Return the route."""
        return Route(self.exchange, self.key, exact=self.exact)


class PublisherSettings(Table):
    """Whose proofs count; see `TrustedPublisher`.

    Attributes:
        jwks_url: where its public keys are; or
        key_file: a JWK or a JWK set, or the secret that the trust domain shares.
        distrusted: of the keys at `jwks_url`, those that count no more: `kid` or thumbprint.
    """

    name: str = Field(min_length=1)
    jwks_url: str | None = None
    key_file: Path | None = None
    distrusted: tuple[str, ...] = ()
    algorithms: Algorithms = SIGNED_WITH
    routes: tuple[RouteSettings, ...] | None = None
    relays: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> "PublisherSettings":
        if (self.jwks_url is None) == (self.key_file is None):
            raise ConfigurationError("expected its keys in one place: jwks_url or key_file")
        if self.distrusted and self.jwks_url is None:
            raise ConfigurationError("distrusted: expected a jwks_url; of a file, take the key out")
        return self

    def publisher(self, fetcher: Fetcher, clock: Clock) -> TrustedPublisher:
        """Return the publisher.

        Raises:
            ConfigurationError: a key or an algorithm cannot be used, or a URL may not be asked.
        """
        routes = None if self.routes is None else [each.route() for each in self.routes]
        return TrustedPublisher(
            self.name,
            self._keys(fetcher, clock),
            algorithms=self.algorithms,
            routes=routes,
            relays=self.relays,
        )

    def _keys(self, fetcher: Fetcher, clock: Clock) -> KeySource:
        if self.key_file is not None:
            with at("key_file"):
                return static_keys(self.key_file, self.algorithms)
        return JWKS(
            self.jwks_url or "",
            algorithms=self.algorithms,
            fetcher=fetcher,
            clock=clock,
            distrusted=self.distrusted,
        )


def static_keys(path: Path, algorithms: tuple[str, ...]) -> StaticKeys:
    """Return the keys in a file.

    Raises:
        ConfigurationError: it holds none that can be used.
    """
    key = read_key(path)
    if isinstance(key, str):
        raise ConfigurationError(f"{path} holds a PEM: expected a JWK, a JWK set, or a secret")
    with naming(path):
        jwk = shared_secret(key) if isinstance(key, bytes) else key
        return StaticKeys(jwk, algorithms=algorithms)


class ProofSettings(Table):
    """What is asked of proofs; see `Proofs`."""

    publishers: tuple[PublisherSettings, ...]
    demand: ProofDemand = ProofDemand.REQUIRED
    max_age: Seconds
    skew: Skew = SKEW

    def proofs(self, fetcher: Fetcher, clock: Clock) -> Proofs:
        """Return what is asked.

        Raises:
            ConfigurationError: nobody is trusted, or the spans are none.
        """
        publishers, gathering = [], Gathering()
        for index, each in enumerate(self.publishers):
            with gathering.at("publishers", str(index)):
                publishers.append(each.publisher(fetcher, clock))
        gathering.check()
        return Proofs(
            publishers,
            demand=self.demand,
            max_age=self.max_age,
            skew=self.skew,
        )


class SignerSettings(Table):
    """In whose name proofs are signed; see `ProofSigner`.

    Attributes:
        key_file: its private key as a JWK or a PEM, or the secret that the trust domain shares.
    """

    name: str = Field(min_length=1)
    key_file: Path
    algorithm: str
    key_id: str | None = None
    headers: tuple[str, ...] = ()

    def signer(self) -> ProofSigner:
        """Return the signer.

        Raises:
            ConfigurationError: the key cannot be read, or does not fit.
        """
        with at("key_file"):
            key = read_key(self.key_file)
        with naming(self.key_file):
            return ProofSigner(
                self.name,
                key,
                algorithm=self.algorithm,
                key_id=self.key_id,
                headers=self.headers,
            )


class ReplaySettings(Table):
    """A memory of this process, see `InProcessReplay`; one in Redis is made in code."""

    keep_for: Seconds
    capacity: Count = CAPACITY

    def memory(self, clock: Clock) -> InProcessReplay:
        """Return the memory.

        Raises:
            ConfigurationError: the span is none.
        """
        return InProcessReplay(keep_for=self.keep_for, capacity=self.capacity, clock=clock)


class DecryptionSettings(Table):
    """Which keys open tokens; see `Decryption`.

    Attributes:
        key_files: private JWKs, or secrets as JWKs, one or a set in each.
    """

    key_files: tuple[Path, ...] = Field(min_length=1)
    required: bool = True

    def decryption(self) -> Decryption:
        """Return what opens tokens.

        Raises:
            ConfigurationError: a key cannot be read or used.
        """
        with at("key_files"):
            sets = [read_jwk(path) for path in self.key_files]
        keys = [jwk for each in sets for jwk in each.get("keys", [each])]
        with naming(*self.key_files):
            return Decryption(keys, required=self.required)


class LetterSettings(Table):
    """What letters keep; see `Letters`.

    Attributes:
        keep_token: a file with the consumer's private JWK, or with a JWK set.
    """

    keep_token: Path | None = None

    def letters(self) -> Letters:
        """Return what letters keep.

        Raises:
            ConfigurationError: the key cannot be read or used.
        """
        with at("keep_token"):
            return Letters(keep_token=self.keep_token)


class MessageSettings(Table):
    """What protects messages; see `MessageSecurity`.

    Attributes:
        seal: files with the consumer group's secrets, by ids; the first one seals.
        encryption: files with consumers' public JWKs, by recipients.
    """

    proofs: ProofSettings | None = None
    signer: SignerSettings | None = None
    seal: Mapping[str, Path] | None = None
    replay: ReplaySettings | None = None
    encryption: Mapping[str, Path] | None = None
    decryption: DecryptionSettings | None = None

    def security(
        self, fetcher: Fetcher, clock: Clock, replay: ReplayMemory | None = None
    ) -> MessageSecurity:
        """Return what a guard does for messages.

        Args:
            fetcher: asks for publishers' keys.
            clock: says how old keys are.
            replay: counts above what is said here.

        Raises:
            ConfigurationError: a key cannot be read or used, or the parts do not go together.
        """
        gathering = Gathering()
        with gathering.at("replay"):
            if replay is None and self.replay is not None:
                replay = self.replay.memory(clock)
        with gathering.at("proofs"):
            proofs = self.proofs.proofs(fetcher, clock) if self.proofs else None
        with gathering.at("signer"):
            signer = self.signer.signer() if self.signer else None
        with gathering.at("seal"):
            seal = None if self.seal is None else _read(self.seal, _read_seal)
        with gathering.at("encryption"):
            encryption = None
            if self.encryption is not None:
                keys = _read(self.encryption, read_jwk)
                with naming(*self.encryption.values()):  # made of all: no one file is to blame
                    encryption = TokenEncryption(keys)
        with gathering.at("decryption"):
            decryption = self.decryption.decryption() if self.decryption else None
        gathering.check()
        return MessageSecurity(
            proofs=proofs,
            signer=signer,
            seal=seal,
            replay=replay,
            encryption=encryption,
            decryption=decryption,
        )


T = TypeVar("T")


def _read(files: Mapping[str, Path], read: Callable[[Path], T]) -> dict[str, T]:
    """Return what the files of a table hold, by the table's keys."""
    found, gathering = {}, Gathering()
    for name, path in files.items():
        with gathering.at(name):
            found[name] = read(path)
    gathering.check()
    return found


def _read_seal(path: Path) -> bytes:
    secret = read_secret(path)
    with naming(path):
        check_secret(secret)
    return secret
