"""`busauth token verify`: each rule that a guard holds a token to, with its evidence."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import typer

from busauth._amqp.guard import Guard
from busauth._decision import decide
from busauth._demand import Demand
from busauth._tokens.compact import is_signed, split
from busauth._tokens.envelope import is_encrypted
from busauth._tokens.evidence import Verified
from busauth._tokens.keys.waiting import found
from busauth.audit import told_acting
from busauth.cli.again import telling
from busauth.cli.looking.given import TokenIn, given_token
from busauth.cli.looking.inspecting import told_instant
from busauth.cli.looking.whose import BusOf, Of, Whose
from busauth.cli.options import AsJson, Exit
from busauth.errors import Deferred, NotGenuine, Refused, evidence

_RULES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "read": ("it can be read", ()),
    "issuer": ("its issuer is trusted", ("token.issuer",)),
    "type": ("it is an access token", ("token.crit", "token.type")),
    "algorithm": ("its issuer signs with that", ("token.algorithm",)),
    "key": ("its key is its issuer's", ("token.key_unknown", "token.key_retired")),
    "signature": ("that key signed it", ("token.signature",)),
    "claims": (
        "its claims are as they must be",
        ("token.claim_missing", "token.claim_invalid", "token.sender_constrained", "token.client"),
    ),
    "audience": ("it is for this service", ("token.audience",)),
    "time": (
        "it counts now",
        ("token.not_yet_valid", "token.issued_in_future", "token.expired"),
    ),
    "revoked": ("nobody has revoked it", ("token.revoked",)),
}
"""The rules in the order in which a token meets them, and the codes of those who break one."""

_MOST_BYTES = 1024 * 1024
_WIDE = len("not reached")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """One rule, and what was found.

    Attributes:
        rule: its name.
        asks: what it asks.
        state: ``passed``, ``refused``, ``unknown`` or ``not reached``.
        found, expected: the evidence.
    """

    rule: str
    asks: str
    state: str
    found: str | None = None
    expected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """What a guard says of a token.

    Attributes:
        verdict: ``accepted``, ``refused`` or ``unknown``.
        rules: each of them.
        code, detail: why, where it is not accepted.
    """

    verdict: str
    rules: tuple[Ruling, ...]
    code: str | None = None
    detail: str = ""


def verify(
    file: TokenIn = None, *, bus: BusOf = None, settings: Of = None, as_json: AsJson = False
) -> None:
    """Hold a token to each rule of a bus's guard, or of a settings file's, as at the edge.

    It is read from a file or standard input, and never printed. Exit codes: 0 it is accepted; 3 it
    is refused; 4 that cannot be told now.

    Example: busauth token verify --settings busauth.toml < token
    """
    whose, token = Whose.of(bus, settings), given_token(file)
    with telling():
        ruled = asyncio.run(_ruled(whose, token))
    if as_json:
        typer.echo(json.dumps(asdict(ruled)))
    else:
        for line in _lines(ruled):
            typer.echo(line)
    exits = {"accepted": Exit.DONE, "refused": Exit.STAYS}
    raise typer.Exit(exits.get(ruled.verdict, Exit.OPEN))


async def _ruled(whose: Whose, token: str) -> Ruled:
    async with whose.informed():
        return await ruled_by(whose.guard, token)


async def ruled_by(guard: Guard, token: str) -> Ruled:
    """Return what a guard says of a token, rule by rule; nothing that is late is accepted."""
    told, decryption = dict[str, str](), guard.messages.decryption
    try:
        if is_encrypted(token) and decryption is not None:
            token = decryption.decrypt(token)
        told.update(_said(token))
        verified = await found(lambda: guard.core.trusted.recall(token))
        now = guard.clock.now()
        told.update(_proven(verified, now))
        await decide(verified, guard.core.edge_rules(Demand(), None), now)
    except Refused as refused:
        at = next((rule for rule, (_, codes) in _RULES.items() if refused.code in codes), "read")
        broken = _ruling(at, "refused", refused.found, refused.expected)
        rules, detail = _rules_until(broken, told), refused.detail
        return Ruled(verdict="refused", rules=rules, code=refused.code, detail=detail)
    except Deferred as deferred:
        at = "revoked" if "audience" in told else "key"
        rules = _rules_until(_ruling(at, "unknown", deferred.reason), told)
        return Ruled(verdict="unknown", rules=rules, detail=deferred.reason)
    return Ruled(verdict="accepted", rules=_rules_until(None, told))


def _rules_until(broken: Ruling | None, told: Mapping[str, str]) -> tuple[Ruling, ...]:
    """Return all rules: those in front of a broken one have passed, those behind were not met."""
    rules, is_met = list[Ruling](), True
    for name in _RULES:
        if broken is not None and name == broken.rule:
            rules.append(broken)
            is_met = False
        elif is_met:
            rules.append(_ruling(name, "passed", told.get(name)))
        else:
            rules.append(_ruling(name, "not reached"))
    return tuple(rules)


def _ruling(name: str, state: str, found: str | None = None, expected: str | None = None) -> Ruling:
    asks = _RULES[name][0]
    return Ruling(rule=name, asks=asks, state=state, found=found, expected=expected)


def _said(token: str) -> Iterator[tuple[str, str]]:
    """Yield what is read of a token before anything of it is proven."""
    if not is_signed(token):
        yield "read", f"a reference of {len(token)} bytes, which its issuer is asked about"
        return
    try:
        compact = split(token, max_bytes=_MOST_BYTES)
    except NotGenuine:  # whoever verifies it says what is wrong
        return
    header = compact.header
    yield "read", f"a JWS of {len(token)} bytes"
    yield "issuer", evidence(compact.payload.get("iss")) or "no iss"
    yield "type", f"typ {evidence(header.get('typ'))}"
    yield "algorithm", f"alg {evidence(header.get('alg'))}"
    yield "key", f"kid {evidence(header.get('kid'))}"


def _proven(verified: Verified, now: float) -> Iterator[tuple[str, str]]:
    caller = verified.caller
    acting = f", {told_acting(caller)}" if caller.actors else ""
    yield "claims", f"subject {evidence(caller.subject)}, client {evidence(caller.client)}{acting}"
    yield "audience", " ".join(sorted(caller.audience))
    told = told_instant("expires", caller.expires_at, now)
    is_leeway = caller.expires_at <= now < verified.ends_at
    yield "time", told + (f", within the leeway of {verified.leeway:g} s" if is_leeway else "")


def _lines(ruled: Ruled) -> Iterator[str]:
    for each in ruled.rules:
        expected = f" (expected {each.expected})" if each.expected is not None else ""
        yield f"{each.state:<{_WIDE}}  {each.rule:<{_WIDE}} {each.found or each.asks}{expected}"
    yield ""
    yield ruled.verdict.capitalize() + (f": {ruled.detail}" if ruled.detail else "")
