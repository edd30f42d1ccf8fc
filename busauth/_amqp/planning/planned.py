"""What would become of letters: each by itself, and by what they have in common."""

from collections import Counter
from dataclasses import dataclass

from busauth._amqp.judging.foreseen import Foreseen
from busauth._amqp.resending.letters import Letter

STAYS = "stays"
"""What becomes of a letter that would not be sent at all; beside it, a `ForeseenEnd`'s values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What would become of one letter.

    Attributes:
        letter: which.
        outcome: a `ForeseenEnd`'s value; or ``stays``, where it would not be sent.
        code: the refusal's code, where there is one.
        detail: the evidence, or what is not known.
        foreseen: each stage, where it would be sent.
    """

    letter: Letter
    outcome: str
    code: str | None = None
    detail: str = ""
    foreseen: Foreseen | None = None

    @property
    def cause(self) -> str:
        """Return what letters of one outcome have in common: a code, a policy, or a sentence."""
        policy = None if self.foreseen is None else self.foreseen.policy
        return self.code or policy or self.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGroup:
    """Letters with one outcome, for one cause.

    Attributes:
        outcome, cause: as `Planned` has them.
        count: how many.
        callers: of how many callers.
        sample: one letter's id.
    """

    outcome: str
    cause: str
    count: int
    callers: int
    sample: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would become of letters, and what of them was asked for.

    Attributes:
        letters: those that were asked for, in the order of their refusals.
        total: how many there are.
        missed: a sentence for each value that was asked for and no letter has.
        unasked: what was not looked at for any of them, such as a replay memory.
    """

    letters: tuple[Planned, ...]
    total: int
    missed: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Return how many there are of each outcome, the most frequent first."""
        return dict(Counter(each.outcome for each in self.letters).most_common())

    def groups(self) -> list[PlannedGroup]:
        """Return the letters by outcome and cause, the largest group first."""
        gathered = dict[tuple[str, str], list[Letter]]()
        for each in self.letters:
            gathered.setdefault((each.outcome, each.cause), []).append(each.letter)
        groups = [
            PlannedGroup(
                outcome=outcome,
                cause=cause,
                count=len(letters),
                callers=len({(each.issuer, each.subject) for each in letters}),
                sample=letters[0].id,
            )
            for (outcome, cause), letters in gathered.items()
        ]
        return sorted(groups, key=lambda group: -group.count)
