"""Which dead letters an operator asks for, and what of that is not there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from busauth._amqp.resending.again import Released
from busauth._amqp.resending.letters import Letter
from busauth.errors import evidence

_SHOWN = 10  # of what is there: a queue may have thousands of letters


@dataclass(slots=True)
class Wanted:
    """Chooses letters, and remembers what all of them are like.

    Attributes:
        ids, codes, subject: what a letter must have; None or nothing for any.
    """

    ids: Collection[str] = ()
    codes: Collection[str] = ()
    subject: str | None = None
    _count: int = 0
    _ids: set[str | None] = field(default_factory=set)
    _codes: set[str | None] = field(default_factory=set)
    _subjects: set[str | None] = field(default_factory=set)

    def __call__(self, letter: Letter) -> bool:
        """Return whether a letter is asked for."""
        self._ids.add(letter.message_id)
        self._codes.add(letter.code)
        self._subjects.add(letter.subject)
        is_wanted = (
            (not self.ids or letter.message_id in self.ids)
            and (not self.codes or letter.code in self.codes)
            and self.subject in (None, letter.subject)
        )
        self._count += is_wanted
        return is_wanted

    def missed(self, released: Released) -> Iterator[str]:
        """Tell what was asked for and did not go, other than what was refused."""
        # Those that went or were refused had a token; of who was wanted, the others had none.
        if (without := self._count - len(released.sent) - len(released.refused)) > 0:
            yield (
                f"{without} that {'was' if without == 1 else 'were'} asked for kept no token, and "
                f"{'stays' if without == 1 else 'stay'}: a policy says DeadLetter(keep_token=...), "
                "or [letters] keep_token for all, before a letter is written"
            )
        subjects = () if self.subject is None else (self.subject,)
        yield from _told("--message-id", self.ids, self._ids)
        yield from _told("--code", self.codes, self._codes)
        yield from _told("--subject", subjects, self._subjects)


def _told(option: str, wanted: Collection[str], found: set[str | None]) -> Iterator[str]:
    there = sorted(each for each in found if each is not None)
    for each in wanted:
        if each not in found:
            yield f"{option} {evidence(each)}: no letter has it; {_there(each, there)}"


def _there(wanted: str, there: list[str]) -> str:
    """Say what is there instead: the closest, or some of all."""
    if not there:
        return "none has any"
    if close := get_close_matches(wanted, there, 1):
        return f"did you mean {evidence(close[0])}?"
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    shown = ", ".join(str(evidence(each)) for each in there[:_SHOWN])
    return f"there {'is' if len(there) == 1 else 'are'} {shown}{more}"
