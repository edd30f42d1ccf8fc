"""Names of queues and exchanges that a broker takes, those around a queue included."""

import re
import unicodedata
from collections.abc import Iterable

from busauth.errors import ConfigurationError, evidence

LONGEST = 255
"""Bytes of a short string (AMQP 0-9-1, section 4.2.5.3), as UTF-8."""

_OURS = re.compile(r"(?P<queue>.+)\.(dead|rejected|parked|history|retry\.[0-9]+)", re.DOTALL)


def check_queue(queue: str, around: Iterable[str]) -> None:
    """Refuse a queue that could not be consumed, or have one of its neighbours.

    Args:
        queue: what is consumed.
        around: the names of the queues around it.

    Raises:
        ConfigurationError: says what is wrong with the name, and what would be right.
    """
    check_name("queue", queue)
    if queue != queue.strip():
        raise ConfigurationError(f"queue={queue!r}: has blanks around it: expected the name alone")
    if queue.startswith("amq."):
        raise ConfigurationError(
            f"queue={evidence(queue)}: names that begin with 'amq.' are the broker's own, and it "
            "declares none for others: expected another name"
        )
    if ours := _OURS.fullmatch(queue):
        raise ConfigurationError(
            f"queue={evidence(queue)}: that is where messages go from the queue "
            f"{evidence(ours['queue'])}, without their tokens: expected another name; look at them "
            "with dead_letters(...), send them again with Redrive or Release"
        )
    # The longest of them decides: what fits there fits everywhere.
    longest = max(around, key=_bytes, default=queue)
    if _bytes(longest) > LONGEST:
        left = LONGEST - (_bytes(longest) - _bytes(queue))
        raise ConfigurationError(
            f"queue={evidence(queue)}: has {_bytes(queue)} bytes, and {longest[len(queue) :]!r} "
            f"comes behind it: expected {left} bytes at most, as a queue's name has {LONGEST}"
        )


def check_name(what: str, name: str) -> None:
    """Refuse what no short string can hold, or a broker would change.

    Raises:
        ConfigurationError: says what is wrong with the name, and what would be right.
    """
    if not name:
        raise ConfigurationError(f"{what}='': expected a name, such as 'orders.placed'")
    # Control characters, which tools mangle, and halves of a pair, which UTF-8 has no bytes for.
    if odd := {each for each in name if unicodedata.category(each) in ("Cc", "Cs")}:
        found = ", ".join(sorted(f"U+{ord(each):04X}" for each in odd))
        raise ConfigurationError(
            f"{what}={evidence(name)}: has {found}: expected text in UTF-8 without control "
            "characters, line breaks among them"
        )
    if _bytes(name) > LONGEST:
        raise ConfigurationError(
            f"{what}={evidence(name)}: has {_bytes(name)} bytes: expected {LONGEST} at most"
        )


def _bytes(name: str) -> int:
    return len(name.encode("utf-8"))
