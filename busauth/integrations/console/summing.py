"""Letters by group, and runs by what has become of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from busauth.integrations.console.seen import LetterSeen, RunStep

_MOST_CALLERS = 3
_QUIET = 60.0
"""Seconds after which a run that says nothing is told as one that may have been killed."""

_MOVING = ("begun", "sending", "sent", "refused")


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
        subjects = list(dict.fromkeys(each.subject for each in self.letters if each.subject))
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
        return not self.is_plan and self.last.kind in _MOVING

    @property
    def counts(self) -> dict[str, int]:
        """Return the newest word for each count."""
        found: dict[str, int] = {}
        for each in self.steps:
            found.update(each.counts)
        return found

    @property
    def done(self) -> int:
        """Return how many letters were sent or refused, as far as is written."""
        return sum(each.letters for each in self.steps if each.kind in ("sent", "refused"))

    @property
    def total(self) -> int:
        """Return how many it is about; 0 where it has not said."""
        return max(
            (each.letters for each in self.steps if each.kind in ("begun", "planned")), default=0
        )

    @property
    def state(self) -> str:
        """Return its last word, as people say it."""
        return "running" if self.is_running else self.last.kind

    def is_quiet(self, now: float) -> bool:
        """Return whether it has said nothing for long enough to be asked about."""
        return self.is_running and now - self.last.at > _QUIET

    @property
    def said(self) -> RunStep:
        """Return the first word that names who began it, or the first one."""
        return next((each for each in self.steps if each.by), self.steps[0])


def runs(queue: str, steps: Sequence[RunStep]) -> list[Run]:
    """Return runs, the newest first."""
    found: dict[str, Run] = {}
    for each in sorted(steps, key=lambda step: step.at):
        found.setdefault(each.run, Run(id=each.run, queue=queue)).steps.append(each)
    return sorted(found.values(), key=lambda run: run.last.at, reverse=True)
