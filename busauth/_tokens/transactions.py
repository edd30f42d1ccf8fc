"""What a transaction token says of its transaction (draft-ietf-oauth-transaction-tokens-10).

Rules, next to those that hold for every token:

1. `aud` is one trust domain, and `sub`, which is unique inside of it, is not empty.
2. `txn` is an id that may be shown: short, printable, and no token.
3. `scope` is a string; `tctx` and `rctx` are objects, where they are there.
4. `req_wl` names a workload; a list names those of replacements, too, the first one first.
5. No other token is inside: not under the name of one, and no text that has the shape of one. What
   an opaque token is, nobody can see; whoever issues is not to put one in, either.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from busauth._redaction import redact
from busauth.caller import Transaction, read_only
from busauth.errors import NotGenuine

_LONGEST = 255
"""Characters of what names a transaction or a workload."""

_MOST_WORKLOADS = 16
_TOKENS = frozenset({"access_token", "refresh_token", "id_token", "subject_token", "actor_token"})


def transaction_of(claims: Mapping[str, Any]) -> Transaction:
    """Return the transaction of a payload that is a service's word.

    Raises:
        NotGenuine: ``token.claim_invalid``, or ``token.embedded`` for a token that is inside.
    """
    if isinstance(audience := claims["aud"], list) and len(audience) != 1:
        raise _invalid("aud", f"{len(audience)} of them", "one trust domain")
    if not claims["sub"]:
        raise _invalid("sub", "nothing", "a subject that is unique in its trust domain")
    for name in ("tctx", "rctx"):
        if not isinstance(claims.get(name, {}), dict):
            raise _invalid(name, type(claims[name]).__name__, "an object")
    _check_nothing_inside(claims)
    return Transaction(
        txn=_named("txn", claims["txn"]),
        scope=_scope(claims["scope"]),
        tctx=read_only(claims.get("tctx", {})),
        rctx=read_only(claims.get("rctx", {})),
        req_wl=tuple(_workloads(claims["req_wl"])),
    )


def _scope(scope: Any) -> str:
    if not isinstance(scope, str):
        raise _invalid("scope", type(scope).__name__, "a string")
    return scope


def _workloads(said: Any) -> Iterator[str]:
    named = said if isinstance(said, list) else [said]
    if not 0 < len(named) <= _MOST_WORKLOADS:
        raise _invalid("req_wl", f"{len(named)} of them", f"1 to {_MOST_WORKLOADS}")
    for workload in named:
        yield _named("req_wl", workload)


def _named(claim: str, value: Any) -> str:
    """Return a name that may be shown wherever it goes."""
    if not isinstance(value, str):
        raise _invalid(claim, type(value).__name__, "a string")
    if not 0 < len(value) <= _LONGEST or not value.isprintable():
        expected = f"1 to {_LONGEST} printable characters"
        raise _invalid(claim, f"{len(value)} characters", expected)
    return value


def _check_nothing_inside(value: Any, within: str = "") -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if name.lower() in _TOKENS or redact(name) != name:
                raise _embedded(within or "the payload")
            _check_nothing_inside(item, within or name)
    elif isinstance(value, list):
        for item in value:
            _check_nothing_inside(item, within)
    elif isinstance(value, str) and redact(value) != value:
        raise _embedded(within)


def _embedded(within: str) -> NotGenuine:
    found = f"a token inside of {redact(within)[:_LONGEST]}"
    return NotGenuine("token.embedded", found=found, expected="a transaction token without one")


def _invalid(claim: str, found: str, expected: str) -> NotGenuine:
    return NotGenuine("token.claim_invalid", found=f"{claim}: {found}", expected=expected)
