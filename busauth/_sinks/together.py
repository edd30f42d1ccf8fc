"""Several auditors as one, each of which is told whatever becomes of the others."""

import asyncio

from busauth._callables import name_of
from busauth.audit import (
    ENDING,
    LOGGER,
    Auditor,
    Event,
    EventLog,
    Shipped,
    Sink,
    log_event,
)


def every(*auditors: Auditor, logs: bool = True) -> Sink:
    """Return an auditor that tells all of these: `Guard(auditor=every(JsonLines(path), count))`.

    Args:
        auditors: sinks, and functions of your own.
        logs: whether the guard logs events as well, as it does without an auditor.
    """
    return _Every(auditors, logs=logs)


class _Every(Sink):
    def __init__(self, auditors: tuple[Auditor, ...], *, logs: bool) -> None:
        self._auditors = tuple(each for each in auditors if each is not log_event)
        self._sinks = [each for each in auditors if isinstance(each, Sink)]
        # An `EventLog` among them logs by itself.
        self.logs = logs and not any(isinstance(each, EventLog) for each in auditors)
        wanted = [each.status_every for each in self._sinks if each.status_every is not None]
        self.status_every = min(wanted, default=None)

    def __repr__(self) -> str:
        return f"<every one of {', '.join(map(repr, self._auditors))}>"

    def __call__(self, event: Event) -> None:
        _tell_each(self._auditors, event)

    def report(self, status: Shipped) -> None:
        for sink in self._sinks:
            sink.report(status)

    def named(self, service: str) -> None:
        for sink in self._sinks:
            sink.named(service)

    async def close(self) -> None:
        await asyncio.gather(*(sink.close() for sink in self._sinks), return_exceptions=True)

    def in_tests(self) -> Auditor:
        plain = tuple(each for each in self._auditors if not isinstance(each, Sink))
        if not plain:
            return super().in_tests()
        return _Every(plain, logs=self.logs)


def _tell_each(auditors: tuple[Auditor, ...], event: Event) -> None:
    """Tell all; the error of one is told by whoever tells them, once all others were told."""
    errors = []
    for auditor in auditors:
        try:
            auditor(event)
        except ENDING:
            raise
        except BaseException as error:
            errors.append((auditor, error))
    for auditor, _ in errors[1:]:
        LOGGER.warning("the auditor %s failed as well", name_of(auditor))
    if errors:
        raise errors[0][1]
