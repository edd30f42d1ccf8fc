"""Exchanges: which bindings a message matches (AMQP 0-9-1, section 3.1.3)."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from busauth.testing.broker.model.exchanges.matching import (
    HeadersPattern,
    check_x_match,
    topic_fits,
    topic_words,
)
from busauth.testing.broker.model.queues.queues import BaseQueue
from busauth.testing.broker.model.words.arguments import Arguments
from busauth.testing.broker.model.words.erlang import comparable, exact

ALTERNATE: Final = "alternate-exchange"
_REMEMBERED = 4096
"""Routing keys whose destinations are kept, between two changes of the bindings."""


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue or another exchange."""

    destination: "BaseQueue | Exchange"
    key: str
    arguments: Arguments


@dataclass(eq=False)
class Exchange:
    """An exchange and its bindings; subclasses say what matches."""

    name: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Arguments = field(default_factory=dict)

    kind = ""
    needs_headers = False

    def __post_init__(self) -> None:
        self._bindings: dict[Any, Binding] = {}
        self._to: dict[Any, dict[Any, None]] = {}
        self.changed()

    @property
    def alternate(self) -> str:
        """The exchange that takes what this one cannot route; empty without."""
        return str(self.arguments.get(ALTERNATE, ""))

    @property
    def bindings(self) -> Collection[Binding]:
        """The bindings, in the order in which they were made."""
        return self._bindings.values()

    def check_binding(self, arguments: Arguments) -> None:
        """Refuse arguments that a binding cannot have.

        Raises:
            AMQPError: 406.
        """

    def bind(self, destination: "BaseQueue | Exchange", key: str, arguments: Arguments) -> None:
        """Add a binding, once."""
        same = _identity(destination, key, arguments)
        if same not in self._bindings:
            self._bindings[same] = Binding(destination, key, dict(arguments))
            self._to.setdefault(destination, {})[same] = None
            self.changed()

    def has(self, destination: "BaseQueue | Exchange", key: str, arguments: Arguments) -> bool:
        """Whether there is such a binding."""
        return _identity(destination, key, arguments) in self._bindings

    def unbind(self, destination: "BaseQueue | Exchange", key: str, arguments: Arguments) -> bool:
        """Remove a binding; whether there was one."""
        return self._remove([_identity(destination, key, arguments)])

    def forget(self, destination: "BaseQueue | Exchange") -> bool:
        """Remove every binding to what is going away; whether there was one."""
        return self._remove(list(self._to.get(destination, ())))

    def _remove(self, identities: list[Any]) -> bool:
        gone = {same: self._bindings.pop(same) for same in identities if same in self._bindings}
        for same, binding in gone.items():
            self._to[binding.destination].pop(same)
            if not self._to[binding.destination]:
                del self._to[binding.destination]
        if gone:
            self.changed()
        return bool(gone)

    def changed(self) -> None:
        """Called after the bindings have changed: what was made of them is made anew once asked."""
        self._prepared = False

    def prepare(self) -> None:
        """Make of the bindings what matching needs, if they have changed."""
        if not self._prepared:
            self._prepared = True
            self._index()

    def _index(self) -> None:
        """Prepare the bindings for matching."""

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return the destinations of a message; `headers` are decoded when `needs_headers`."""
        raise NotImplementedError


def _identity(
    destination: "BaseQueue | Exchange", key: str, arguments: Arguments
) -> tuple[object, str, object]:
    """What makes two bindings one."""
    return destination, key, exact(arguments)


class Direct(Exchange):
    """Binding key and routing key are equal."""

    kind = "direct"

    def _index(self) -> None:
        """Index the bindings by key."""
        self._by_key: dict[str, list[BaseQueue | Exchange]] = {}
        for binding in self.bindings:
            self._by_key.setdefault(binding.key, []).append(binding.destination)

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return what is bound with this very key."""
        del headers
        self.prepare()
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

    def _index(self) -> None:
        """Prepare the patterns, and forget what matched them."""
        self._patterns = [(topic_words(each.key), each.destination) for each in self.bindings]
        self._known: dict[str, list[BaseQueue | Exchange]] = {}

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return what is bound with a pattern that the key fits."""
        del headers
        self.prepare()
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            words = topic_words(key)
            known = [target for pattern, target in self._patterns if topic_fits(pattern, words)]
            self._known[key] = known
        return known


class Headers(Exchange):
    """The binding's arguments are found in the message's headers: all of them, or any."""

    kind = "headers"
    needs_headers = True

    def check_binding(self, arguments: Arguments) -> None:
        """Refuse an unknown x-match."""
        check_x_match(arguments)

    def _index(self) -> None:
        """Prepare the arguments."""
        self._patterns = [
            (HeadersPattern(each.arguments), each.destination) for each in self.bindings
        ]

    def matches(
        self, key: str, headers: Mapping[str, Any] | None
    ) -> Iterable["BaseQueue | Exchange"]:
        """Return what is bound with arguments that the headers fit."""
        del key
        self.prepare()
        found = {name: comparable(value) for name, value in (headers or {}).items()}
        return (target for pattern, target in self._patterns if pattern.fits(found))


KINDS: Final[Mapping[str, type[Exchange]]] = {
    kind.kind: kind for kind in (Direct, Fanout, Topic, Headers)
}
