"""One decision about one message: genuine, in time, not revoked, allowed. No AMQP in here.

The order is fixed, and `now` is read once. What is genuine but late is put before the policies;
whatever they answer, revocation and what the caller may do are judged after them.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from busauth._demand import Demand
from busauth._expiry import (
    Accept,
    Ask,
    DeadLetter,
    Discard,
    Fresh,
    LateToken,
    Park,
    PolicyChain,
    PolicyFailed,
    Renewals,
    Renewed,
    Verdict,
    names,
    renewed,
)
from busauth._messages.provenance import UNPROVEN, Provenance
from busauth._revocation.revocations import NoRevocations, Revocations, check_revoked
from busauth._tokens.encryption.encryption import TokenEncryption
from busauth._tokens.verifier import Verified
from busauth.caller import (
    Caller,
    FirstToken,
    Late,
    as_caller,
    asked_about,
    first_token,
    operated,
)
from busauth.errors import (
    CallerError,
    Deferred,
    Forbidden,
    NotGenuine,
    Transient,
    Untimely,
    defer_if_transient,
)

LOOKS = 3
"""How often a decision is made before it is put off: what changes each time is a fault."""

_POLICY_SECONDS = 30.0
"""Seconds that policies have for a verdict, in a queue as at the edge."""

_UNRENEWED = (
    "none is had anew here: expected on_expired=Exchange(...) of its issuer's server for this "
    "consumer, from busauth.delegation"
)


class DeadLettered(Untimely):
    """Late, and refused by a policy.

    Attributes:
        keep_token: for whom the dead letter keeps its token, encrypted; None: it keeps none.
    """

    keep_token: TokenEncryption | None = None


class Discarded(Untimely):
    """Late, and a policy says that it means nothing any more: acknowledged without a copy."""


class Parked(Untimely):
    """Late and proven, and a policy says that it waits for its caller.

    Attributes:
        ask: who asks the caller to come back; None: nobody does.
    """

    ask: Ask | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a genuine token is held to.

    Attributes:
        policies: what to do if it is late.
        demand: what the handler asks of its caller.
        revocations: what knows whether it was revoked; None where nothing ever is.
        session_claim: the claim by which that knows sessions.
        transient: errors of what a user brings that are nobody's fault, next to `OSError`.
        renewals: what tokens are held to that a policy has anew; None where none can be.

    Raises:
        ConfigurationError: a policy takes away from everybody what is demanded.
    """

    policies: PolicyChain
    demand: Demand = field(default_factory=Demand)
    revocations: Revocations | None = None
    session_claim: str = "sid"
    transient: Transient = ()
    renewals: Renewals | None = None

    def __post_init__(self) -> None:
        if type(self.revocations) is NoRevocations:
            object.__setattr__(self, "revocations", None)  # so that nobody asks it for each message
        self.policies.check_demand(self.demand.scopes, self.demand.roles)


class InHand(Protocol):
    """A token in hand, as who decides about it sees it.

    Attributes:
        token: raw; None where it is not at hand.
        fresh: what a policy has had in its place; set before that one is judged.
    """

    token: str | None
    fresh: Fresh | None


@dataclass(slots=True)
class Bare:
    """A token in hand of which nothing else is known here; see `InHand`."""

    token: str | None = field(repr=False)
    fresh: Fresh | None = None


