"""`busauth token inspect`: what a token says of itself, none of which is proven by that."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import typer

from busauth._messages.proof.binding import TYPE as PROOF
from busauth._redaction import redact
from busauth._tokens.compact import is_signed, split
from busauth._tokens.encryption.encryption import KEPT
from busauth._tokens.envelope import is_encrypted, read
from busauth._tokens.verifier import fingerprint
from busauth.caller import acting_for
from busauth.cli.looking.given import TokenIn, given_token
from busauth.cli.options import AsJson
from busauth.clock import SystemClock
from busauth.errors import NotGenuine, evidence

_INSTANTS = {"exp": "expires", "iat": "issued", "nbf": "counts from", "auth_time": "signed in"}
_KINDS: Mapping[str, str] = {
    PROOF: "proof of a message",
    KEPT: "kept token of a letter, encrypted",
    "busauth-redrive+jwt": "operator's statement",
    "secevent+jwt": "security event",
    "at+jwt": "access token",
}
"""What a `typ` says that it is; of another kind it is what it is written as."""

_MOST_BYTES = 1024 * 1024
_DAY = 86_400.0
_SPANS = ((_DAY, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What a token says of itself; nothing of its signature, and no token within it.

    Attributes:
        kind: what it is, by its looks.
        bytes: how long it is.
        sha256: identifies it, and is safe to show.
        header: its header; None where it has none that can be read.
        claims: its claims; None where they cannot be read: it is encrypted, or opaque.
        times: what its instants are, against the clock, in words.
        wrong: why it cannot be read, None where it can.
    """

    kind: str
    bytes: int
    sha256: str
    header: Mapping[str, Any] | None = None
    claims: Mapping[str, Any] | None = None
    times: Mapping[str, str] | None = None
    wrong: str | None = None


def inspect(file: TokenIn = None, *, as_json: AsJson = False) -> None:
    """Tell what a token says of itself: header, claims, times, size, digest. Nothing is verified.

    It is read from a file or standard input, and never printed whole; nothing of its signature is.

    Example: busauth token inspect < token
    """
    inspected = inspected_of(given_token(file), SystemClock().now())
    if as_json:
        typer.echo(json.dumps(asdict(inspected)))
    else:
        for line in lines_of(inspected):
            typer.echo(line)


def inspected_of(token: str, now: float) -> Inspected:
    """Return what a token says of itself at an instant."""
    size, digest = len(token.encode("utf-8", "surrogatepass")), fingerprint(token)
    try:
        header, claims = _parts(token)
    except NotGenuine as refused:
        kind = "JWE" if is_encrypted(token) else "JWS"
        return Inspected(kind=kind, bytes=size, sha256=digest, wrong=refused.detail)
    return Inspected(
        kind=_kind(token, header),
        bytes=size,
        sha256=digest,
        header=_shown(header),
        claims=_shown(claims),
        times=dict(_times(claims, now)) if claims is not None else None,
    )


def _parts(token: str) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Return header and claims as far as anybody can read them.

    Raises:
        NotGenuine: it looks like one that can be read, and cannot.
    """
    if is_encrypted(token):
        return read(token, max_bytes=_MOST_BYTES, max_header=_MOST_BYTES).header, None
    if is_signed(token):
        compact = split(token, max_bytes=_MOST_BYTES)
        return compact.header, compact.payload
    return None, None


def _kind(token: str, header: Mapping[str, Any] | None) -> str:
    if header is None:
        return "opaque: a reference, or no token at all"
    written = "JWE" if is_encrypted(token) else "JWS"
    typ = header.get("typ")
    plain = typ.lower().removeprefix("application/") if isinstance(typ, str) else ""
    usual = "encrypted" if written == "JWE" else "signed"
    return f"{written}, {_KINDS.get(plain, usual)}"


def _shown(value: Any) -> Any:
    """Return what a token says, without tokens: a proof holds the one that it was made for."""
    if isinstance(value, Mapping):
        return {redact(str(name)): _shown(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    return redact(value) if isinstance(value, str) else value


def _times(claims: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    for name, what in _INSTANTS.items():
        at = claims.get(name)
        if isinstance(at, int | float) and not isinstance(at, bool):
            yield name, told_instant(what, at, now)


def told_instant(what: str, at: float, now: float) -> str:
    """Return an instant in words, against the clock."""
    try:
        written = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{what}: {at}, in no year that there is"
    away = at - now
    if what == "expires" and away <= 0:
        what = "expired"
    return f"{what} {written}, {span(abs(away))} {'ago' if away <= 0 else 'from now'}"


def span(seconds: float) -> str:
    """Return so many seconds in the two largest units that they fill."""
    parts, left = list[str](), round(seconds)
    for size, unit in _SPANS:
        count, left = divmod(left, int(size))
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def lines_of(inspected: Inspected) -> Iterator[str]:
    """Yield what is printed."""
    yield f"kind    {inspected.kind}"
    yield f"size    {inspected.bytes} bytes"
    yield f"sha256  {inspected.sha256}"
    if inspected.wrong is not None:
        yield f"wrong   {inspected.wrong}"
    for title, said in (("header", inspected.header), ("claims", inspected.claims)):
        if said is not None:
            yield f"\n{title}"
            yield from (f"  {evidence(name)}: {_printed(value)}" for name, value in said.items())
    if acting := _acting(inspected.claims or {}):
        yield f"\nactor   {acting}"
    if inspected.times:
        yield "\ntimes"
        yield from (f"  {name}: {told}" for name, told in inspected.times.items())


def _acting(claims: Mapping[str, Any]) -> str | None:
    """Return who acts for whom, by the token's own word; None where nobody does."""
    act = claims.get("act")
    actor = act.get("sub") if isinstance(act, Mapping) else None
    return None if actor is None else acting_for(evidence(actor), evidence(claims.get("sub")))


def _printed(value: Any) -> str:
    # as JSON, which escapes what would move a terminal's cursor
    return json.dumps(value)
