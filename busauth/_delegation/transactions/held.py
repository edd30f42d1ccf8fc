"""A transaction token that came is held to what was asked for, and a replacement to what it is for.

Each rule raises ``exchange.answer``, but for `check_replaced`, which asks before anybody is asked.
"""

from busauth._delegation.exchange.answer import Granted
from busauth._delegation.exchange.held import broken, check_within
from busauth._delegation.exchanging import TXN_TOKEN
from busauth.caller import Caller, Transaction
from busauth.errors import CallerError, Untimely

_USAGE = "N_A"
"""`token_type` of what is no access token (RFC 8693, section 2.2.1)."""


def check_kind(given: Granted) -> None:
    """Hold an answer's own members to what a transaction token's are (section 7.4).

    Raises:
        Forbidden: ``exchange.answer``.
    """
    if given.issued != TXN_TOKEN:
        raise broken(f"issued_token_type {given.issued}", TXN_TOKEN)
    if given.usage.upper() != _USAGE:
        raise broken(f"token_type {given.usage}", _USAGE)
    if given.renews:
        raise broken("a refresh token", "none with a transaction token")
    if given.seconds <= 0:
        raise broken(f"expires_in {given.seconds:g}", "a token that counts for a while")


def check_lifetime(given: Caller, longest: float) -> None:
    """Hold a token to the minutes that it may live.

    Raises:
        Forbidden: ``exchange.answer``.
    """
    seconds = given.expires_at - (given.issued_at or 0.0)
    if not 0 < seconds <= longest:
        raise broken(f"a token for {seconds:.0f} s", f"one for {longest:g} s at most")


def check_new(given: Caller, scopes: frozenset[str], subject: str | None) -> None:
    """Hold a new transaction to its purpose and to its subject.

    Args:
        given: whose it is.
        scopes: what was asked for.
        subject: whose it must be; None for whom the service names.

    Raises:
        Forbidden: ``exchange.answer``.
    """
    check_within("scopes", given.scopes, scopes)
    if subject is not None and given.subject != subject:
        raise broken("another subject", "the subject's own")


def check_replacement(given: Caller, before: Caller, scopes: frozenset[str]) -> None:
    """Hold a replacement to what never changes, and to no more than there was (section 9.12).

    To its details and its workloads some may be added, and what was said of them stays.

    Raises:
        Forbidden: ``exchange.answer``.
    """
    check_within("scopes", given.scopes, scopes & before.scopes)
    now, then = given.transaction, before.transaction
    if now is None or then is None:
        raise broken("no transaction token", "one of the same transaction")
    workloads = _one_by_one(then.req_wl)
    same = {
        "txn": (now.txn, then.txn),
        "sub": (given.subject, before.subject),
        "aud": (given.audience, before.audience),
        "tctx": ({name: now.tctx.get(name, ...) for name in then.tctx}, then.tctx),
        "req_wl": (_one_by_one(now.req_wl)[: len(workloads)], workloads),
    }
    for claim, (new, old) in same.items():
        if new != old:
            raise broken(f"a replacement with another {claim}", f"the same {claim}")


def check_replaced(before: Caller, now: float) -> Transaction:
    """Return the transaction of a token that may be replaced: no expired one ever is.

    Raises:
        CallerError: it is no transaction token.
        Untimely: ``token.expired``.
    """
    if before.transaction is None:
        raise CallerError("this caller has no transaction token to be replaced: token_for(...)")
    if now >= before.expires_at:
        found = f"{now - before.expires_at:.0f} s past exp"
        raise Untimely(
            "token.expired", found=found, expected="one that counts: no other is replaced"
        )
    return before.transaction


def _one_by_one(workloads: tuple[str, ...]) -> list[str]:
    """Return workloads as a list: some services append them with a comma."""
    return ",".join(workloads).split(",")
