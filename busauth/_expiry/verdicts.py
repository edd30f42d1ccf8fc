"""What a policy is asked, and what it can answer.

Whatever does not accept is a policy as well, which always answers the same: itself.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Never, Protocol, Self, runtime_checkable

from pydantic import BeforeValidator, Field, InstanceOf, PrivateAttr

from busauth._callables import is_async, name_of
from busauth._files.keys import read_jwk
from busauth._knobs import Knobs
from busauth._messages.provenance import UNPROVEN, Provenance
from busauth._tokens.encryption.encryption import TokenEncryption
from busauth.caller import Actor, Caller
from busauth.errors import CallerError, ConfigurationError


@dataclass(frozen=True, slots=True)
class LateToken:
    """What a policy may know: the caller is genuine, and `seconds` past `exp`.

    Attributes:
        caller: the verified caller.
        now: the instant of this decision, seconds since the epoch.
        leeway: seconds of clock skew that every comparison with `exp` tolerates.
        provenance: what is known of the message: who published it, and when.
        not_before: the token's `nbf`, seconds since the epoch, if any.
    """

    caller: Caller
    now: float
    leeway: float
    provenance: Provenance = UNPROVEN
    not_before: float | None = None
    _token: str | None = field(default=None, repr=False, compare=False)

    def bearer(self) -> str:
        """Return the raw token, for a policy that has it exchanged.

        Raises:
            CallerError: nobody has it here.
        """
        if self._token is None:
            raise CallerError("the late token itself is not at hand here")
        return self._token

    @property
    def seconds(self) -> float:
        """Return seconds past `exp`."""
        return self.now - self.caller.expires_at

    def end_of(self, window: float) -> float:
        """Return the instant `window` seconds (and the leeway) after `exp`."""
        return self.caller.expires_at + self.leeway + window

    def within(self, window: float) -> bool:
        """Return whether less than `window` seconds (and the leeway) have passed since `exp`."""
        return self.now < self.end_of(window)

    def was_valid(self, at: float) -> bool:
        """Return whether the token counted at that instant (RFC 7519, sections 4.1.4 to 4.1.6)."""
        begins = max(self.caller.issued_at or 0.0, self.not_before or 0.0)
        return begins - self.leeway <= at < self.caller.expires_at + self.leeway


@dataclass(frozen=True, slots=True)
class Accept:
    """The message is handled; with less authority where scopes or roles are said.

    Whoever says one and not the other leaves none of the other: `Accept(scopes={"a"})` takes every
    role away. The token then cannot be sent on.

    Attributes:
        scopes: what the caller keeps of theirs; None: all, unless `roles` are said.
        roles: what the caller keeps of theirs; None: all, unless `scopes` are said.
        published_at: the published instant that spoke for it, seconds since the epoch, if one did.
        until: seconds since the epoch: it holds before that instant, and no longer from then on;
            the hard maximum age ends it in any case.
    """

    scopes: frozenset[str] | None = None
    published_at: float | None = None
    until: float = math.inf
    roles: frozenset[str] | None = None

    @property
    def restricts(self) -> bool:
        """Return whether authority is taken away."""
        return self.scopes is not None or self.roles is not None


@dataclass(frozen=True, slots=True)
class Renewed:
    """The message is handled by another token, which was had for the one that it came with.

    That one is proven as any token of the guard's is. It must be the same caller's, by the same
    actors or by one more, and its caller may do no more by it than by the first one.

    Attributes:
        token: raw; never printed.
        until: seconds since the epoch: it holds before that instant, and no longer than the token;
            the hard maximum age ends it in any case.
    """

    token: str = field(repr=False)
    until: float = math.inf


def _keeping(given: object) -> object:
    """Read a key's file, which a settings file names; a letter has room for one token.

    Raises:
        ConfigurationError: it would be kept for several, and nobody chooses.
    """
    if isinstance(given, str | Path):
        return TokenEncryption({"redrive": read_jwk(given)})
    if isinstance(given, TokenEncryption) and len(given.recipients) != 1:
        raise ConfigurationError(
            f"keep_token for {' and '.join(given.recipients)}: expected one recipient, who sends "
            "letters again"
        )
    return given


class OwnPolicy(Knobs):
    """What all policies that come with busauth have in common."""

    def covers(self, later: object) -> bool:
        """Return whether a policy behind this one would never decide anything."""
        return False

    def __str__(self) -> str:
        return type(self).__name__


class _Always(OwnPolicy):
    """A verdict that is a policy, too: it decides always, and with itself."""

    def covers(self, later: object) -> bool:
        """Return True: it decides always."""
        return True

    async def decide(self, late: LateToken) -> Self:
        """Return itself."""
        return self


class DeadLetter(_Always):
    """The message is refused, ``token.expired``: it goes to ``<queue>.dead`` with its reason.

    Args:
        reason: for whoever reads the dead letters.
        keep_token: for whom the letter keeps its token, encrypted, so that it can be sent again:
            a `TokenEncryption` with one recipient, or the path of a file with its public JWK.
            Without it the letter has no token.
    """

    policy: Literal["dead-letter"] = "dead-letter"
    reason: str = Field(default="no policy accepts it", min_length=1)
    keep_token: Annotated[
        InstanceOf[TokenEncryption] | None, BeforeValidator(_keeping), Field(repr=False)
    ] = None

    if TYPE_CHECKING:  # a path is taken, and read: the field never holds one

        def __init__(
            self, *, reason: str = ..., keep_token: TokenEncryption | Path | str | None = ...
        ) -> None: ...


class Discard(_Always):
    """The message is acknowledged and forgotten: it means nothing once it is late. Audited."""

    policy: Literal["discard"] = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedFor:
    """Whose message was parked, for whoever asks them to come back. It has no token.

    Attributes:
        issuer, subject: the caller, whose fresh token releases it.
        queue: in front of which it was parked: what `Bus.release` is called with.
        message_id: its sender's id of it; None where it has none that can be said.
        expired_at: when the caller's token had expired, seconds since the epoch.
        actor: who acts for the caller, the outermost one; None where nobody does.
    """

    issuer: str
    subject: str
    queue: str
    message_id: str | None
    expired_at: float
    actor: Actor | None = None


Ask = Callable[[ParkedFor], Awaitable[None]]
"""Asks a caller to come back: sends a mail, marks an account, tells a service."""


class Park(OwnPolicy):
    """The message waits in ``<queue>.parked`` until its caller brings a fresh token: `release`.

    Only a message does whose caller is named by a trusted publisher's proof: an old stolen token on
    a new body must not become somebody's work. Any other is passed on to the next policy; where
    this is the answer of a policy of yours, it goes to the dead letters.

    Args:
        ask: an ``async def`` that is told of each message once its copy waits and the broker has
            let go of it: a `ParkedFor`. It runs beside the consumer, as nobody, for half a minute
            at most, eight at once; no message waits for it, and its errors are logged. A process
            that ends in between has asked nobody, and of a message that comes twice it is told
            twice. It is for code alone: a settings file has no functions, and two `Park` are equal
            whatever they ask.

    Raises:
        ConfigurationError: `ask` is no ``async def``.
    """

    policy: Literal["park"] = "park"
    _ask: Ask | None = PrivateAttr(default=None)

    def __init__(self, *, ask: Ask | None = None, **fields: Never) -> None:
        if ask is not None and not (callable(ask) and is_async(ask)):
            raise ConfigurationError(
                f"Park(ask={name_of(ask)}): expected an `async def` that takes a ParkedFor"
            )
        super().__init__(**fields)
        self._ask = ask

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as RootModel's: tables are read without it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Park)

    def __hash__(self) -> int:
        return hash(Park)

    @property
    def ask(self) -> Ask | None:
        """Return who asks callers to come back; None where nobody does."""
        return self._ask

    def covers(self, later: object) -> bool:
        """Return whether a later one parks, too."""
        return isinstance(later, Park)

    async def decide(self, late: LateToken) -> Self | None:
        """Return itself for what is proven to be this caller's; pass for anything else."""
        return self if late.provenance.names_caller else None


Verdict = Accept | Renewed | DeadLetter | Discard | Park
"""What becomes of a message whose token is late."""


@runtime_checkable
class ExpiryPolicy(Protocol):
    """Decides about late tokens."""

    async def decide(self, late: LateToken) -> Verdict | None:
        """Return a verdict, or None to let the next policy decide.

        Raises:
            Deferred: it cannot tell now; the message waits. An `OSError` means the same, and so
                does what `GuardOptions.transient` declares; any other error refuses.
        """
        ...
