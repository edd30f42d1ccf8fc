"""busauth's words on the wire: the names of headers, and reading them with suspicion.

docs/protocol.md describes them for other languages. Everything a message says about itself comes
from its sender; what is read here besides the token is a hint at most.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pamqp import commands, frame, header

from busauth._messages.proof import HEADER as PROOF
from busauth._messages.seal import ATTEMPT, ORIGIN
from busauth._messages.seal import HEADER as SEAL
from busauth._messages.statements import HEADER as STATEMENT
from busauth._messages.story import HEADER as STORY
from busauth._messages.story import LETTER
from busauth._redaction import redact
from busauth._tokens.encryption.kept import is_kept
from busauth.errors import NotGenuine

# names of other rooms that are headers, too
__all__ = ["ATTEMPT", "LETTER", "ORIGIN", "PROOF", "SEAL", "STATEMENT", "STORY"]

AUTHORIZATION = "authorization"
TXN_TOKEN = "txn-token"  # noqa: S105 -- a header's name
PREFIX = "busauth-"

REFUSAL = "busauth-refusal"
DETAIL = "busauth-detail"
QUEUE = "busauth-queue"
AT = "busauth-at"
ISSUER = "busauth-issuer"
SUBJECT = "busauth-subject"
ACTOR = "busauth-actor"
TOKEN_SHA256 = "busauth-token-sha256"  # noqa: S105 -- a header's name
TXN = "busauth-txn"
REASON = (REFUSAL, DETAIL, QUEUE, AT, ISSUER, SUBJECT, ACTOR, TOKEN_SHA256, TXN)
"""What a dead letter tells about its refusal."""

EXCHANGE = "busauth-exchange"
ROUTING_KEY = "busauth-routing-key"
NOTED = "busauth-noted"
CUT = "busauth-cut"
KEPT = "busauth-kept"
TOKEN = "busauth-token"  # noqa: S105 -- a header's name
BY = "busauth-by"
HOP = "busauth-hop"
PARENT = "busauth-parent"
TRACE = "busauth-trace"
RETURNED = "busauth-returned"
DELIVERY_COUNT, ACQUIRED_COUNT = "x-delivery-count", "x-acquired-count"
"""What a quorum queue says of earlier deliveries; on the first one, it may be a sender's.

