"""Exchanges: which bindings a message matches (AMQP 0-9-1, section 3.1.3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from busauth.testing.broker.model.arguments import Arguments

if TYPE_CHECKING:
    from busauth.testing.broker.model.queues import BaseQueue

_ALTERNATE = "alternate-exchange"


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue or another exchange."""

    destination: "BaseQueue | Exchange"
    key: str
    arguments: Mapping[str, Any]

    def same(self, destination: "BaseQueue | Exchange", key: str, arguments: Arguments) -> bool:
        """Whether this is the binding meant by bind or unbind."""
        return (
            self.destination is destination
            and self.key == key
            and dict(self.arguments) == dict(arguments)
        )


@dataclass(eq=False)
class Exchange:
    """An exchange and its bindings; subclasses say what matches."""

    name: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Arguments = field(default_factory=dict)
    bindings: list[Binding] = field(default_factory=list)

    kind = ""

    @property
    def alternate(self) -> str | None:
        """The exchange that takes what this one cannot route."""
        return self.arguments.get(_ALTERNATE)

    def bind(self, destination: "BaseQueue | Exchange", key: str, arguments: Arguments) -> None:
        """Add a binding, once."""
        if not any(each.same(destination, key, arguments) for each in self.bindings):
            self.bindings.append(Binding(destination, key, dict(arguments)))
            self.changed()

    def unbind(self, destination: "BaseQueue | Exchange", key: str, arguments: Arguments) -> bool:
        """Remove a binding; whether there was one."""
        kept = [each for each in self.bindings if not each.same(destination, key, arguments)]
        return self._keep(kept)

    def forget(self, destination: "BaseQueue | Exchange") -> bool:
        """Remove every binding to what is going away; whether there was one."""
        return self._keep([each for each in self.bindings if each.destination is not destination])

    def _keep(self, kept: list[Binding]) -> bool:
        had = len(kept) < len(self.bindings)
        self.bindings = kept
        self.changed()
        return had

    def changed(self) -> None:
        """Called after the bindings have changed."""

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return the destinations of a message; `headers` are decoded when `needs_headers`."""
        raise NotImplementedError

    needs_headers = False


class Direct(Exchange):
    """Binding key and routing key are equal."""

    kind = "direct"

    def changed(self) -> None:
        """Index the bindings by key."""
        self._by_key: dict[str, list[BaseQueue | Exchange]] = {}
        for binding in self.bindings:
            self._by_key.setdefault(binding.key, []).append(binding.destination)

    def __post_init__(self) -> None:
        self.changed()

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return what is bound with this very key."""
        del headers
        return self._by_key.get(key, ())


class Fanout(Exchange):
    """Every binding matches."""

    kind = "fanout"

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return everything that is bound."""
        del key, headers
        return (binding.destination for binding in self.bindings)


class Topic(Exchange):
    """`*` stands for one word, `#` for any number of them; words are parted by dots."""

    kind = "topic"

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return what is bound with a pattern that the key fits."""
        del headers
        words = key.split(".")
        return (
            binding.destination for binding in self.bindings if fits(binding.key.split("."), words)
        )


class Headers(Exchange):
    """The binding's arguments are found in the message's headers: all of them, or any."""

    kind = "headers"
    needs_headers = True

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return what is bound with arguments that the headers fit."""
        del key
        found = headers or {}
        return (
            binding.destination
            for binding in self.bindings
            if headers_fit(binding.arguments, found)
        )


KINDS: Final[Mapping[str, type[Exchange]]] = {
    kind.kind: kind for kind in (Direct, Fanout, Topic, Headers)
}


def fits(pattern: list[str], words: list[str]) -> bool:
    """Whether a topic pattern matches, in time proportional to the product of the lengths."""
    reachable = {0}
    for part in pattern:
        if part == "#":
            reachable = set(range(min(reachable), len(words) + 1)) if reachable else set()
        else:
            reachable = {at + 1 for at in reachable if at < len(words) and part in ("*", words[at])}
    return len(words) in reachable


def headers_fit(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether headers match a binding's arguments under its `x-match`."""
    mode = wanted.get("x-match", "all")
    with_x = mode.endswith("-with-x")
    tests = [
        name in found and (value is None or found[name] == value)
        for name, value in wanted.items()
        if name != "x-match" and (with_x or not name.startswith("x-"))
    ]
    return any(tests) if mode.startswith("any") else all(tests)
