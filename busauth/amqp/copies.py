"""The one place where a copy of a received message is built, from an allow-list.

A copy is persistent. Of the sender's properties it carries those that mean nothing to the broker;
`user_id`, `expiration`, `CC`, `BCC` and ``x-...`` headers would act on the copy in our name; they
are noted as data instead. A dead letter carries no token, unless encrypted for whoever may send it
again; a retry keeps it, to be judged again. Both keep the publisher's proof, which is no token.
What does not fit the negotiated frame is cut, the sender's largest headers first, and listed.

A dead letter can always be made: what of the sender's cannot be written again is left out, and
where that is not enough, a bare one goes, of body, id and reason.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple
from uuid import uuid4

from pamqp import encode
from pamqp.commands import Basic

from busauth.amqp import headers as names
from busauth.amqp.delivery import Delivery
from busauth.amqp.sealing import copy_of, is_noted
from busauth.caller import Caller
from busauth.errors import Refused, evidence
from busauth.late.canonical import spelled
from busauth.late.published import BROKER_STAMP
from busauth.late.seal import Copy, Sealed
from busauth.redaction import TOKEN_SHAPE, may_hold_token, redact

Keep = Callable[[str, bytes], str]
"""Encrypts a token for the letter with this message id and body."""

_Cleaning = Callable[[str | None], str | None]

_PERSISTENT = 2
_TOKEN_HEADERS = frozenset({names.AUTHORIZATION, names.TXN_TOKEN, "proxy-authorization"})
_LEFT_BEHIND = frozenset({names.TOKEN, names.PROOF, BROKER_STAMP})
"""What a message that goes back does not take along: it gets another, or none."""

_CHANNEL_OVERHEAD = 64 + 192
"""Bytes kept free for what the broker adds to a frame on its way out, and for a seal."""

_KEPT, _NOTED = 1000, 100
"""Headers of a sender's that are kept, and that are noted as data."""

_SEARCHED = 16 * 1024
"""Characters that are searched for tokens, of those headers that may have one."""

_CUT_NAMES, _CUT_CHARACTERS = 50, 300
_CUT_BYTES = 4 * _CUT_CHARACTERS + 64
"""Bytes kept free for the list of what was cut."""

_MISSED_LEAST = (
    names.EXCHANGE,
    names.ROUTING_KEY,
    names.ORIGIN,
    names.DETAIL,
    names.QUEUE,
    names.PROOF,
    names.SUBJECT,
    names.ISSUER,
)
"""Headers of busauth's own that go first where a frame is small, in this order."""

_ALWAYS = frozenset({names.REFUSAL, names.AT, names.TOKEN_SHA256})
_PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
"""Direct reply-to as its asker says it, and as no delivery has it over AMQP 0-9-1: published by
somebody who asks for no replies, it closes their channel."""

_EPOCH = 1970
_SHORT = 255
"""Bytes of a property that is text (AMQP 0-9-1, section 4.2.5.3)."""
_OCTET = 255

_TOO_DEEP = object()
"""In place of a header's value: pamqp writes none of this type, so that it is cut."""

UNWRITABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""What pamqp raises over values that it could read and cannot write."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message about to be published; its repr shows neither headers nor body."""

    body: bytes = field(repr=False)
    properties: Basic.Properties = field(repr=False)


