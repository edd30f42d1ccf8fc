"""What the command logs, where the program has not said anything about logs itself."""

import logging
from enum import StrEnum

from busauth._redaction import redact

_TOLD_ANYWAY = ("aiormq.connection", "aiormq.channel")
"""Loggers that show a traceback for each lost connection, of which busauth tells in one line."""

_TALKATIVE = ("aio_pika", "aiormq", "pamqp", "httpcore")
"""Loggers that show whole frames and headers at DEBUG, opaque tokens among them."""


class LogLevel(StrEnum):
    """From which level on lines are shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class _Line(logging.Formatter):
    """A line as others have it, without tokens, whoever wrote it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure_logs(level: LogLevel, worker: str = "") -> None:
    """Show log lines on standard error, unless the program shows busauth's lines already.

    Call it once the bus's module was imported: there a program configures its logs.

    Args:
        level: of all loggers but those that say their own.
        worker: its number, where there are several.
    """
    if logging.getLogger("busauth").hasHandlers():
        return
    which = f" worker {worker}" if worker.isdecimal() else ""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line(f"%(asctime)s %(levelname)s{which} %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        _keep(name, logging.INFO)
    for name in _TOLD_ANYWAY:
        _keep(name, logging.CRITICAL)


def _keep(name: str, least: int) -> None:
    """Let a logger say nothing below that level, unless somebody has set one for it."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(max(least, logging.getLogger().level))
