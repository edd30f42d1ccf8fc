"""What a policy is asked, and what it can answer."""

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from busauth._messages.provenance import UNPROVEN, Provenance
from busauth._tokens.encryption.encryption import TokenEncryption
from busauth.caller import Caller
from busauth.errors import ConfigurationError


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
class Refuse:
    """The message goes to the dead letters, as ``token.expired``.

    Attributes:
        reason: for whoever reads the dead letters.
        keep_token: for whom the letter keeps its token, encrypted; None: it keeps none.

    Raises:
        ConfigurationError: it would be kept for several.
    """

    reason: str = "refused by policy"
    keep_token: TokenEncryption | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_keeper(self.keep_token)


def check_keeper(keeper: TokenEncryption | None) -> None:
    """Refuse to keep tokens for several: a letter has room for one, and nobody chooses.

    Raises:
        ConfigurationError: says for whom.
    """
    if keeper is not None and len(keeper.recipients) != 1:
        raise ConfigurationError(
            f"keep_token for {' and '.join(keeper.recipients)}: expected one recipient, who sends "
            "letters again"
        )


@dataclass(frozen=True, slots=True)
class Drop:
    """The message is acknowledged and gone; it is counted and audited."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The message waits, parked, until its caller brings a fresh token.

    Only for a message whose proof names its caller; any other goes to the dead letters.
    """


Verdict = Accept | Refuse | Drop | Hold


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
