"""The one place where a copy of a received message is built, from an allow-list.

A copy is persistent. Of the sender's properties it carries those that mean nothing to the broker;
`user_id`, `expiration`, `CC`, `BCC` and those ``x-...`` headers that brokers know would act on the
copy in our name; they are noted as data instead. A dead letter carries no token, unless encrypted
for whoever may send it again; a retry keeps it, to be judged again. Both keep the publisher's
proof, which is no token. What does not fit the negotiated frame is cut, the sender's largest
headers first, and listed.

A dead letter can always be made: what of the sender's cannot be written again is left out, and
where that is not enough, a bare one goes, of body, id and reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple
from uuid import uuid4

from pamqp import encode
from pamqp.commands import Basic

from busauth._amqp import headers as names
from busauth._amqp.delivery import Delivery
from busauth._amqp.publishing.rewriting import (
    PERSISTENT,
    UNWRITABLE,
    TokenSearch,
    as_it_is,
    rewritten,
    rewritten_properties,
    sender_headers,
    short,
)
from busauth._amqp.publishing.sealing import added_to, copy_of, is_extension, is_noted, mark_of
from busauth._messages.canonical import spelled
from busauth._messages.proof.signer import first_proof
from busauth._messages.provenance import BROKER_STAMP
from busauth._messages.seal import Copy, Sealed
from busauth.errors import Refused, evidence

Keep = Callable[[str, bytes], str]
"""Encrypts a token for the letter with this message id and body."""

_STAMPED = frozenset({BROKER_STAMP})
"""What a stamping broker writes anew."""

_LEFT_BEHIND = frozenset({names.TOKEN, names.PROOF, names.BY, names.STATEMENT, *_STAMPED})
"""What a message that goes back does not take along: it gets another, or none."""

_CHANNEL_OVERHEAD = 64 + 192
"""Bytes kept free for what the broker adds to a frame on its way out, and for a seal."""

_KEPT, _NOTED = 1000, 100
"""Headers of a sender's that are kept, and that are noted as data."""

# a SHA-256 in hexadecimal takes 64 of them
_MARK_BYTES = 96
"""Bytes kept free for the mark of a sender's ``x-...`` headers, beside their names."""

_CUT_NAMES, _CUT_CHARACTERS = 50, 300
# a character takes four bytes in UTF-8 at most; beside the text stand its name and its length
_CUT_BYTES = 4 * _CUT_CHARACTERS + 64
"""Bytes kept free for the list of what was cut."""

_MISSED_LEAST = (
    names.TRACE,
    names.STORY,
    names.PARENT,
    names.EXCHANGE,
    names.ROUTING_KEY,
    names.ORIGIN,
    names.DETAIL,
    names.QUEUE,
    names.TXN,
    names.PROOF,
    names.SUBJECT,
    names.ISSUER,
)
"""Headers of busauth's own that go first where a frame is small, in this order."""

_FROM_SENDERS = frozenset({names.DETAIL, names.ORIGIN, names.PARENT})
"""Headers of busauth's own in which a sender may have had their token written."""

# without these nobody could tell why, when, and with which token it was refused
_ALWAYS = frozenset({names.REFUSAL, names.AT, names.TOKEN_SHA256})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message about to be published; its repr shows neither headers nor body, nor the token.

    Attributes:
        body, properties: as they are written.
        must_route: whether it is an error that no queue takes it.
        token: on whose behalf it is published, raw; None for nobody's, and for copies.
    """

    body: bytes = field(repr=False)
    properties: Basic.Properties = field(repr=False)
    must_route: bool = True
    token: str | None = field(default=None, repr=False)


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
        whose: the issuer and the subject of its token, where a trusted issuer signed that.
        token: its token as it was read, to know it wherever else its sender has put it.
        token_sha256: identifies its token.
        proven: whether its publisher's proof held, so that it is worth keeping.
        keep: encrypts its token for whoever may send it again, None where none is kept.
        carried: what busauth says of the message, for whoever may send it again.
        transaction: its `txn`, where its caller came with a transaction token.
    """

    refused: Refused
    queue: str
    at: float
    whose: tuple[str, str] | None = None
    token: str | None = field(default=None, repr=False)
    token_sha256: str | None = None
    proven: bool = False
    keep: Keep | None = field(default=None, repr=False)
    carried: Carried | None = field(default=None, repr=False)
    transaction: str | None = None


def dead_letter(
    message: Delivery, refusal: Refusal, *, token_header: str, frame_max: int
) -> Outgoing:
    """Return the copy for the dead letters or the rejected: the reason in, the token out.

    One can always be made, and fits: where that of the whole message cannot, a bare one is.
    """
    try:
        search = TokenSearch(message.headers, token_header, refusal.token)
        properties, lost = rewritten_properties(message.raw, clean=search.without_token)
        headers = {
            name: value
            for name, value in sender_headers(message.headers, token_header)
            if not search.finds(name, value)
        }
        # what is noted goes first: of more headers than are kept it is the first that stay
        sent = _Sent(properties, _noted(message, token_header, search) | headers, lost, search)
        whole = _letter(message, refusal, sent, frame_max)
    except UNWRITABLE:  # whatever its sender chose, a message can be refused
        whole = None
    return whole or bare(message, refusal, frame_max)


