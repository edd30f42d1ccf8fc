"""Has a token been revoked? Judged now, whatever the expiry policy said.

What knows about revocations, a feed or a list, is behind `Revocations`; busauth asks it for every
message, after the expiry policy and before authorization.
"""

from typing import Protocol

from busauth.caller import Caller
from busauth.errors import Transient, Untimely, defer_if_transient


class Revocations(Protocol):
    """Knows which callers' tokens count no more.

    What came back with a fresh token is asked about twice: the first token is then a `Caller` of
    which only the record is left, without claims but for its session's. Where that is not ``sid``,
    an attribute `session_claim` says which it is.
    """

    def revoked(self, caller: Caller, now: float) -> bool:
        """Return whether this token was revoked, from memory: nothing is waited for.

        Raises:
            Deferred: it cannot tell now; the message waits. An `OSError` means the same, and so
                does what `GuardOptions.transient` declares; any other error refuses.
        """
        ...


class NoRevocations:
    """Nothing is ever revoked: tokens count until they expire."""

    def revoked(self, caller: Caller, now: float) -> bool:
        """Return False."""
        return False


def check_revoked(
    revocations: Revocations, caller: Caller, now: float, transient: Transient = ()
) -> None:
    """Refuse a revoked token; only a plain False lets it pass.

    Args:
        revocations: what knows.
        caller: whose token it is.
        now: the instant of the decision.
        transient: which errors of it are nobody's fault, next to `OSError`.

    Raises:
        Untimely: ``token.revoked``.
        Deferred: what knows about them is out of reach.
    """
    try:
        revoked = revocations.revoked(caller, now)
    except Exception as error:
        defer_if_transient("revocations are", error, transient)
        raise
    if revoked is not False:
        raise Untimely("token.revoked", found="a revoked token", expected="one that still counts")
