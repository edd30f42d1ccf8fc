"""Where a message may come from: the bindings that a consumer declares."""

from dataclasses import dataclass, field

from busauth._arguments import checked_class

_WILDCARDS = ("*", "#")


@checked_class
@dataclass(frozen=True, slots=True)
class Route:
    """One way to a queue: an exchange, and the binding's key or topic pattern.

    Attributes:
        exchange: its name; ``""`` is the default exchange, where the key is the queue's name.
        key: words parted by dots; ``*`` stands for one word, ``#`` for any number of them.
        exact: take ``*`` and ``#`` for themselves, as a direct exchange does.
    """

    exchange: str
    key: str
    exact: bool = field(default=False, kw_only=True)

    def covers(self, exchange: str, routing_key: str) -> bool:
        """Return whether a message so published comes this way."""
        if exchange != self.exchange:
            return False
        if routing_key == self.key:
            return True
        # The default exchange knows no patterns: a queue named "*" is that queue alone.
        return not self.exact and exchange != "" and _fits(self.key, routing_key)

    def __str__(self) -> str:
        return f"{self.exchange or 'the default exchange'} {self.key}".rstrip()


def _fits(pattern: str, routing_key: str) -> bool:
    """Match a topic, in time proportional to the product of the lengths."""
    words, parts = _words(routing_key), _words(pattern)
    if not any(part in _WILDCARDS for part in parts):
        return False
    reached = {0}
    for part in parts:
        if part == "#" and reached:
            reached = set(range(min(reached), len(words) + 1))
        elif part != "#":
            reached = {at + 1 for at in reached if at < len(words) and part in ("*", words[at])}
    return len(words) in reached


def _words(key: str) -> list[str]:
    return key.split(".") if key else []