async def decide(
    verified: Verified,
    rules: Rules,
    now: float,
    provenance: Provenance = UNPROVEN,
    in_hand: InHand | None = None,
) -> Caller:
    """Return the caller for whom a handler may run.

    Late or in time is asked here, for queue and edge alike. Where it is late, policies have their
    time for a verdict; nothing is awaited where it is not.

    Args:
        verified: a token that was proven genuine.
        rules: what it is held to.
        now: the one instant of this decision; by a token that is had anew, the one after that.
        provenance: what else is known of the message.
        in_hand: the token itself, where a policy may have another one for it.

    Raises:
        Refused: with its code: `NotGenuine` (``token.key_retired``), `Untimely`, `Forbidden`,
            `Discarded`, `Parked` or `DeadLettered`.
        Deferred: a policy, or what knows of revocations, cannot tell now.
    """
    if now < verified.ends_at:
        return decide_in_time(verified, rules, now, provenance)
    # Both before the policies: none of them can make a token count that is not genuine, or not yet.
    check_retired(verified, provenance)
    verified.check_started(now)
    token = None if in_hand is None else in_hand.token
    late = LateToken(verified.caller, now, verified.leeway, provenance, verified.not_before, token)
    if rules.policies.renewing:  # who was revoked has no token exchanged
        check_standing(late.caller, rules, now)
    verdict, name = await (_redeemed(late, rules) if verified.is_voucher else _late(late, rules))
    if isinstance(verdict, Renewed):
        return (await _by_another(late, verdict, name, rules, in_hand)).caller
    if isinstance(verdict, Park):  # who was revoked, or may not, does not wait for better days
        _judged(late.caller, rules, now)
    return _judged(_obeyed(late, verdict, name), rules, now)


async def renew(verified: Verified, rules: Rules, provenance: Provenance, in_hand: InHand) -> Fresh:
    """Return a token had anew, for work that goes on for longer than the one in hand.

    They are held to all that they were held to when the work began, revocation before anything.

    Args:
        verified: the token that the work came with.
        rules: what it is held to.
        provenance: what else is known of the message.
        in_hand: that token, raw; the new one is noted there.

    Raises:
        CallerError: none can be had for it here; says why, and what to declare.
        Refused: its caller was revoked, or may not go on; or ``exchange.…``.
        Deferred: there is no answer to be had now.
    """
    policy, renewals = rules.policies.renewing_of(verified.caller.issuer), rules.renewals
    if policy is None or renewals is None:
        raise CallerError(f"the caller's token is over, and {_UNRENEWED}")
    now = renewals.clock.now()
    token, not_before = in_hand.token, verified.not_before
    late = LateToken(verified.caller, now, verified.leeway, provenance, not_before, token)
    until = rules.policies.end_of(policy, late, is_voucher=verified.is_voucher)
    if now >= until:
        raise CallerError(
            f"the caller's token is over, and so is its hard lifetime: expected work that is done "
            f"within {policy.lifetime:g} s of the token's iat, or Exchange(..., lifetime=...)"
        )
    if now >= verified.ends_at and not (verified.is_voucher or policy.late):
        raise CallerError(
            "the caller's token has expired, and the server is not said to take it any more: "
            "expected Exchange(..., late=True), a voucher, or caller.fresh() before that"
        )
    check_standing(late.caller, rules, now)
    verdict, name = await _verdict(renewed(policy, late), rules)
    verdict = replace(verdict, until=min(verdict.until, until))
    return await _by_another(late, verdict, name, rules, in_hand)


def decide_for_operator(
    first: FirstToken, operator: FirstToken, rules: Rules, now: float, until: float
) -> Caller:
    """Return the caller of a first token, for whom an operator may have the handler run.

    Who the operator is, and that they may, was proven. No policy is asked, and nothing is awaited.

    Args:
        first: the record of the token that the work was asked for with, under a seal that holds.
        operator: the record of the operator's token, in a statement that holds.
        rules: what the caller is held to.
        now: the one instant of this decision.
        until: seconds since the epoch: the acceptance holds before that instant.

    Raises:
        Refused: `Untimely` (``token.revoked``), for either of both, or `Forbidden`.
        Deferred: what knows of revocations cannot tell now.
    """
    # the caller is asked about with the first token's own actors, by which it may be revoked
    alone = as_caller(first, rules.session_claim)
    if rules.revocations is not None:
        acts = as_caller(operator, rules.session_claim)
        check_revoked(rules.revocations, acts, now, rules.transient)
        check_revoked(rules.revocations, alone, now, rules.transient)
    seconds = max(0.0, now - first.expires_at)
    late = Late(first.expires_at, seconds, "Operators", until)
    caller = operated(first, operator, rules.session_claim, late)
    # both: as an actor an operator may be one too many, and must not be the one that is wanted
    for each in (alone, caller):
        rules.demand.check(asked_about(each, rules.session_claim))
    return caller


