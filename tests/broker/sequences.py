"""Frames without fault in any order, on any channel, and how that has to end."""

from collections.abc import Callable, Sequence
from random import Random

from pamqp.commands import Basic, Channel, Queue

from tests.broker.fuzzing import End
from tests.broker.mutations import Case
from tests.conformance.frames import HEARTBEAT, body, frame, header, sent

CHANNELS = (1, 2, 3, 7, 65535)
_HEADER = -1
_SIZES = {"header": 3, "no body": 0}
_BODY = 3
_FRAMES: dict[str, Callable[[int], bytes]] = {
    "open": lambda n: sent(Channel.Open(), channel=n),
    "close": lambda n: sent(Channel.Close(200, "bye", 0, 0), channel=n),
    "close-ok": lambda n: sent(Channel.CloseOk(), channel=n),
    "ask": lambda n: sent(Basic.Qos(prefetch_count=5), channel=n),
    "miss": lambda n: sent(Queue.Declare(queue="nowhere", passive=True), channel=n),
    "publish": lambda n: sent(Basic.Publish(routing_key="mine"), channel=n),
    "header": lambda n: header(3, channel=n),
    "no body": lambda n: header(0, channel=n),
    "body": lambda n: body(b"abc", channel=n),
    "heartbeat": lambda _: frame(HEARTBEAT, 0, b""),
}
_WEIGHTS = (6, 4, 4, 8, 3, 12, 8, 4, 8, 2)
STEPS = tuple(_FRAMES)
Step = tuple[str, int]


class Reference:
    """What each frame means, one channel at a time; channels 1 and 2 are open."""

    def __init__(self) -> None:
        self.closes: list[tuple[int, int]] = []
        self._state = {1: "open", 2: "open"}
        self._due: dict[int, int] = {}

    def step(self, what: str, number: int) -> int | None:
        """Take a frame; return the code that the connection is closed with, or None."""
        if what == "heartbeat":
            return None
        due = self._due.get(number, 0)
        if what in ("header", "no body", "body"):
            return self._content(what, number, due)
        if due:
            return 505
        if what == "publish":
            self._due[number] = _HEADER
            return None
        return self._method(what, number)

    def _content(self, what: str, number: int, due: int) -> int | None:
        if (due == _HEADER) != (what in _SIZES) or not due:
            return 505
        self._due[number] = _SIZES[what] if due == _HEADER else due - _BODY
        whole = not self._due[number]
        return 504 if whole and number not in self._state else None

    def _method(self, what: str, number: int) -> int | None:
        state = self._state.get(number)
        if state is None:
            if what != "open":
                return 504
            self._state[number] = "open"
        elif what == ("close-ok" if state == "closing" else "close"):
            del self._state[number]
        elif state == "open":
            return self._asked(what, number)
        return None

    def _asked(self, what: str, number: int) -> int | None:
        if what == "miss":
            self.closes.append((number, 404))
            self._state[number] = "closing"
        return {"open": 504, "close-ok": 503}.get(what)


def end_of(steps: Sequence[Step]) -> End:
    """How a sequence ends; what follows a fault is ignored."""
    reference = Reference()
    codes = (reference.step(*each) for each in steps)
    return End(next((code for code in codes if code is not None), None), tuple(reference.closes))


def encoded(steps: Sequence[Step]) -> bytes:
    """A sequence as bytes."""
    return b"".join(_FRAMES[what](number) for what, number in steps)


def drawn(rng: Random, most: int = 14) -> list[Step]:
    """A sequence; half of the steps are what is due."""
    steps: list[Step] = []
    due = dict.fromkeys(CHANNELS, "")
    follows = {"publish": "header", "header": "body", "body": "publish"}
    for _ in range(rng.randint(1, most)):
        number = rng.choice(CHANNELS)
        (what,) = rng.choices(STEPS, _WEIGHTS)
        what = due[number] if due[number] and rng.random() < 0.7 else what
        due[number] = follows.get(what, "")
        steps.append((what, number))
    return steps


def any_order(rng: Random) -> Case:
    """Frames without fault in any order, on any channel."""
    steps = drawn(rng)
    end = end_of(steps)
    return Case(encoded(steps), frozenset({end.code}), end.channels)
