"""Which letters are asked for, what of that is not there, and what letters have in common."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, Self

from busauth._amqp.resending.letters import Letter
from busauth._arguments import SecondsOrNone, checked_class
from busauth.errors import ConfigurationError, evidence

_SHOWN = 10  # of what is there: a queue may have thousands of letters

_WHOLE: Mapping[str, tuple[str, Callable[[Letter], str | None]]] = {
    "codes": ("--code", attrgetter("code")),
    "queues": ("--queue", attrgetter("queue")),
    "issuers": ("--issuer", attrgetter("issuer")),
    "subjects": ("--subject", attrgetter("subject")),
    "actors": ("--actor", attrgetter("actor")),
    "publishers": ("--publisher", attrgetter("publisher")),
    "errors": ("--error", attrgetter("error")),
    "message_ids": ("--message-id", attrgetter("message_id")),
    "ids": ("--letter", attrgetter("id")),
}
"""What is compared whole: how the command line calls it, and what of a letter it is."""

OPTIONS: Mapping[str, str] = {
    **{name: option for name, (option, _) in _WHOLE.items()},
    "texts": "--text",
    "before": "--before",
    "after": "--after",
}
"""How the command line calls what is asked for."""

# a number, an id in hexadecimal, a UUID, an instant: whatever differs from one letter to the next
_VARIES = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b"
    r"|\d+(?:[-:.,T]\d+)*Z?"
)


@checked_class
@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Chooses letters: by all that is said, and in each by any one of its values.

    Nothing said is every letter.

    Args:
        codes: refusals' codes, such as ``token.expired``.
        queues: where they were refused.
        issuers, subjects: whose they are.
        actors: subjects of who acted for those.
        publishers: who sent them, as they say.
        errors: types of errors that a handler failed with, such as ``KeyError``.
        message_ids: their senders' ids.
        ids: letters' own ids.
        texts: what stands in the detail, in upper or lower case.
        before, after: refused earlier, or later, seconds since the epoch. A letter that does not
            say when it was refused is neither.
    """

    codes: Collection[str] = ()
    queues: Collection[str] = ()
    issuers: Collection[str] = ()
    subjects: Collection[str] = ()
    actors: Collection[str] = ()
    publishers: Collection[str] = ()
    errors: Collection[str] = ()
    message_ids: Collection[str] = ()
    ids: Collection[str] = ()
    texts: Collection[str] = ()
    before: SecondsOrNone | None = None
    after: SecondsOrNone | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            given = getattr(self, each.name)
            if isinstance(given, str):
                raise ConfigurationError(
                    f"{each.name}={given!r}: expected several, as in [{given!r}]"
                )
            if not isinstance(given, float | int | None):
                object.__setattr__(self, each.name, frozenset(given))
        # a variable that was not set would choose every letter
        if not all(text.strip() for text in self.texts):
            raise ConfigurationError("texts (--text): got a blank one, which would choose anything")

    def __call__(self, letter: Letter) -> bool:
        """Return whether a letter is asked for."""
        return self._has_whole(letter) and self._is_in_time(letter) and self._is_told(letter)

    def _has_whole(self, letter: Letter) -> bool:
        for name, (_, of) in _WHOLE.items():
            if (values := getattr(self, name)) and of(letter) not in values:
                return False
        return True

    def whole(self) -> dict[str, Collection[str]]:
        """Return what is asked for and compared whole, by name."""
        return {name: values for name in _WHOLE if (values := getattr(self, name))}

    def _is_in_time(self, letter: Letter) -> bool:
        if self.before is None and self.after is None:
            return True
        at = instant_of(letter)
        return (
            at is not None
            and (self.before is None or at < self.before)
            and (self.after is None or at > self.after)
        )

    def _is_told(self, letter: Letter) -> bool:
        if not self.texts:
            return True
        detail = (letter.detail or "").casefold()
        return any(text.casefold() in detail for text in self.texts)

    @property
    def is_all(self) -> bool:
        """Return whether every letter is asked for."""
        return not self.filters()

    def filters(self) -> dict[str, Any]:
        """Return what is said, as JSON has it; see `of`."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in said.items()
            if value is not None and value != frozenset()
        }

    @classmethod
    def of(cls, filters: Mapping[str, Any]) -> Self:
        """Return what `filters` told.

        Raises:
            ConfigurationError: it is something else.
        """
        known = {each.name for each in fields(cls)}
        if odd := filters.keys() - known:
            raise ConfigurationError(f"filters: {sorted(map(str, odd))}: this version knows none")
        for name, value in filters.items():
            is_number = type(value) in (int, float)
            is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
            if not (is_number if name in ("before", "after") else is_list):
                raise ConfigurationError(f"filters: {name}: got {evidence(value)}")
        return cls(**filters)


def instant_of(letter: Letter) -> float | None:
    """Return when a letter was refused, seconds since the epoch; None where it does not say."""
    try:
        at = datetime.fromisoformat(letter.at or "")
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


class Census:
    """Remembers what letters are like, so that what was asked for and is not there can be told.

    Args:
        wanted: what is asked for.

    Attributes:
        total: how many letters there were.
        chosen: how many of them were asked for.
        found: what letters have of each that is asked for and compared whole.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.total = self.chosen = 0
        self._wanted = wanted
        # values are gathered where they were asked about: 50,000 letters have as many ids
        self.found = {name: set[str | None]() for name in wanted.whole()}

    def asks(self, letter: Letter) -> bool:
        """Count a letter, and return whether it is asked for."""
        self.total += 1
        for name, found in self.found.items():
            found.add(_WHOLE[name][1](letter))
        is_wanted = self._wanted(letter)
        self.chosen += is_wanted
        return is_wanted

    def add(self, other: "Census") -> None:
        """Count what another one has counted, of whom the same is wanted."""
        self.total += other.total
        self.chosen += other.chosen
        for name, found in other.found.items():
            self.found[name] |= found

    def missed(self) -> tuple[str, ...]:
        """Return a sentence for each value that no letter has, with what is there instead."""
        return tuple(
            f"{_WHOLE[name][0]} {evidence(each)}: no letter has it; {_there(each, found)}"
            for name, found in self.found.items()
            for each in sorted(set(self._wanted.whole()[name]) - found)
        )


