"""Keeping tokens out of text: whatever looks like a JWS is replaced before it is shown."""

import logging
import re
import traceback

TOKEN_SHAPE = re.compile(
    r"(?<![A-Za-z0-9_-])"
    r"(?=[A-Za-z0-9_-]*eyJ[A-Za-z0-9_-]{4}|e(?:y[AI]|w[0ko])[A-Za-z0-9_-]{16})"
    r"[A-Za-z0-9_-]++\.(?:[A-Za-z0-9_-]*+\.[A-Za-z0-9_.-]*+|e[yw][A-Za-z0-9_-]*+)"
)
"""A compact JWS or JWE: its first part is the base64url of ``{"``, or of ``{`` and a blank.

A token that somebody cut off is one as well, once its second part begins like claims.

A match begins where a run of base64url does, and never goes back: the time is linear in the text.
"""

REDACTED = "[token]"

_BEGINNINGS = ("eyJ", "eyA", "eyI", "ew0", "ewk", "ewo")
"""One of these is in whatever has the shape of a token; to look for them costs next to nothing."""

_LONGEST = 16 * 1024
"""Characters of one error's words that are kept: a sender may have chosen them."""

# Each by itself: a filter counts for the records of its own logger, and not for those below it.
_TRANSPORT_LOGGERS = (
    "aio_pika.exchange",
    "aio_pika.message",
    "aio_pika.queue",
    "aiormq.channel",
    "aiormq.connection",
    "aiormq.connection.marshall",
    "pamqp.encode",
)


def may_hold_token(text: str) -> bool:
    """Return whether a search for tokens could find one; False for most text, and soon."""
    if "ey" not in text and "ew" not in text:
        return False
    return any(beginning in text for beginning in _BEGINNINGS)


def redact(text: str) -> str:
    """Return the text with every token in it replaced."""
    return TOKEN_SHAPE.sub(REDACTED, text) if may_hold_token(text) else text


def redact_cut(text: str) -> str:
    """Do the same with text that was cut off, perhaps within a token's first part."""
    return redact(f"{text}..")  # with two dots, what was cut off has the shape of a whole one


def redacted_traceback(error: BaseException) -> str:
    """Return an error's traceback as text, every token in it replaced, and long words cut."""
    return "".join(map(bounded, traceback.format_exception(error)))


def bounded(text: str) -> str:
    """Return a text with every token in it replaced, and no more of it than tells what it says."""
    if len(text) <= _LONGEST:
        return redact(text)
    return f"{redact_cut(text[:_LONGEST])}. {len(text) - _LONGEST} more characters\n"


class TokenFilter(logging.Filter):
    """Replaces tokens in log records of the AMQP client, which prints whole frames when debugging.

    Where tokens are shared-secret or opaque text that no pattern knows, keep those loggers above
    DEBUG.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; never drop it."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):  # one that cannot be formatted shows its parts
            text = f"{record.msg} {record.args!r}"
        redacted = redact(text)
        if redacted is not text:
            record.msg, record.args = redacted, None
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redacted_traceback(record.exc_info[1]).rstrip("\n")
            record.exc_info = None  # the formatter takes the text
        return True


def quiet_transport_logs() -> None:
    """Let no record of aio-pika or aiormq carry a token; calling it again changes nothing."""
    for name in _TRANSPORT_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, TokenFilter) for known in logger.filters):
            logger.addFilter(TokenFilter())
