"""Events as log records of OpenTelemetry's, each with its event name, and in its message's trace.

The API for logs is in development (`opentelemetry._logs`), and so are its conventions for events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from logging import WARNING
from typing import Any, Final

from opentelemetry._logs import Logger, LoggerProvider, LogRecord, SeverityNumber, get_logger
from opentelemetry.context import Context, get_current
from opentelemetry.util.types import AnyValue

from busauth._arguments import Count, checked
from busauth._sinks.pseudonyms import Pseudonyms
from busauth._sinks.threaded import MOST, ThreadedSink, Writer
from busauth.audit import Event, Shipped
from busauth.clock import Clock
from busauth.integrations.otel import names

_NANO: Final = 1_000_000_000

_NAMES: Final[Mapping[str, str]] = {
    "queue": names.DESTINATION,
    "message_id": names.MESSAGE_ID,
    "error": names.ERROR,
    "code": names.CODE,
    "policy": names.POLICY,
    "issuer": names.ISSUER,
    "attempt": names.ATTEMPT,
    "age": names.AGE,
    "late": names.LATENESS,
    "kind": names.OUTCOME,
}
"""What fields are called; all others by their own name, after ``busauth.``."""


_PERSONS: Final = ("subject", "actor", "actors")
"""Of these the caller and who acts for them are told, where that is asked for."""


class AuditLogs(ThreadedSink):
    """Emits events as log records: `Guard(auditor=AuditLogs())`.

    By itself it exports nothing: an application configures OpenTelemetry's SDK as ever. Records are
    emitted in a thread, so that no message waits for an exporter.

    Args:
        logger_provider: makes the logger; default: the global one.
        subjects: records name the caller (``enduser.id``): personal data, wherever they go.
        pseudonyms: records have a pseudonym of the caller instead (``enduser.pseudo.id``).
        waiting: events that may wait to be emitted.
        clock: other than the machine's, for how often the log is told.
    """

    @checked
    def __init__(
        self,
        logger_provider: LoggerProvider | None = None,
        *,
        subjects: bool = False,
        pseudonyms: Pseudonyms | None = None,
        waiting: Count = MOST,
        clock: Clock | None = None,
    ) -> None:
        logger = get_logger(names.SCOPE, logger_provider=logger_provider, schema_url=names.SCHEMA)
        writer = _Records(logger, pseudonyms, subjects=subjects)
        super().__init__("the audit's log records", writer, waiting=waiting, clock=clock)

    def __call__(self, event: Event) -> None:
        """Take an event, with the trace that it belongs to."""
        self.put(_InTrace(event, get_current()))


@dataclass(frozen=True, slots=True)
class _InTrace:
    event: Event
    context: Context

    def as_json(self) -> dict[str, Any]:
        return self.event.as_json()


class _Records(Writer[LogRecord]):
    def __init__(self, logger: Logger, pseudonyms: Pseudonyms | None, *, subjects: bool) -> None:
        self._logger, self._pseudonyms, self._subjects = logger, pseudonyms, subjects

    def encoded(self, item: Shipped) -> LogRecord:
        if not isinstance(item, _InTrace):
            raise TypeError(f"expected an event: got {type(item).__name__}")
        event, known = item.event, item.as_json()
        if self._pseudonyms is not None:
            known = self._pseudonyms.applied(known)
        is_warning = event.level >= WARNING
        return LogRecord(
            timestamp=int(event.at * _NANO),
            context=item.context,
            severity_text="WARN" if is_warning else "DEBUG",
            severity_number=SeverityNumber.WARN if is_warning else SeverityNumber.DEBUG,
            body=known.get("detail"),
            attributes=self._attributes(known),
            event_name=f"busauth.{event.kind}",
        )

    def write(self, items: list[LogRecord]) -> None:
        while items:
            self._logger.emit(items[0])
            del items[0]

    def _attributes(self, known: dict[str, Any]) -> dict[str, AnyValue]:
        found: dict[str, AnyValue] = {
            _NAMES.get(name, f"busauth.{name}"): value
            for name, value in known.items()
            if name not in ("at", "detail", *_PERSONS)
        }
        if self._subjects or self._pseudonyms is not None:
            found |= {names.ACTOR: known["actor"]} if "actor" in known else {}
        if "subject" in known and self._pseudonyms is not None:
            found[names.PSEUDONYM] = known["subject"]
        elif "subject" in known and self._subjects:
            found[names.END_USER] = known["subject"]
        return {names.SYSTEM: names.RABBITMQ, **found}