def bare(message: Delivery, refusal: Refusal, frame_max: int) -> Outgoing:
    """Return a letter of body, id and reason; what goes wrong with that is no fault of a sender's.

    Raises:
        ValueError: a frame of `frame_max` bytes is too small for a reason.
    """
    search = TokenSearch(message.headers, names.AUTHORIZATION, refusal.token)
    properties = Basic.Properties(
        delivery_mode=PERSISTENT, message_id=short(message.message_id, search.without_token)
    )
    sent = _Sent(properties, {}, ["all but body and id"], search)
    letter = _letter(message, refusal, sent, frame_max)
    if letter is None:
        raise ValueError(f"frame_max={frame_max}: no dead letter fits, expected 4096 or more")
    return letter


class _Sent(NamedTuple):
    """What of a sender's goes into a letter, and the names of what cannot."""

    properties: Basic.Properties
    headers: dict[str, Any]
    lost: list[str]
    search: TokenSearch


def _letter(message: Delivery, refusal: Refusal, sent: _Sent, frame_max: int) -> Outgoing | None:
    """Return a letter with the reason, None where it does not fit even without headers."""
    properties, kept, lost, search = sent
    properties.message_id = properties.message_id or uuid4().hex  # a kept token is bound to it
    own = _reason(refusal) | {
        names.EXCHANGE: search.told(message.exchange),
        names.ROUTING_KEY: search.told(message.routing_key),
        **(_only(message.headers, names.PROOF) if refusal.proven else {}),
        **(_marked(message, refusal.carried) if refusal.carried else _unsealed(refusal)),
    }
    own |= {name: search.hidden(own[name]) for name in _FROM_SENDERS & own.keys()}
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
    # a frame of 0 bytes is one without a limit (AMQP 0-9-1, connection.tune)
    while frame_max and names.header_frame_size(properties) > room:
        if not droppable:
            return False
        lost.append(droppable[0])
        del own[droppable.pop(0)]
    return True


LAST = 0
"""The priority of what waits behind all others in their own queue: RabbitMQ 4.3 takes a message
that says none before one whose sender said 0."""


def retry(
    message: Delivery,
    carried: Carried,
    *,
    token_header: str,
    frame_max: int,
    priority: int | None = None,
) -> Outgoing:
    """Return the copy that waits in a delay queue and comes back with its token and its proof.

    There it has no priority: a quorum queue looks at the foremost message alone for what has
    expired, so that each message with a priority would hold up all others that wait.
    """
    properties, lost = rewritten_properties(message.raw, clean=as_it_is)
    properties.priority = priority
    token = names.as_text(message.headers.get(token_header))
    # where a statement stands for its token, what a letter kept of that travels beside it
    instead = (names.STATEMENT, names.TOKEN, names.TOKEN_SHA256) if token is None else ()
    own = {
        **_only(message.headers, names.PROOF, *instead),
        **_only({token_header: token}, token_header),
        **_marked(message, carried),
    }
    by = names.by_in(message.headers) if carried.sealed.authority else None
    own |= {} if by is None else {names.BY: by}
    sent = sender_headers(message.headers, token_header)
    kept = {name: value for name, value in sent if name not in own}
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
    properties, _ = rewritten_properties(message.raw, clean=as_it_is)
    properties.headers = {**_kept(message, _LEFT_BEHIND), **identity}
    return Outgoing(message.body, properties)


def returned(message: Delivery, carried: Carried, *, token_header: names.TokenHeader) -> Outgoing:
    """Return the copy of a letter, or of what was parked, that goes back where it was.

    All that was written on it stays, its kept token too; how often it came back is sealed with it.
    A kept token that came where tokens travel is kept again, and what came released has its first
    proof again: the release's speaks of a token that stays behind.

    Raises:
        ValueError, TypeError and the like: it cannot be written again.
    """
    times = names.count_in(message.headers, names.RETURNED) + 1
    properties, _ = rewritten_properties(message.raw, clean=as_it_is)
    counted = {names.RETURNED: min(times, names.COUNT_LIMIT)}
    came = names.kept_in(message.headers, token_header)
    kept = {} if came is None else {names.TOKEN: came}
    proof = message.headers.get(names.PROOF)
    if token_header.name in message.headers and isinstance(proof, str):
        kept[names.PROOF] = first_proof(proof)
    left_behind = _STAMPED | {token_header.name, names.STATEMENT}
    properties.headers = {**_kept(message, left_behind), **kept, **counted}
    return _sealed(Outgoing(message.body, properties), carried, token_header.name)


