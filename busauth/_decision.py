"""One decision about one message: genuine, in time, not revoked, allowed. No AMQP in here.

The order is fixed, and `now` is read once. What is genuine but late is put before the policies;
whatever they answer, revocation and what the caller may do are judged after them.
"""

import asyncio
from dataclasses import dataclass, field, replace

from busauth._demand import Demand
from busauth._expiry import (
    Accept,
    Ask,
    DeadLetter,
    Discard,
    LateToken,
    Park,
    PolicyChain,
    PolicyFailed,
    Verdict,
    names,
)
from busauth._messages.provenance import UNPROVEN, Provenance
from busauth._revocation.revocations import NoRevocations, Revocations, check_revoked
from busauth._tokens.encryption.encryption import TokenEncryption
from busauth._tokens.verifier import Verified
from busauth.caller import Caller, FirstToken, Late, as_caller, asked_about, operated
from busauth.errors import (
    Deferred,
    NotGenuine,
    Transient,
    Untimely,
    defer_if_transient,
)

LOOKS = 3
"""How often a decision is made before it is put off: what changes each time is a fault."""

_POLICY_SECONDS = 30.0
"""Seconds that policies have for a verdict, in a queue as at the edge."""


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

    Raises:
        ConfigurationError: a policy takes away from everybody what is demanded.
    """

    policies: PolicyChain
    demand: Demand = field(default_factory=Demand)
    revocations: Revocations | None = None
    session_claim: str = "sid"
    transient: Transient = ()

    def __post_init__(self) -> None:
        if type(self.revocations) is NoRevocations:
            object.__setattr__(self, "revocations", None)  # so that nobody asks it for each message
        self.policies.check_demand(self.demand.scopes, self.demand.roles)


async def decide(
    verified: Verified, rules: Rules, now: float, provenance: Provenance = UNPROVEN
) -> Caller:
    """Return the caller for whom a handler may run.

    Late or in time is asked here, for queue and edge alike. Where it is late, policies have their
    time for a verdict; nothing is awaited where it is not.

    Args:
        verified: a token that was proven genuine.
        rules: what it is held to.
        now: the one instant of this decision.
        provenance: what else is known of the message.

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
    late = LateToken(verified.caller, now, verified.leeway, provenance, verified.not_before)
    return _judged(await _late(late, rules), rules, now)


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
) -> bool:
    """Return whether what was decided before an await still stands; else it is to be made anew.

    No policy is asked, and nothing is waited for.

    Args:
        verified: the token.
        caller: as it was accepted.
        rules: what it is held to.
        now: a later instant than that of the decision.
        provenance: what else is known of the message.

    Raises:
        Refused: it does not, and will not: `NotGenuine`, `Untimely` or `Forbidden`.
        Deferred: what knows of revocations cannot tell now.
    """
    if caller.late is None and now >= verified.ends_at:
        return False
    check_retired(verified, provenance)
    verified.check_started(now)
    _judged(caller, rules, now)
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


async def _late(late: LateToken, rules: Rules) -> Caller:
    try:
        verdict, name = await _verdict(late, rules)
    except PolicyFailed as failed:
        if failed.error is not None:
            defer_if_transient("an expiry policy is", failed.error, rules.transient)
        refused = Untimely("token.expired", found=failed.found, expected="a verdict or None")
        refused.mistake = failed.error
        raise refused from failed.error
    if isinstance(verdict, Park):  # who was revoked, or may not, does not wait for better days
        _judged(late.caller, rules, late.now)
    return _obeyed(late, verdict, name)


async def _verdict(late: LateToken, rules: Rules) -> tuple[Verdict, str]:
    """Return the policies' verdict, and whose it is; who does not answer is out of reach."""
    try:
        async with asyncio.timeout(_POLICY_SECONDS):
            return await rules.policies.decide(late)
    except TimeoutError as error:  # the limit's: a policy's own has become a `PolicyFailed`
        raise Deferred(f"no decision in {_POLICY_SECONDS:g} s") from error


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
