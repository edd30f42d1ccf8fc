"""Tokens that are had anew: who has them, and what they are held to before anybody acts by them.

A policy brings a token, and nothing of it is believed: it is proven as any token of the guard's is,
and compared with the one in whose place it came.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Self

from busauth._expiry.verdicts import LateToken, Renewed, Verdict
from busauth._tokens.authenticators import Authenticator
from busauth._tokens.evidence import Verified, still_said
from busauth._tokens.keys.waiting import found
from busauth.caller import Caller, FirstToken, Late
from busauth.clock import Clock
from busauth.errors import Forbidden, Refused, Transient, defer_if_transient, evidence


class Renewing(ABC):
    """A policy that has a token anew, as far as a consumer has opted in to that.

    Attributes:
        issuer: whose tokens it has, for those of the same issuer.
        late: whether it does so for a token that has expired.
        vouchers: the audience of the vouchers that it admits; None for none.
        lifetime: seconds from the first token's `iat`, and from when the work was first asked for,
            from which on nothing is had any more.
    """

    issuer: str
    late: bool
    vouchers: str | None
    lifetime: float

    @abstractmethod
    def at(self, audience: frozenset[str]) -> Self:
        """Return the same for a guard whose tokens of this issuer are for an audience.

        Raises:
            ConfigurationError: for which service a token is to be had cannot be known.
        """

    @abstractmethod
    async def renewed(self, late: LateToken) -> Renewed:
        """Return a token for the one in hand, be it late, a voucher, or soon over.

        Raises:
            Refused, Deferred: there is none.
        """

    def end_of(self, late: LateToken) -> float:
        """Return the instant from which on nothing is had for a token: its hard lifetime's end."""
        proven = late.provenance.proven
        began = [late.caller.issued_at, None if proven is None else proven.root_published_at]
        ends = [each + self.lifetime for each in began if each is not None]
        return min(ends, default=late.now)

    async def decide(self, late: LateToken) -> Verdict | None:
        """Have a token for a late one, where that is said; pass for any other."""
        is_own = self.late and late.caller.issuer == self.issuer
        if not is_own or late.now >= (until := self.end_of(late)):
            return None
        renewed = await self.renewed(late)
        return replace(renewed, until=min(renewed.until, until))

    def covers(self, later: object) -> bool:
        """Return whether a later one has tokens of the same issuer."""
        return isinstance(later, Renewing) and later.issuer == self.issuer


class Fresh(NamedTuple):
    """A token that was had in another one's place, proven and compared with it.

    Attributes:
        verified: what was proven of it.
        caller: whose it is, with no more than the other one allowed.
        token: raw.
        policy: whose verdict it was.
    """

    verified: Verified
    caller: Caller
    token: str
    policy: str

    @property
    def told(self) -> str:
        """Return for whom it is, and whose verdict it was, for people."""
        return f"a token for {evidence(' '.join(self.verified.caller.audience))}, by {self.policy}"

    def __repr__(self) -> str:
        return f"<a token of {self.caller.subject!r}, by {self.policy}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewals:
    """What a guard holds tokens to that were had anew.

    Attributes:
        trusted: proves them.
        audience: whom the guard's access tokens are for.
        clock: by which they count.
        transient: errors of what a user brings that are nobody's fault.
    """

    trusted: Authenticator = field(repr=False)
    audience: frozenset[str]
    clock: Clock
    transient: Transient = ()

    async def fresh(self, late: LateToken, renewed: Renewed, policy: str, of: FirstToken) -> Fresh:
        """Prove what a policy has brought, and compare it with the token in whose place it came.

        Args:
            late: that token.
            renewed: the verdict.
            policy: whose it is, by name.
            of: the record of that token, by which revocations know it.

        Raises:
            Forbidden: ``exchange.answer``: it is no genuine access token of the guard's, does not
                count now, or is somebody else's.
            Deferred: it cannot be proven now.
        """
        first = late.caller
        if first.transaction is not None:  # replaced by none, or it would be another transaction
            raise broken("a token in place of a transaction token", "none")
        verified = await self.proven(renewed.token)
        now = self.clock.now()
        if verified.retired is not None or not verified.starts_at <= now < verified.ends_at:
            raise broken("a token that does not count now", "one that is in time")
        caller = verified.caller
        whose = (caller.issuer, caller.subject)  # nobody in particular is no same caller
        if not caller.subject or whose != (first.issuer, first.subject):
            raise broken("another caller's token", "one of the same issuer and subject")
        if caller.actors not in (first.actors, (*caller.actors[:1], *first.actors)):
            raise broken("a token of other actors", "the same actors, or one more in front")
        until = min(renewed.until, verified.ends_at)
        seconds = max(0.0, now - first.expires_at)
        held = replace(
            caller,
            scopes=caller.scopes & first.scopes,
            roles=caller.roles & first.roles,
            first=first.first or of,
            restricted=first.restricted or not self._is_within(caller, first),
            late=Late(first.expires_at, seconds, policy, until),
        )
        return Fresh(verified, held, renewed.token, policy)

    async def proven(self, token: str) -> Verified:
        """Prove a token that was had anew.

        Raises:
            Forbidden: ``exchange.answer``: it is no genuine access token of the guard's.
            Deferred: that cannot be told now.
        """
        try:
            return await found(lambda: self.trusted.recall(token))
        except Refused as refused:
            # What is refused is what came, and not the message: that is genuine, and not lost.
            raise broken(refused.detail, "a genuine access token of this guard's") from refused
        except Exception as error:
            defer_if_transient("who proves tokens is", error, self.transient)
            raise

    async def still_says(self, fresh: Fresh) -> bool:
        """Return whether a token that was had anew is still what it was, waiting where it must.

        Raises:
            Forbidden, Deferred: as of `proven`.
        """
        return (await still_said(fresh.verified, partial(self.proven, fresh.token)))[1]

    def _is_within(self, caller: Caller, first: Caller) -> bool:
        """Return whether a token allows no more than another, so that it may be sent on."""
        audience = self.audience.union(first.audience)
        within = caller.scopes <= first.scopes and caller.roles <= first.roles
        return within and audience.issuperset(caller.audience)


def broken(found: str | None, expected: str) -> Forbidden:
    """Return what it comes to that an exchange has brought what was not asked for."""
    return Forbidden("exchange.answer", found=found, expected=expected)
