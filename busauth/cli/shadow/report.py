"""What strict would have refused, counted by queue, sender and code."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from busauth.cli.shadow.reading import Decided

_MOST = 10_000
"""Groups that are told apart: senders may make up as many names as they like."""

_OTHERS = "(others)"
_UNKNOWN = "(unknown)"


@dataclass(slots=True)
class Group:
    """What would have been refused of one sender's, with one code.

    Attributes:
        first, last: seconds since the epoch.
        message_id: of the last one that had an id: an example.
    """

    queue: str
    sender: str
    code: str
    count: int
    first: float
    last: float
    message_id: str | None = None

    def add(self, decided: Decided) -> None:
        """Count one more."""
        self.count += 1
        self.first, self.last = min(self.first, decided.at), max(self.last, decided.at)
        self.message_id = decided.message_id or self.message_id


class Report:
    """Counts decisions.

    Args:
        decisions: those to count.
    """

    def __init__(self, decisions: Iterable[Decided]) -> None:
        self._groups: dict[tuple[str, str, str], Group] = {}
        self._accepted = Counter[str]()
        for each in decisions:
            if each.code is None:
                self._accepted[each.queue] += 1
            else:
                self._group(each, each.code).add(each)

    def _group(self, decided: Decided, code: str) -> Group:
        place = (decided.queue, decided.sender or _UNKNOWN, code)
        if place not in self._groups and len(self._groups) >= _MOST:
            place = (_OTHERS,) * 3
        if place not in self._groups:
            self._groups[place] = Group(*place, count=0, first=decided.at, last=decided.at)
        return self._groups[place]

    @property
    def refused(self) -> int:
        """Return how many decisions would have been refusals."""
        return sum(each.count for each in self._groups.values())

    @property
    def accepted(self) -> int:
        """Return how many were none."""
        return self._accepted.total()

    def groups(self) -> list[Group]:
        """Return the groups, the largest first."""
        return sorted(self._groups.values(), key=lambda each: (-each.count, each.queue, each.code))

    def queues(self) -> Iterator[tuple[str, int, int]]:
        """Yield each queue with how many would have been refused, and how many were accepted."""
        refused = Counter[str]()
        for each in self._groups.values():
            refused[each.queue] += each.count
        for queue in sorted(refused.keys() | self._accepted.keys()):
            yield queue, refused[queue], self._accepted[queue]

    def as_json(self) -> dict[str, Any]:
        """Return it as one object of JSON; instants are ISO 8601, in UTC."""
        return {
            "refused": self.refused,
            "accepted": self.accepted,
            "queues": [
                {"queue": queue, "refused": refused, "accepted": accepted}
                for queue, refused, accepted in self.queues()
            ],
            "groups": [
                {**asdict(each), "first": instant(each.first), "last": instant(each.last)}
                for each in self.groups()
            ],
        }


def instant(at: float) -> str:
    """Return an instant as people write it, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
