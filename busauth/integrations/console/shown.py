"""How values become text on a page: escaped, without tokens, and without what cannot be seen.

Each value that a template writes passes here, whatever wrote it: a letter's words are its sender's.
"""

import unicodedata
from datetime import UTC, datetime
from typing import Any

from busauth._extras import needs
from busauth._redaction import redact

with needs(__name__, "console", "jinja2", "markupsafe"):
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

_LONGEST = 20_000
"""Characters of one value."""

_PLAIN = frozenset("\n\t")
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of what has no shape of its own, or turns the text around it."""

_MOST_MARKS = 4
"""Combining marks on one character; more grow over the lines above and below."""

_DAY, _HOUR, _MINUTE = 86_400, 3600, 60
_LAST = 253_402_300_799
"""The last second that a date has."""


def clear(text: str) -> str:
    """Return text in which what cannot be seen stands as its number, and no token stands."""
    written, marks = list[str](), 0
    text = redact(text)
    if text.isascii() and text.isprintable() and len(text) <= _LONGEST:
        return text  # most is: one look has hundreds of thousands of words
    for each in text[:_LONGEST]:
        kind = unicodedata.category(each)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        is_unseen = kind in _UNSEEN and each not in _PLAIN
        written.append(f"[U+{ord(each):04X}]" if is_unseen or marks > _MOST_MARKS else each)
    return "".join(written) + ("…" if len(text) > _LONGEST else "")


def _final(value: Any) -> Any:
    if value is None:
        return "-"
    return value if isinstance(value, Markup) else clear(str(value))


def instant(at: float | str | None) -> Markup:
    """Return an instant as an element, in UTC; what is none, as text."""
    if at is None:
        return Markup("-")
    moment = _moment(at)
    if moment is None:
        return Markup("{}").format(clear(str(at)))
    iso = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{}</time>').format(iso, _written(moment))


def date(at: float) -> str:
    """Return an instant as text, in UTC; what is none, as its number."""
    moment = _moment(at)
    return str(at) if moment is None else _written(moment)


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _moment(at: float | str) -> datetime | None:
    try:
        if isinstance(at, str):
            found = datetime.fromisoformat(at)
            return found.astimezone(UTC) if found.tzinfo else None
        return datetime.fromtimestamp(at, UTC) if 0 <= at <= _LAST else None
    except (ValueError, OverflowError):
        return None


def span(seconds: float | None) -> str:
    """Return seconds as people say them."""
    if seconds is None:
        return "-"
    if not abs(seconds) <= _LAST:
        return "?"
    whole = round(seconds)
    if abs(whole) < 2 * _MINUTE:
        return f"{whole} s"
    if abs(whole) < 2 * _HOUR:
        return f"{whole // _MINUTE} min"
    if abs(whole) < 2 * _DAY:
        return f"{whole // _HOUR} h"
    return f"{whole // _DAY} days"


def templates() -> Environment:
    """Return the pages, in which everything is escaped and nothing may be missing."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        finalize=_final,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(instant=instant, span=span)
    return environment