def decide_in_time(
    verified: Verified, rules: Rules, now: float, provenance: Provenance = UNPROVEN
) -> Caller:
    """Decide about a token that is not late: no policy is asked, so there is nothing to wait for.

    Raises:
        Refused: with its code: `NotGenuine` (``token.key_retired``), `Untimely` or `Forbidden`.
        Deferred: what knows of revocations cannot tell now.
    """
    if verified.retired is not None:
        check_retired(verified, provenance)
    if now < verified.starts_at:
        verified.check_started(now)
    return _judged(verified.caller, rules, now)


def stands(
    verified: Verified,
    caller: Caller,
    rules: Rules,
    now: float,
    provenance: Provenance = UNPROVEN,
    *,
    fresh: Fresh | None = None,
) -> bool:
    """Return whether what was decided before an await still stands; else it is to be made anew.

    No policy is asked, and nothing is waited for.

    Args:
        verified: the token.
        caller: as it was accepted.
        rules: what it is held to.
        now: a later instant than that of the decision.
        provenance: what else is known of the message.
        fresh: the token in whose name they were, where one was had anew.

    Raises:
        Refused: it does not, and will not: `NotGenuine`, `Untimely` or `Forbidden`.
        Deferred: what knows of revocations cannot tell now.
    """
    if caller.late is None and now >= verified.ends_at:
        return False
    check_retired(verified, provenance)
    verified.check_started(now)
    if fresh is not None:  # who was revoked by the token in hand is by the fresh one as well
        check_standing(verified.caller, rules, now)
    _judged(caller if fresh is None else _asking(caller, verified.caller), rules, now)
    return caller.late is None or now < caller.late.until


def check_retired(verified: Verified, provenance: Provenance) -> None:
    """Refuse a token of a key that was removed, unless it was published while the key was there.

    Raises:
        NotGenuine: ``token.key_retired``: nobody who may say so vouches for that.
    """
    if verified.retired is None:
        return
    last_seen, sources = verified.retired
    known = [at for source, at in provenance.published.items() if source in sources]
    if not any(at <= last_seen for at in known):
        found = f"published {min(known) - last_seen:.0f} s after" if known else "nobody's word"
        expected = f"published before the key was last seen, by the word of {sorted(sources)}"
        raise NotGenuine("token.key_retired", found=found, expected=expected)


def check_standing(caller: Caller, rules: Rules, now: float) -> None:
    """Refuse a caller who was revoked by now, by this token or by the first one.

    Raises:
        Untimely: ``token.revoked``.
        Deferred: what knows of revocations cannot tell now.
    """
    if rules.revocations is None:
        return
    check_revoked(rules.revocations, caller, now, rules.transient)
    if caller.first is not None:
        first = as_caller(caller.first, rules.session_claim)
        check_revoked(rules.revocations, first, now, rules.transient)


def _judged(caller: Caller, rules: Rules, now: float) -> Caller:
    """Revoked now? Then: may they?"""
    if rules.revocations is not None:
        check_standing(caller, rules, now)
    rules.demand.check(caller)
    return caller


async def _late(late: LateToken, rules: Rules) -> tuple[Verdict, str]:
    """Return the policies' verdict, and whose it is."""
    return await _verdict(rules.policies.decide(late), rules)


async def _redeemed(late: LateToken, rules: Rules) -> tuple[Verdict, str]:
    """Return the token that is had for a voucher, which counts for nothing else.

    No policy but the one that admits it is asked, and none without a proof of its message: that one
    binds this very token to it.

    Raises:
        NotGenuine: ``token.type``: nobody admits vouchers of its issuer here.
        Forbidden: ``voucher.unproven``.
        Untimely: ``voucher.expired``: its hard lifetime is over.
    """
    policy = rules.policies.renewing_of(late.caller.issuer)
    if policy is None or late.caller.audience != (policy.vouchers,):
        raise NotGenuine("token.type", found="a voucher", expected="an access token")
    if late.provenance.proven is None:
        raise Forbidden("voucher.unproven", found="no proof", expected="a proof of its message")
    until = rules.policies.end_of(policy, late, is_voucher=True)
    if late.now >= until:
        found = f"{late.now - until:.0f} s past its hard lifetime"
        raise Untimely("voucher.expired", found=found, expected="in time")
    verdict, name = await _verdict(renewed(policy, late), rules)
    return replace(verdict, until=min(verdict.until, until)), name


