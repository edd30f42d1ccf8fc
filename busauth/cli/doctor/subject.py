"""What the doctor looks at: a service, as its module makes it or as a settings file speaks of it.

Where something is refused before there is a service, that is a finding, and what is left is looked
at all the same.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from yarl import URL

from busauth._amqp.bus import Bus, intakes_of
from busauth._amqp.connecting.address import broker_url
from busauth._amqp.consuming.intake import Binding
from busauth._amqp.consuming.rules import ConsumerRules
from busauth._amqp.guard import Guard
from busauth._amqp.options import BusOptions
from busauth._amqp.topology import arguments_of
from busauth._extras import MissingExtraError
from busauth.caller import Caller
from busauth.cli.doctor.catalogue import finding
from busauth.cli.doctor.finding import Finding, told
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError
from busauth.settings import Settings, load_settings

_POLICY = ("on_expired", "Park", "keep_token")
"""How errors about policies begin, or what they name."""


@dataclass(frozen=True, slots=True)
class Consumed:
    """A queue that the service consumes.

    Attributes:
        rules: the terms.
        bindings: exchanges that it receives from.
        around: the queues that go with it and itself, with the arguments that a bus declares.
    """

    rules: ConsumerRules
    bindings: tuple[Binding, ...]
    around: Mapping[str, Mapping[str, Any]]

    @property
    def queue(self) -> str:
        """Return its name."""
        return self.rules.queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A service.

    Attributes:
        guard, url, options: of its bus; None where there is none.
        consumed: its consumers.
        settings: what its operator says, None where nothing does.
        path: the settings file.
        is_whole: whether its handlers are known: a file alone names queues, and not their demands.
    """

    guard: Guard | None = None
    url: URL | None = field(default=None, repr=False)
    options: BusOptions = field(default_factory=BusOptions)
    consumed: tuple[Consumed, ...] = ()
    settings: Settings | None = None
    path: Path | None = None
    is_whole: bool = True

    @property
    def clock(self) -> Clock:
        """Return the clock by which it judges."""
        return SystemClock() if self.guard is None else self.guard.clock


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How the doctor is to look.

    Attributes:
        seconds: for each look.
        looks: whether the oldest message may be taken in hand for a moment.
        management: where the broker's management answers; None where it is not asked.
        workers: processes that the service runs in.
        environment: variables.
        requires: what busauth asks for, as packages say it.
        installed: the version of a package, None where it is not there.
    """

    seconds: float = 15.0
    looks: bool = False
    management: str | None = field(default=None, repr=False)
    workers: int = 1
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    requires: tuple[str, ...] = field(default_factory=lambda: tuple(requires("busauth") or ()))
    installed: Callable[[str], str | None] = _installed


def of_bus(bus: Bus, settings: Settings | None = None, path: Path | None = None) -> Subject:
    """Return a service whose module was imported."""
    consumed = tuple(
        Consumed(
            each.consumer.rules,
            each.bindings,
            arguments_of(each.consumer.queue, bus.options, parks=each.consumer.parks),
        )
        for each in intakes_of(bus)
    )
    return Subject(
        guard=bus.guard,
        url=bus.url,
        options=bus.options,
        consumed=consumed,
        settings=settings,
        path=path,
    )


def of_settings(path: Path | None) -> tuple[Subject, tuple[Finding, ...]]:
    """Return what a file speaks of, and what is refused in it."""
    try:
        settings = load_settings(path)
    except (ConfigurationError, MissingExtraError) as error:
        return Subject(path=path, is_whole=False), refused(error, str(path or "settings"))
    try:
        guard = settings.make_guard()
    except (ConfigurationError, MissingExtraError) as error:
        found = refused(error, str(path or "settings"))
        return Subject(url=_url(settings), settings=settings, path=path, is_whole=False), found
    try:
        bus = _bus(settings, guard)
    except ConfigurationError as error:
        found = refused(error, "bus")
        return Subject(guard=guard, settings=settings, path=path, is_whole=False), found
    found = tuple(_consumers(bus, settings))
    url = None if settings.bus.url is None else bus.url
    return replace(of_bus(bus, settings, path), url=url, is_whole=False), found


def _url(settings: Settings) -> URL | None:
    """Return the broker, where it is named and can be: what else is refused, is told already."""
    with suppress(ConfigurationError):
        return None if settings.bus.url is None else broker_url(settings.bus.address())
    return None


def _bus(settings: Settings, guard: Guard) -> Bus:
    """Return a bus; where no broker is named, one that nobody connects."""
    if settings.bus.url is not None:
        return settings.make_bus("doctor", guard=guard)
    options = settings.bus.options(BusOptions())
    return Bus("amqp://localhost/", guard=guard, service="doctor", options=options)


def _consumers(bus: Bus, settings: Settings) -> Iterator[Finding]:
    """Register a handler for each queue that is spoken of; it is never called."""
    for queue in {**settings.guard.consumers, **settings.consumers}:
        try:

            @bus.consumer(queue)
            async def _(caller: Caller) -> None: ...

        except (ConfigurationError, MissingExtraError) as error:
            yield from refused(error, queue)


def refused(error: Exception, where: str) -> tuple[Finding, ...]:
    """Return what is wrong with a configuration, a finding for each line of an error.

    Args:
        error: what was raised.
        where: what it is about.
    """
    if isinstance(error, MissingExtraError):
        return (finding("extra-missing", where, told(error)),)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return tuple(finding(_code(line), where, told(line)) for line in lines)


def _code(line: str) -> str:
    is_policy = any(word in line for word in _POLICY)
    return "policy-impossible" if is_policy else "settings-refused"