def postponed(
    message: Delivery, carried: Carried, *, token_header: str, priority: int | None = None
) -> Outgoing:
    """Return the copy of a letter, or of what was parked, that waits undecided.

    It comes back as the letter that it is, with the token that it came with, if any.

    Raises:
        ValueError, TypeError and the like: it cannot be written again.
    """
    properties, _ = rewritten_properties(message.raw, clean=as_it_is)
    properties.priority = priority
    token = _only({token_header: names.as_text(message.headers.get(token_header))}, token_header)
    properties.headers = {**_kept(message, _STAMPED | {token_header}), **token}
    return _sealed(Outgoing(message.body, properties), carried, token_header)


def _kept(message: Delivery, left_behind: frozenset[str]) -> dict[str, Any]:
    """Return the headers of a copy of busauth's own that its next copy has, too."""
    left_behind |= added_to(message.headers, None)
    # what brokers act on stays behind as well; busauth's own are noted too, and come along
    return {
        name: rewritten(value)
        for name, value in message.headers.items()
        if name not in left_behind and (name.lower().startswith(names.PREFIX) or not is_noted(name))
    }


def _marked(message: Delivery, carried: Carried) -> dict[str, Any]:
    """Write what the next delivery may believe; without a seal, the attempt as a hint."""
    hints: dict[str, Any] = {names.HOP: names.count_in(message.headers, names.HOP)}
    said = {
        names.PARENT: names.id_in(message.headers.get(names.PARENT)),
        names.TRACE: names.mark_in(message.headers) or message.mark,
    }
    hints |= {name: value for name, value in said.items() if value is not None}
    if carried.seal is None:
        return {**hints, names.ATTEMPT: carried.sealed.attempt}
    return {**hints, **carried.sealed.headers()}


def _unsealed(refusal: Refusal) -> dict[str, Any]:
    """A dead letter has a name in any case; under no seal, nobody believes it."""
    return {names.LETTER: uuid4().hex} if refusal.refused.genuine else {}


def _sealed(copy: Outgoing, carried: Carried | None, token_header: str | None) -> Outgoing:
    """Seal what is sent, and not what was meant to be: after the last header was cut."""
    if carried is not None and carried.seal is not None:
        headers = copy.properties.headers = dict(copy.properties.headers or {})
        if mark := mark_of(headers, token_header):
            headers[names.KEPT] = mark
        headers[names.SEAL] = carried.seal(copy_of(copy.properties, copy.body, token_header))
    return copy


def _only(headers: Mapping[str, Any], *wanted: str) -> dict[str, Any]:
    """Tokens and proofs are text; what is something else is neither."""
    return {name: headers[name] for name in wanted if isinstance(headers.get(name), str)}


def _reason(refusal: Refusal) -> dict[str, Any]:
    issuer, subject = refusal.whose or (None, None)
    found = {
        names.REFUSAL: refusal.refused.code,
        names.DETAIL: refusal.refused.detail,
        names.QUEUE: refusal.queue,
        names.AT: datetime.fromtimestamp(refusal.at, UTC).isoformat(timespec="milliseconds"),
        names.ISSUER: evidence(issuer),
        names.SUBJECT: evidence(subject),
        names.TOKEN_SHA256: refusal.token_sha256,
        names.TXN: refusal.transaction,
    }
    return {name: value for name, value in found.items() if value is not None}


def _noted(message: Delivery, token_header: str, search: TokenSearch) -> dict[str, Any]:
    """Tell what was left out, as text that no broker acts on; of many, the last and how many."""
    left_out: dict[str, object] = {
        name: value
        for name, value in message.headers.items()
        if is_noted(name) and name != token_header
    }
    # in our name the one would close the channel, and the other let the copy expire
    left_out |= {"user_id": message.raw.user_id, "expiration": message.raw.expiration}
    told = [(name, value) for name, value in left_out.items() if value is not None]
    noted = {search.told(name): search.told(value) for name, value in told[-_NOTED:]}
    if len(told) > _NOTED:
        noted["…"] = f"{len(told) - _NOTED} more"
    return {names.NOTED: noted} if noted else {}


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
    marked = any(is_extension(name) for _, name in by_size)
    over = sum(size for size, _ in by_size) + _MARK_BYTES * marked - room
    while frame_max and over > 0 and by_size:
        size, name = by_size.pop()
        over -= size
        cut.append(name)
    left = {name: kept[name] for _, name in by_size}
    if cut:
        # first what went first; how many there are is told even where their names are too long
        told = ", ".join(evidence(name) or "" for name in cut[:_CUT_NAMES])
        own = {**own, names.CUT: f"{len(cut)}: {told}"[:_CUT_CHARACTERS]}
    properties.headers = {**left, **own}
    return Outgoing(body, properties)


def _encoded_size(name: str, value: Any) -> int | None:
    """Return the bytes of one header, None where it cannot be sent, although it could be read."""
    try:
        spelled({name: value})  # names too long, or levels too deep: pamqp would cut them
        named = encode.field_array([name]) if is_extension(name) else b""  # once more, in the mark
        return len(encode.field_table({name: value})) + len(named)
    except Exception:  # whatever is wrong with one header, the message goes without it
        return None