V = TypeVar("V", bound=Verdict)


async def _verdict(asked: Awaitable[tuple[V, str]], rules: Rules) -> tuple[V, str]:
    """Return a verdict, and whose it is; who does not answer is out of reach.

    Raises:
        Untimely: ``token.expired``: a policy failed, or its answer is no verdict.
        Deferred: who is asked cannot tell now.
    """
    try:
        async with asyncio.timeout(_POLICY_SECONDS):
            return await asked
    except TimeoutError as error:  # the limit's: a policy's own has become a `PolicyFailed`
        raise Deferred(f"no decision in {_POLICY_SECONDS:g} s") from error
    except PolicyFailed as failed:
        if failed.error is not None:
            defer_if_transient("an expiry policy is", failed.error, rules.transient)
        refused = Untimely("token.expired", found=failed.found, expected="a verdict or None")
        refused.mistake = failed.error
        raise refused from failed.error


async def _by_another(
    late: LateToken, verdict: Renewed, name: str, rules: Rules, in_hand: InHand | None
) -> Fresh:
    """Return the token that was had in place of the one in hand, its caller judged after that.

    Raises:
        Refused: `Forbidden` (``exchange.answer``) for what is no such token; or as of `decide`.
        Deferred: it cannot be proven, or judged, now.
    """
    renewals = rules.renewals
    if renewals is None or in_hand is None:
        found, expected = "a token had anew", "a guard's consumer or edge, which can prove it"
        raise Forbidden("exchange.answer", found=found, expected=expected)
    of = first_token(late.caller, rules.session_claim)
    in_hand.fresh = fresh = await renewals.fresh(late, verdict, name, of)
    now = renewals.clock.now()
    check_standing(late.caller, rules, now)
    _judged(_asking(fresh.caller, late.caller), rules, now)
    return fresh


def _asking(fresh: Caller, first: Caller) -> Caller:
    """Return who asks for the work: whom an exchange puts in front is this service itself.

    The new token's own chain is for whoever it is sent to.
    """
    return fresh if fresh.actors == first.actors else replace(fresh, actors=first.actors)


def _obeyed(late: LateToken, verdict: Verdict, name: str) -> Caller:
    found = f"{late.seconds:.0f} s past exp"
    match verdict:
        case Accept():
            return _accepted(late, name, verdict)
        case Discard():
            raise Discarded("token.expired", found=found, expected=f"in time, discarded by {name}")
        case Park() if late.provenance.names_caller:
            parked = Parked("token.expired", found=found, expected=f"in time, parked by {name}")
            parked.ask = verdict.ask
            raise parked
        case Park():  # a policy of the user's: `Park` itself passes there
            raise Untimely("token.expired", found=f"{found}, no proof of its caller")
        case Renewed():  # judged by another token: see `_by_another`
            raise Untimely("token.expired", found=found, expected="in time")
        case DeadLetter():
            found = f"{found}, {verdict.reason}"
            refused = DeadLettered("token.expired", found=found, expected="in time")
            refused.keep_token = verdict.keep_token
            raise refused


def _accepted(late: LateToken, policy: str, accept: Accept) -> Caller:
    caller = late.caller
    lateness = Late(
        caller.expires_at,
        late.seconds,
        policy,
        accept.until,
        restricted=accept.restricts,
        published_at=accept.published_at,
    )
    if not accept.restricts:
        return replace(caller, late=lateness)
    scopes = caller.scopes & names(accept.scopes or ())
    roles = caller.roles & names(accept.roles or ())
    return replace(caller, late=lateness, scopes=scopes, roles=roles)
