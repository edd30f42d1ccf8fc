"""What is refused before anybody is asked: whose token it is, a long chain, who may not act."""

from collections.abc import Mapping

from busauth._delegation.exchange.held import Acting
from busauth.caller import Caller
from busauth.errors import Forbidden


def check_issuer(holder: Caller, known: frozenset[str]) -> None:
    """Refuse to show a token to a server that is not known to take its issuer's.

    Whoever is shown a bearer token can use it.

    Raises:
        Forbidden: ``exchange.refused``.
    """
    if holder.issuer not in known:
        found = f"a token of {holder.issuer}"
        raise Forbidden("exchange.refused", found=found, expected=" or ".join(sorted(known)))


def check_depth(depth: int, most: int) -> None:
    """Refuse a chain of actors that is, or would be, longer than allowed.

    Raises:
        Forbidden: ``exchange.depth``.
    """
    if depth > most:
        raise Forbidden("exchange.depth", found=f"{depth} actors", expected=f"at most {most}")


def check_may_act(holder: Caller, acting: Acting) -> None:
    """Refuse where the subject's token says who may act, and this service is not it (section 4.4).

    Every member must be this service's; what is not understood names somebody else.

    Raises:
        Forbidden: ``exchange.may_act``.
    """
    if "may_act" not in holder.claims:
        return
    named = holder.claims["may_act"]
    mine = {
        "sub": {acting.name, acting.client_id},
        "client_id": {acting.client_id},
        "iss": {acting.issuer},
    }
    if not isinstance(named, Mapping) or {"sub", "client_id"}.isdisjoint(named):
        raise Forbidden("exchange.may_act", found="nobody", expected=acting.name)
    for member, value in named.items():
        if not isinstance(value, str) or value not in mine.get(member, ()):
            found = f"may_act with another {member}"
            raise Forbidden("exchange.may_act", found=found, expected=acting.name)
