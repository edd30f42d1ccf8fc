"""Which token goes on to the next service: a narrower one, or, said out loud, the one in hand."""

from collections.abc import Iterable
from typing import Final

from busauth._arguments import Count, checked, kind_of
from busauth._delegation.exchanging import (
    Exchanged,
    Exchanger,
    ExchangeRequest,
    OnwardToken,
)
from busauth.caller import Caller, Subject
from busauth.errors import ConfigurationError, Forbidden

MAX_DEPTH: Final = 4
"""Services that act for a caller, one behind the other; more of them is a chain that goes round."""


class OwnOnward:
    """What comes with busauth: its repr says what is asked for, and no secret."""


class Onward(OwnOnward):
    """Has the caller's token exchanged for one that the next service takes, and no other.

    What is asked for is had when something goes there. Nothing is remembered here: an exchanger
    that does so, as `TokenExchange`, is asked once for many.

    Args:
        exchanger: who gives tokens for tokens.
        audience: the next service, by the name that it has there.
        scopes: what its token may allow at most; None for what the caller's allows.
        resource: the next service by absolute URIs, where the server goes by these (RFC 8707).
        max_depth: how many services may act for the caller, this one included.

    Raises:
        ConfigurationError: for nobody, or a scope has a name that none can have.
    """

    @checked
    def __init__(
        self,
        exchanger: Exchanger,
        *,
        audience: str | Iterable[str] = (),
        scopes: str | Iterable[str] | None = None,
        resource: str | Iterable[str] = (),
        max_depth: Count = MAX_DEPTH,
    ) -> None:
        request = ExchangeRequest.of(audience, resource=resource, scopes=scopes)
        self._asking = Asking(exchanger, request, max_depth)

    async def token_for(self, subject: Subject) -> str:
        """Return a raw token for the next service.

        Raises:
            Refused: ``exchange.…``: the server says no, or too many act for the caller already.
            Deferred: there is no answer to be had now.
        """
        return (await self._asking.exchanged(subject)).token

    def __repr__(self) -> str:
        return f"<Onward {self._asking}>"


class Asking:
    """What is asked of an exchanger, and how long a chain of services it may make.

    Attributes:
        request: what is asked for.
    """

    def __init__(self, exchanger: Exchanger, request: ExchangeRequest, max_depth: int) -> None:
        self._exchanger = exchanger
        self.request = request
        self._max_depth = max_depth

    async def exchanged(self, subject: Subject) -> Exchanged:
        """Return what was had.

        Raises:
            Refused, Deferred: as of `Onward.token_for`.
        """
        self._check_depth(subject.caller)  # first: what comes out of it is no shorter
        exchanged = await self._exchanger.exchange(subject, self.request)
        self._check_depth(exchanged.caller)
        return exchanged

    def _check_depth(self, caller: Caller) -> None:
        if len(caller.actors) > self._max_depth:
            raise Forbidden(
                "exchange.depth",
                found=f"{len(caller.actors)} that act for the caller",
                expected=f"at most {self._max_depth}",
            )

    def __str__(self) -> str:
        request = self.request
        whom = ", ".join(sorted(request.audience | request.resource))
        if request.scopes is None:
            return f"to {whom}"
        return f"to {whom}, with {' '.join(sorted(request.scopes)) or 'no scopes'}"


class Forwarded:
    """The token in hand, as it is."""

    async def token_for(self, subject: Subject) -> str:
        """Return the subject's own token."""
        return subject.token

    def __repr__(self) -> str:
        return "FORWARDED"


FORWARDED: Final[OnwardToken] = Forwarded()
"""Said out loud: here the caller's own token goes on, with all that it allows."""


async def token_of(onward: OnwardToken, subject: Subject) -> str:
    """Return the raw token that goes on; nothing is none, and never stands for the caller's own.

    Raises:
        CallerError, Refused, Deferred: there is none.
        ConfigurationError: what was given is no raw token.
    """
    had: object = await onward.token_for(subject)
    if not isinstance(had, str) or not had:
        found = kind_of(had) if had != "" else "an empty text"
        raise ConfigurationError(
            f"{type(onward).__name__}.token_for(...) returned {found}: nothing was sent; expected "
            "a raw token, or a Refused raised where none goes on"
        )
    return had


def told(onward: OnwardToken) -> str:
    """Return what had a token, for an auditor; one of a user's own may show its secrets."""
    return f"{onward}".strip("<>") if isinstance(onward, OwnOnward) else type(onward).__name__