class Carried(NamedTuple):
    """What a copy carries on.

    Attributes:
        sealed: what busauth says of the message.
        seal: seals the copy with that, None without a key.
    """

    sealed: Sealed
    seal: Callable[[Copy], str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a dead letter tells about its decision.

    Attributes:
        refused: why.
        queue: in front of which queue.
        at: when, seconds since the epoch.
        caller: whose message it is, where that is proven.
        token_sha256: identifies its token.
        proven: whether its publisher's proof held, so that it is worth keeping.
        keep: encrypts its token for whoever may send it again, None where none is kept.
        carried: what busauth says of the message, for whoever may send it again.
    """

    refused: Refused
    queue: str
    at: float
    caller: Caller | None = None
    token_sha256: str | None = None
    proven: bool = False
    keep: Keep | None = field(default=None, repr=False)
    carried: Carried | None = field(default=None, repr=False)


def dead_letter(
    message: Delivery, refusal: Refusal, *, token_header: str, frame_max: int
) -> Outgoing:
    """Return the copy for the dead letters or the rejected: the reason in, the token out.

    One can always be made, and fits: where that of the whole message cannot, a bare one is.
    """
    try:
        whole = _letter(message, refusal, _sent(message, token_header), frame_max)
    except UNWRITABLE:
        whole = None
    return whole or bare(message, refusal, frame_max)


def bare(message: Delivery, refusal: Refusal, frame_max: int) -> Outgoing:
    """Return a letter of body, id and reason; what goes wrong with that is no fault of a sender's.

    Raises:
        ValueError: a frame of `frame_max` bytes is too small for a reason.
    """
    properties = Basic.Properties(
        delivery_mode=_PERSISTENT, message_id=_short(message.message_id, _without_token)
    )
    letter = _letter(message, refusal, _Sent(properties, {}, ["all but body and id"]), frame_max)
    if letter is None:
        raise ValueError(f"frame_max={frame_max}: no dead letter fits, expected 4096 or more")
    return letter


class _Sent(NamedTuple):
    """What of a sender's goes into a letter, and the names of what cannot."""

    properties: Basic.Properties
    headers: dict[str, Any]
    lost: list[str]


def _sent(message: Delivery, token_header: str) -> _Sent:
    properties, lost = _properties(message, clean=_without_token)
    search = _TokenSearch(token_header)
    headers = {
        name: value
        for name, value in _sender_headers(message.headers)
        if not search.finds(name, value)
    }
    return _Sent(properties, _noted(message, token_header) | headers, lost)


def _letter(message: Delivery, refusal: Refusal, sent: _Sent, frame_max: int) -> Outgoing | None:
    """Return a letter with the reason, None where it does not fit even without headers."""
    properties, kept, lost = sent
    properties.message_id = properties.message_id or uuid4().hex
    own = _reason(refusal) | {
        names.EXCHANGE: evidence(message.exchange),
        names.ROUTING_KEY: evidence(message.routing_key),
        **(_only(message.headers, names.PROOF) if refusal.proven else {}),
        **(_marked(message, refusal.carried) if refusal.carried else {}),
    }
    if refusal.keep is not None:
        try:
            kept = {names.TOKEN: refusal.keep(properties.message_id, message.body), **kept}
        except Refused:  # too long for who would keep it
            lost.append(names.TOKEN)
    if not _shortened(own, properties, frame_max, lost):
        return None
    fitted = _fitted(message.body, properties, own, kept, frame_max, lost=lost)
    return _sealed(fitted, refusal.carried, None)


def _shortened(
    own: dict[str, Any], properties: Basic.Properties, frame_max: int, lost: list[str]
) -> bool:
    """Drop of busauth's own headers what is missed least; return whether the rest fits a frame."""
    room = frame_max - _CHANNEL_OVERHEAD - _CUT_BYTES
    others = sorted(own.keys() - _ALWAYS - {*_MISSED_LEAST})
    droppable = [*(name for name in _MISSED_LEAST if name in own), *others]
    properties.headers = own
    while frame_max and names.header_frame_size(properties) > room:
        if not droppable:
            return False
        lost.append(droppable[0])
        del own[droppable.pop(0)]
    return True


def retry(message: Delivery, carried: Carried, *, token_header: str, frame_max: int) -> Outgoing:
    """Return the copy that waits in a delay queue and comes back with its token and its proof."""
    properties, lost = _properties(message, clean=_as_it_is)
    own = {
        **_only(message.headers, names.PROOF),
        **_only({token_header: names.as_text(message.headers.get(token_header))}, token_header),
        **_marked(message, carried),
    }
    kept = {name: value for name, value in _sender_headers(message.headers) if name not in own}
    return _sealed(
        _fitted(message.body, properties, own, kept, frame_max, lost=lost), carried, token_header
    )


def again(message: Delivery, identity: Mapping[str, str]) -> Outgoing:
    """Return the copy of a parked message or a dead letter that goes back to its queue.

    All that its consumer sealed goes back as it was; whether it holds is the consumer's question.

    Args:
        message: as it waited.
        identity: the headers of its token and of its proof.
    """
    headers = {
        name: _rewritten(value)
        for name, value in message.headers.items()
        if name not in _LEFT_BEHIND and not _acts(name)
    }
    properties, _ = _properties(message, clean=_as_it_is)
    properties.headers = {**headers, **identity}
    return Outgoing(message.body, properties)


def _marked(message: Delivery, carried: Carried) -> dict[str, Any]:
    """Write what the next delivery may believe; without a seal, the attempt as a hint."""
    hop = {names.HOP: names.count_in(message.headers, names.HOP)}
    if carried.seal is None:
        return {**hop, names.ATTEMPT: carried.sealed.attempt}
    return {**hop, **carried.sealed.headers()}


def _sealed(copy: Outgoing, carried: Carried | None, token_header: str | None) -> Outgoing:
    """Seal what is sent, and not what was meant to be: after the last header was cut."""
    if carried is not None and carried.seal is not None:
        headers = copy.properties.headers = dict(copy.properties.headers or {})
        headers[names.SEAL] = carried.seal(copy_of(copy.properties, copy.body, token_header))
    return copy


def _only(headers: Mapping[str, Any], *wanted: str) -> dict[str, Any]:
    """Tokens and proofs are text; what is something else is neither."""
    return {name: headers[name] for name in wanted if isinstance(headers.get(name), str)}


def _reason(refusal: Refusal) -> dict[str, Any]:
    caller = refusal.caller
    found = {
        names.REFUSAL: refusal.refused.code,
        names.DETAIL: refusal.refused.detail,
        names.QUEUE: refusal.queue,
        names.AT: datetime.fromtimestamp(refusal.at, UTC).isoformat(timespec="milliseconds"),
        names.ISSUER: evidence(caller.issuer) if caller else None,
        names.SUBJECT: evidence(caller.subject) if caller else None,
        names.TOKEN_SHA256: refusal.token_sha256,
    }
    return {name: value for name, value in found.items() if value is not None}


def _sender_headers(headers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Leave out what the broker acts on, and what only busauth may write."""
    for name, value in headers.items():
        if not is_noted(name):
            yield name, _rewritten(value)


def _rewritten(value: Any) -> Any:
    """Return what pamqp can write, or at least tell that it cannot: nested too deep for anybody."""
    try:
        return _writable(value)
    except RecursionError:
        return _TOO_DEEP


def _writable(value: Any) -> Any:
    """Turn text that was no UTF-8, which pamqp reads as bytes, into what pamqp can write."""
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, dict):
        return {name: _writable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    return value


class _TokenSearch:
    """Looks for tokens, which go wherever a sender puts them: known names, and what looks like one.

    What begins like one is searched up to some length in all, and counts as one beyond that.
    """

    def __init__(self, token_header: str) -> None:
        self._names = _TOKEN_HEADERS | {token_header}
        self._room = _SEARCHED

    def finds(self, name: str, value: object) -> bool:
        """Return whether a header has to be left out."""
        if name.lower() in self._names or name in self._names or self._in_text(name):
            return True
        return value is not None and any(self._in_text(text) for text in _texts(value))

    def _in_text(self, text: str) -> bool:
        if not may_hold_token(text):
            return False
        self._room -= len(text)
        return self._room < 0 or TOKEN_SHAPE.search(text) is not None


def _texts(value: object) -> Iterator[str]:
    """Return every text in a header's value, names and bytes included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes | bytearray):
        yield value.decode("latin-1")
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _noted(message: Delivery, token_header: str) -> dict[str, Any]:
    """Tell what was left out, as text that no broker acts on; of many, the last and how many."""
    left_out: dict[str, object] = {
        name: value
        for name, value in message.headers.items()
        if is_noted(name) and name != token_header
    }
    left_out |= {"user_id": message.raw.user_id, "expiration": message.raw.expiration}
    told = [(name, value) for name, value in left_out.items() if value is not None]
    noted = {evidence(name): evidence(value) for name, value in told[-_NOTED:]}
    if len(told) > _NOTED:
        noted["…"] = f"{len(told) - _NOTED} more"
    return {names.NOTED: noted} if noted else {}


def _acts(name: str) -> bool:
    """Return whether a broker would act on a header."""
    return is_noted(name) and not name.lower().startswith(names.PREFIX)


def _fitted(
    body: bytes,
    properties: Basic.Properties,
    own: dict[str, Any],
    kept: dict[str, Any],
    frame_max: int,
    *,
    lost: list[str],
) -> Outgoing:
    """Drop the largest of the sender's headers until the rest fits one frame.

    A frame may hold tens of thousands of headers: of so many the first are kept, each size is
    measured once.
    """
    sizes = {name: _encoded_size(name, value) for name, value in islice(kept.items(), _KEPT)}
    cut = [*lost, *(name for name in kept if sizes.get(name) is None)]
    by_size = sorted((size, name) for name, size in sizes.items() if size is not None)
    properties.headers = own
    room = frame_max - _CHANNEL_OVERHEAD - _CUT_BYTES - names.header_frame_size(properties)
    over = sum(size for size, _ in by_size) - room
    while frame_max and over > 0 and by_size:
        size, name = by_size.pop()
        over -= size
        cut.append(name)
    left = {name: kept[name] for _, name in by_size}
    listed = {names.CUT: _listed(cut)} if cut else {}
    properties.headers = {**left, **own, **listed}
    return Outgoing(body, properties)


def _listed(cut: list[str]) -> str:
    """Tell what was cut, the first to go first; all of it where that is short."""
    told = ", ".join(evidence(name) or "" for name in cut[:_CUT_NAMES])
    return f"{len(cut)}: {told}"[:_CUT_CHARACTERS]


def _encoded_size(name: str, value: Any) -> int | None:
    """Return the bytes of one header, None where it cannot be sent, although it could be read."""
    try:
        spelled({name: value})  # names too long, or levels too deep: pamqp would cut them
        return len(encode.field_table({name: value}))
    except Exception:
        return None


def _properties(message: Delivery, *, clean: _Cleaning) -> tuple[Basic.Properties, list[str]]:
    """Write a sender's properties again, and name those that cannot be."""
    raw = message.raw
    kept = {name: rewritten(getattr(raw, name), clean) for name, rewritten in _REWRITTEN.items()}
    lost = [
        _NAMES.get(name, name)
        for name, value in kept.items()
        if value is None and getattr(raw, name) is not None
    ]
    kept["message_id"] = kept["message_id"] or uuid4().hex  # what vouches for a copy names it
    return Basic.Properties(delivery_mode=_PERSISTENT, **kept), lost


def _short(value: object, clean: _Cleaning) -> str | None:
    """Return what can be a short string again, None for anything else."""
    if not isinstance(value, str):
        return None
    text = clean(value) or ""
    try:
        return text if len(text.encode()) <= _SHORT else None
    except UnicodeEncodeError:
        return None


def _reply_to(value: object, clean: _Cleaning) -> str | None:
    return None if value == _PSEUDO_QUEUE else _short(value, clean)


def _octet(value: object, _clean: _Cleaning) -> int | None:
    return value if type(value) is int and 0 <= value <= _OCTET else None


def _instant(value: object, _clean: _Cleaning) -> datetime | None:
    return value if isinstance(value, datetime) and value.year >= _EPOCH else None


_REWRITTEN: dict[str, Callable[[object, _Cleaning], Any]] = {
    "content_type": _short,
    "content_encoding": _short,
    "priority": _octet,
    "correlation_id": _short,
    "reply_to": _reply_to,
    "message_id": _short,
    "timestamp": _instant,
    "message_type": _short,
    "app_id": _short,
}
"""How each property of a sender's that a copy carries is written again: as None where it cannot."""

_NAMES = {"message_type": "type"}
"""What the standard calls a property, where pamqp has another name."""


def _without_token(text: str | None) -> str | None:
    """A short token fits a property, too."""
    return None if text is None else redact(text)


def _as_it_is(text: str | None) -> str | None:
    """What keeps its token anyway keeps what its proof speaks of."""
    return text