def _there(wanted: str, found: set[str | None]) -> str:
    """Say what is there instead: the closest, or some of all."""
    there = sorted(each for each in found if each is not None)
    if not there:
        return "none has any"
    if close := get_close_matches(wanted, there, 1):
        return f"did you mean {evidence(close[0])}?"
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    shown = ", ".join(str(evidence(each)) for each in there[:_SHOWN])
    return f"there {'is' if len(there) == 1 else 'are'} {shown}{more}"


@dataclass(frozen=True, slots=True)
class Group:
    """Letters with one cause.

    Attributes:
        code: the refusal's code, None where the broker itself dead-lettered.
        error: the type of the handler's error, where one failed.
        cause: what their details say, ``#`` for what differs: numbers, ids, instants.
        count: how many there are.
        oldest, newest: when the first and the last were refused, in ISO 8601.
        callers: of how many callers they are, those included whose caller nobody knows.
        sample: one letter's id.
    """

    code: str | None
    error: str | None
    cause: str
    count: int
    oldest: str | None
    newest: str | None
    callers: int
    sample: str


@dataclass(slots=True)
class _Gathered:
    sample: str
    count: int = 0
    oldest: str | None = None
    newest: str | None = None
    callers: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)

    def add(self, letter: Letter) -> None:
        self.count += 1
        self.callers[letter.issuer, letter.subject] += 1
        if letter.at is not None:
            self.oldest = min(self.oldest or letter.at, letter.at)
            self.newest = max(self.newest or letter.at, letter.at)


def groups(letters: Iterable[Letter]) -> list[Group]:
    """Return letters by their causes, the largest group first."""
    gathered = dict[tuple[str | None, str | None, str], _Gathered]()
    for letter in letters:
        cause = letter.code, letter.error, cause_of(letter)
        gathered.setdefault(cause, _Gathered(letter.id)).add(letter)
    found = [
        Group(*cause, each.count, each.oldest, each.newest, len(each.callers), each.sample)
        for cause, each in gathered.items()
    ]
    return sorted(found, key=lambda group: -group.count)


def cause_of(letter: Letter) -> str:
    """Return a letter's detail without what differs between letters of one cause."""
    detail = letter.detail or ""
    return _VARIES.sub("#", detail.removeprefix(f"{letter.code}: "))