From RabbitMQ 4.3 on a nack counts in the second alone.
"""

# Possessive, so that a long value of blanks is looked at once (RFC 6750; schemes have no case, RFC
# 9110, section 11.1).
_BEARER = re.compile(r"bearer ++(\S++)", re.IGNORECASE)
_SCHEME = re.compile(r"bearer\s*+", re.IGNORECASE)
_ONE_TOKEN = "<JWT>, once"  # noqa: S105 -- what is expected
# version, trace, span and flags, as a traceparent has them (W3C Trace Context, section 3.2)
_MARK = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
COUNT_LIMIT = 1_000_000  # attempts and hops: beyond is no count, and arithmetic with it stays cheap

_USUAL = (AUTHORIZATION, TXN_TOKEN, "proxy-authorization", "x-token", "token", "jwt")
"""Where others put a token."""

_SHOWN = 3  # headers that are named in an error
LONGEST_WORD = 80  # characters: who sent a letter again
_LONGEST_NAME = 255  # characters: a short string has so many bytes at most


def as_text(value: object) -> object:
    """Return ASCII bytes as the text that they are, and everything else as it is.

    AMQP 0-9-1 has a type for either, and some clients write one for the other. For headers that
    carry tokens, which are ASCII; what is no ASCII has no one reading.
    """
    if isinstance(value, bytes | bytearray) and value.isascii():
        return value.decode("ascii")
    return value


def bearer_token(value: object) -> str:
    """Return the token of an ``Authorization`` value (RFC 6750, section 2.1).

    Args:
        value: text, or its bytes in ASCII.

    Raises:
        NotGenuine: ``header.missing``, ``header.not_text``, ``header.scheme`` or ``token.empty``;
            the value itself is never shown.
    """
    if isinstance(value, str):
        scheme, _, token = value.partition(" ")
        if scheme == "Bearer" and token.split(maxsplit=1) == [token]:
            return token  # as nearly everybody writes it
    text = _text_of(value, "Bearer <JWT>")
    match = _BEARER.fullmatch(text)
    if match is not None:
        return match.group(1)
    if _SCHEME.fullmatch(text):
        raise NotGenuine("token.empty", found="Bearer without a token", expected="Bearer <JWT>")
    raise NotGenuine("header.scheme", found="another form", expected="Bearer <JWT>, once")


def bare_token(value: object) -> str:
    """Return the token of a ``Txn-Token`` value: exactly one, and nothing beside it.

    Args:
        value: text, or its bytes in ASCII.

    Raises:
        NotGenuine: ``header.missing``, ``header.not_text``, ``header.scheme`` or ``token.empty``;
            the value itself is never shown.
    """
    text = _text_of(value, _ONE_TOKEN)
    words = text.split(maxsplit=1)  # no more: how many there are is a stranger's choice
    if not words:
        raise NotGenuine("token.empty", found="a header without a token", expected=_ONE_TOKEN)
    if words != [text] or "," in text:  # a scheme, or several tokens
        found = "something beside a token"
        raise NotGenuine("header.scheme", found=found, expected=f"{_ONE_TOKEN}, without a scheme")
    return text


def _text_of(value: object, expected: str) -> str:
    """Return what a token header says; see `bearer_token`."""
    if value is None:
        raise NotGenuine("header.missing", found="no token header", expected=expected)
    value = as_text(value)
    if not isinstance(value, str):
        found = f"a token header of type {type(value).__name__}"
        raise NotGenuine("header.not_text", found=found, expected="a string")
    return value


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """Where a kind of token travels, and how it is written there.

    Attributes:
        name: of the AMQP header, spelled exactly so.
        is_transactions: whether transaction tokens travel there: bare, and never as `Bearer`.
    """

    name: str = AUTHORIZATION
    is_transactions: bool = False

    @property
    def on_http(self) -> str:
        """Return the name of the HTTP header for the same token."""
        return TXN_TOKEN if self.is_transactions else AUTHORIZATION

    @property
    def form(self) -> str:
        """Return what is expected there, for people."""
        return _ONE_TOKEN if self.is_transactions else "Bearer <JWT>"

    def value(self, token: str) -> str:
        """Return a token as it is written there."""
        return token if self.is_transactions else f"Bearer {token}"

    def token(self, value: object) -> str:
        """Return the token of a header's value.

        Raises:
            NotGenuine: as of `bearer_token` and `bare_token`.
        """
        return bare_token(value) if self.is_transactions else bearer_token(value)


BEARER: Final = TokenHeader()
"""Where access tokens travel, as a rule."""

TRANSACTIONS: Final = TokenHeader(TXN_TOKEN, is_transactions=True)
"""Where transaction tokens travel, always (draft-ietf-oauth-transaction-tokens-10, section 8.1)."""


def token_in(headers: Mapping[str, Any], header: TokenHeader) -> str:
    """Return the token in a message's headers.

    Raises:
        NotGenuine: as of `TokenHeader.token`; of one that is missing with what may have been meant.
    """
    value = headers.get(header.name)
    if value is None:
        raise _missing(headers, header)
    return header.token(value)


def kept_in(headers: Mapping[str, Any], header: TokenHeader) -> str | None:
    """Return what a letter kept, where it came as tokens travel; None for anything else."""
    try:
        token = header.token(headers.get(header.name))
    except NotGenuine:
        return None
    return token if is_kept(token) else None


def check_alone(token: str) -> None:
    """Refuse a header's value where a raw token is to be handed in.

    Raises:
        NotGenuine: ``header.scheme``.
    """
    if token.lower().startswith("bearer"):
        found = "Bearer and a token"
        raise NotGenuine("header.scheme", found=found, expected="the token alone")


def _missing(headers: Mapping[str, Any], wanted: TokenHeader) -> NotGenuine:
    """Name the header that is wanted, and what is there that may have been meant."""
    name = wanted.name
    meant = {_plain(name), *map(_plain, _USUAL)}
    near = sorted(each for each in headers if _plain(each) in meant)
    found = f"no header {name!r}"
    if name in headers:
        found = f"a header {name!r} without a value"
    elif near:
        found += f", but {' and '.join(map(repr, near[:_SHOWN]))}"
    expected = f"{wanted.form} in {name!r}, spelled exactly so"
    if isinstance(headers.get(REFUSAL), str):  # whoever wrote that: a hint, and nothing follows
        expected += "; it looks like a dead letter that was moved by hand: redrive it instead"
    return NotGenuine("header.missing", found=found, expected=expected)


def _plain(name: str) -> str:
    """Return a name without what is misspelled as a rule: case, blanks, the kind of dash."""
    return re.sub(r"[\s_-]", "", name[:_LONGEST_NAME]).lower()


def count_in(headers: Mapping[str, Any], name: str) -> int:
    """Return a counter that busauth wrote on an earlier copy, as a hint: 0 for anything odd."""
    value = headers.get(name)
    if isinstance(value, bool) or not isinstance(value, int):  # True is 1 to Python
        return 0
    return value if 0 <= value <= COUNT_LIMIT else 0


def id_in(value: object, token: str | None = None) -> str | None:
    """Return an id that may be said on; None for anything but a short printable text.

    Args:
        value: whatever a sender chose.
        token: the message's own, which no id must have in it; what looks like one, neither.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME:
        return None
    if not value.isprintable() or len(value.encode()) > _LONGEST_NAME:
        return None
    return None if (token and token in value) or redact(value) != value else value


def by_in(headers: Mapping[str, Any], token: str | None = None) -> str | None:
    """Return who says that they sent a letter again: a short printable word, which nobody proves.

    Args:
        headers: of whoever wrote them.
        token: the message's own, which no word must have in it; what looks like one, neither.
    """
    said = id_in(headers.get(BY), token)
    return None if said is None else said[:LONGEST_WORD]


def mark_in(headers: Mapping[str, Any]) -> str | None:
    """Return which trace a copy says that it was first handled in; None for anything odd."""
    value = headers.get(TRACE)
    return value if isinstance(value, str) and _MARK.fullmatch(value) else None


def header_frame_size(properties: commands.Basic.Properties) -> int:
    """Return the bytes of the content header frame, which must fit one frame.

    Raises:
        ValueError, TypeError: a header has a name or a value that AMQP 0-9-1 cannot carry.
    """
    return len(frame.marshal(header.ContentHeader(properties=properties), 1))
