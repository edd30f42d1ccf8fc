"""Letters by group, runs by what has become of them, and instances by what they tell."""

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import accumulate
from typing import Any

from busauth._redaction import redact, redact_cut
from busauth.integrations.console.seen import (
    ConsumerSeen,
    InstanceSeen,
    Late,
    LetterSeen,
    RunStep,
)

_MOST_CALLERS = 3
_QUIET = 60.0
"""Seconds after which a run that says nothing is told as one that may have been killed."""

_MOST_INSTANCES, _MOST_CONSUMERS, _MOST_ISSUERS, _MOST_LATE = 500, 200, 20, 80
_LONGEST = 1000
"""Characters of a word that somebody wrote."""

_MOST_HANDLED = 1e9

GONE = 900.0
"""Seconds after which who says nothing is not shown any more."""

_OVER = ("planned", "ended", "erased", "exported")
_MOVING = ("begun", "sending", "sent", "refused")
_DONE = ("discarded", "erased", "exported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Letters of one cause, in one queue.

    Attributes:
        source, code, error: what they have in common.
        letters: they, oldest first.
    """

    source: str
    code: str | None
    error: str | None
    letters: tuple[LetterSeen, ...]

    @property
    def id(self) -> str:
        """Return what names it in a link: senders' words, which may be anything, do not."""
        said = repr((self.source, self.code, self.error))
        return sha256(said.encode("ascii", "backslashreplace")).hexdigest()[:32]

    @property
    def oldest(self) -> str | None:
        """Return since when the first of them has been there."""
        return self.letters[0].at

    @property
    def newest(self) -> str | None:
        """Return since when the last of them has been there."""
        return self.letters[-1].at

    @property
    def callers(self) -> str:
        """Return how many callers they have, and the first of them."""
        subjects = list(dict.fromkeys(each.whose for each in self.letters if each.whose))
        named = ", ".join(subjects[:_MOST_CALLERS])
        more = len(subjects) - _MOST_CALLERS
        return f"{named} and {more} more" if more > 0 else named or "not known"


def groups(letters: Iterable[LetterSeen]) -> list[Group]:
    """Return letters by queue, code and error; the largest group first."""
    found: dict[tuple[str, str | None, str | None], list[LetterSeen]] = {}
    for each in letters:
        found.setdefault((each.source, each.code, each.error), []).append(each)
    made = [
        Group(source=source, code=code, error=error, letters=tuple(sorted(held, key=_since)))
        for (source, code, error), held in found.items()
    ]
    return sorted(made, key=lambda group: (-len(group.letters), group.source, group.code or ""))


class Lying:
    """A queue's letters, as one look found them; summed up once, for whoever asks.

    Args:
        letters: all of them.
    """

    def __init__(self, letters: Sequence[LetterSeen]) -> None:
        self.count = len(letters)
        self.groups = groups(letters)
        self._groups = {group.id: group for group in self.groups}
        self._letters = {each.id: each for each in letters}

    def group(self, name: str | None) -> Group | None:
        """Return the group that a link names, if it is there."""
        return self._groups.get(name or "")

    def letter(self, name: str | None) -> LetterSeen | None:
        """Return the letter that a link names, if it is there."""
        return self._letters.get(name or "")


def _since(letter: LetterSeen) -> str:
    return letter.at or ""


@dataclass(slots=True, kw_only=True)
class Run:
    """A run over letters, as its words add up.

    Attributes:
        id, queue: which.
        steps: its words, oldest first.
    """

    id: str
    queue: str
    steps: list[RunStep] = field(default_factory=list)

    @property
    def began(self) -> float:
        """Return when its first word was written."""
        return self.steps[0].at

    @property
    def last(self) -> RunStep:
        """Return its last word."""
        return self.steps[-1]

    @property
    def is_plan(self) -> bool:
        """Return whether nothing was moved."""
        return all(each.kind == "planned" for each in self.steps)

    @property
    def is_running(self) -> bool:
        """Return whether it moves letters and has not ended."""
        return self.last.kind not in _OVER

    @property
    def counts(self) -> dict[str, int]:
        """Return the newest word for each count."""
        found: dict[str, int] = {}
        for each in self.steps:
            found.update(each.counts)
        return found

    @property
    def done(self) -> int:
        """Return how many letters were sent, refused or discarded, as far as is written."""
        moved = ("sent", "refused", "discarded")
        return sum(each.letters for each in self.steps if each.kind in moved)

    @property
    def total(self) -> int:
        """Return how many it is about; 0 where it has not said."""
        told = (each.letters for each in self.steps if each.kind in ("begun", "planned"))
        return max(told, default=0)

    @property
    def in_flight(self) -> int:
        """Return how many were about to be moved, of whose fate nothing is written."""
        told = dict.fromkeys(("sending", "sent"), 0)  # what is refused was not about to be
        for each in self.steps:
            if each.kind in told:
                told[each.kind] += each.letters
        return max(0, told["sending"] - told["sent"])

    @property
    def what(self) -> str:
        """Return what it does, as people say it."""
        kinds = [each.kind for each in self.steps]
        done = next((kind for kind in kinds if kind in _DONE), kinds[0])
        return "redrive" if done in _MOVING else done

    def is_quiet(self, now: float) -> bool:
        """Return whether it has said nothing for long enough to be asked about."""
        return self.is_running and now - self.last.at > _QUIET

    @property
    def said(self) -> RunStep:
        """Return the first word that names who began it, or the first one."""
        return next((each for each in self.steps if each.by), self.steps[0])


def runs(queue: str, steps: Sequence[RunStep]) -> list[Run]:
    """Return runs, the newest first: in the order in which their words were written."""
    found: dict[str, Run] = {}
    for each in steps:
        found.setdefault(each.run, Run(id=each.run, queue=queue)).steps.append(each)
        found[each.run] = found.pop(each.run)  # behind those that have said nothing since
    return list(found.values())[::-1]


def cut(said: object) -> str | None:
    """Return the beginning of a text, without tokens; None for what is none."""
    if not isinstance(said, str):
        return None
    return redact_cut(said[:_LONGEST]) if len(said) > _LONGEST else redact(said)


def number(said: object) -> float | None:
    """Return a number that can be counted with; None for what is none."""
    if not isinstance(said, int | float) or isinstance(said, bool):
        return None
    try:
        found = float(said)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


class Told:
    """What instances have told of themselves: their last statuses, and what they accepted late.

    Whoever may write to that stream can write anything: it is bounded, and what has another shape
    is left out.
    """

    def __init__(self) -> None:
        self._instances: OrderedDict[tuple[str, str], InstanceSeen] = OrderedDict()
        self._late: OrderedDict[tuple[str, str, str], deque[Late]] = OrderedDict()

    def add(self, said: Mapping[str, Any]) -> None:
        """Take in one object of the stream."""
        service, instance, at = cut(said.get("service")), cut(said.get("instance")), said.get("at")
        when = number(at)
        if service is None or instance is None or when is None:
            return
        if said.get("kind") == "status":
            told = _instance(service, instance, when, said)
            _keep(self._instances, (service, instance), told, _MOST_INSTANCES)
        elif said.get("kind") == "accepted-late":
            self._add_late((service, instance, cut(said.get("queue")) or ""), when, said)

    def _add_late(self, name: tuple[str, str, str], at: float, said: Mapping[str, Any]) -> None:
        seconds = number(said.get("late"))
        if seconds is not None:
            held = self._late.get(name, deque(maxlen=_MOST_LATE))
            held.append(Late(at, seconds))
            _keep(self._late, name, held, _MOST_INSTANCES)

    def seen(self, now: float) -> list[InstanceSeen]:
        """Return who has told of themselves lately, by name."""
        lately = [each for each in self._instances.values() if now - each.at < GONE]
        return sorted(map(self._with_late, lately), key=lambda each: (each.service, each.instance))

    def _with_late(self, told: InstanceSeen) -> InstanceSeen:
        consumers = tuple(
            replace(each, late=tuple(self._late.get((told.service, told.instance, each.queue), ())))
            for each in told.consumers
        )
        return replace(told, consumers=consumers)


def within(instances: Sequence[InstanceSeen], most: int) -> list[InstanceSeen]:
    """Return as many instances as have no more than so many consumers together.

    Whoever may write to the audit stream can write a page that no browser would hold.
    """
    sizes = accumulate(1 + len(each.consumers) for each in instances)
    return [each for each, size in zip(instances, sizes, strict=True) if size <= most]


def _keep(held: OrderedDict[Any, Any], name: object, value: object, most: int) -> None:
    held[name] = value
    held.move_to_end(name)
    if len(held) > most:
        held.popitem(last=False)


def _instance(service: str, instance: str, at: float, said: Mapping[str, Any]) -> InstanceSeen:
    keys = tuple(
        (cut(each.get("issuer")) or "", number(each.get("keys_age")))
        for each in _tables(said.get("issuers"))[:_MOST_ISSUERS]
    )
    return InstanceSeen(
        service=service,
        instance=instance,
        at=at,
        consumers=tuple(map(_consumer, _tables(said.get("consumers")))),
        keys=keys,
        feed_age=number(said.get("feed_age")),
        has_stopped=said.get("state") == "stopped",
    )


def _consumer(said: Mapping[str, Any]) -> ConsumerSeen:
    handling = number(said.get("handling"))
    return ConsumerSeen(
        queue=cut(said.get("queue")) or "",
        handling=int(handling) if handling is not None and 0 <= handling < _MOST_HANDLED else None,
        paused_for=cut(said.get("paused_for")),
        paused_since=number(said.get("paused_since")),
    )


def _tables(said: object) -> list[Mapping[str, Any]]:
    listed = said[:_MOST_CONSUMERS] if isinstance(said, list) else []
    return [each for each in listed if isinstance(each, dict)]
