"""A token that came is held to what was asked for: whatever it has beyond that is refused.

Nothing is narrowed silently: a server that gives more than was asked for did not understand, or
answers somebody else. Each rule raises ``exchange.answer``.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from busauth._delegation.exchange.answer import Granted
from busauth._delegation.exchanging import ACCESS_TOKEN, ExchangeRequest
from busauth._tokens.compact import is_signed
from busauth._tokens.evidence import Verified
from busauth.caller import Actor, Caller, Subject
from busauth.errors import Forbidden, Refused


class Acting(NamedTuple):
    """Who asks, as the one who acts for the subject.

    Attributes:
        issuer: whose client it is.
        client_id: its name there.
        name: the `sub` under which it acts.
        said: whether an actor token is sent, so that the answer must name it.
    """

    issuer: str
    client_id: str
    name: str
    said: bool

    def is_me(self, actor: Actor) -> bool:
        """Return whether an actor is this service."""
        return (
            actor.subject in (self.name, self.client_id)
            and actor.issuer in (None, self.issuer)
            and actor.client in (None, self.client_id)
        )


def broken(found: object, expected: object) -> Forbidden:
    """Return the refusal of an answer."""
    return Forbidden("exchange.answer", found=found, expected=expected)


def check_kind(given: Granted, request: ExchangeRequest) -> None:
    """Hold an answer's own members to what was asked for.

    Raises:
        Forbidden: ``exchange.answer``.
    """
    if given.issued is not None and given.issued != request.token_type:
        raise broken(f"issued_token_type {given.issued}", request.token_type)
    usages = ("bearer",) if request.token_type == ACCESS_TOKEN else ("bearer", "n_a")
    if given.usage.lower() not in usages:
        raise broken(f"token_type {given.usage}", " or ".join(usages))
    if given.seconds <= 0:
        raise broken(f"expires_in {given.seconds:g}", "a token that counts for a while")
    if not is_signed(given.token):
        raise broken("an opaque token", "a JWT, which can be held to what was asked for")


def check_time(verified: Verified, now: float) -> None:
    """Demand a token that counts now, by its own word and by a key of today's.

    Raises:
        Forbidden: ``exchange.answer``.
    """
    if verified.retired is not None:  # good for what was published before, and this is new
        raise broken("a key that was removed", "a key that its issuer has today")
    if now >= verified.caller.expires_at:
        seconds = now - verified.caller.expires_at
        raise broken(f"exp {seconds:.0f} s ago", "a token that counts for a while")
    try:
        verified.check_started(now)
    except Refused as ahead:
        raise broken(ahead.found, ahead.expected) from None


def check_authority(
    given: Caller, subject: Subject, request: ExchangeRequest, acting: Acting
) -> None:
    """Hold whom a token names, and what it allows, to the subject and to what was asked for.

    Raises:
        Forbidden: ``exchange.answer``.
    """
    holder = subject.caller
    if given.subject != holder.subject:
        nobody = "a token that names nobody, as the subject's"
        raise broken("another subject", "the subject's own" if holder.subject else nobody)
    asked = request.audience | request.resource
    if set(given.audience) != asked:
        raise broken(f"a token for {_told(given.audience)}", f"one for {_told(asked)} alone")
    check_within("scopes", given.scopes, holder.scopes)
    if request.scopes is not None:
        check_within("scopes", given.scopes, request.scopes)
    if holder.issuer == given.issuer and is_signed(subject.token):
        check_within("roles", given.roles, holder.roles)
    check_actors(given, holder.actors, holder.issuer, acting)


def check_within(what: str, given: frozenset[str], allowed: frozenset[str]) -> None:
    """Refuse what is beyond what is allowed.

    Raises:
        Forbidden: ``exchange.answer``.
    """
    if more := given - allowed:
        raise broken(f"{what} {_told(more)}", f"no {what} beyond {_told(allowed) or 'none'}")


def check_actors(given: Caller, actors: tuple[Actor, ...], issuer: str, acting: Acting) -> None:
    """Hold who acts to who acted before: none is cut off, and none comes in but this service.

    Args:
        given: whose token came.
        actors: who acted before.
        issuer: who named them: an actor without an issuer is one of its own.
        acting: who asks.

    Raises:
        Forbidden: ``exchange.answer``.
    """
    known, before = _known(given.actors, issuer), _known(actors, issuer)
    if not acting.said and known == before:
        return
    # Many servers name the client that asks as the actor, whether or not it sends an actor token.
    if not known or not acting.is_me(given.actors[0]) or known[1:] != before:
        chain = " for ".join(actor.subject for actor in given.actors) or "nobody"
        first = f"{acting.name} in front of " if acting.said else ""
        behind = " for ".join(actor.subject for actor in actors) or "nobody"
        raise broken(f"act of {chain}", f"{first}who acted before: {behind}")


def _known(actors: Iterable[Actor], issuer: str) -> list[Actor]:
    return [replace(actor, issuer=issuer) if actor.issuer is None else actor for actor in actors]


def _told(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
