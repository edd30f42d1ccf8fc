"""What an operator says about the audit: where events are kept, and under which names."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from busauth._amqp.auditing.stream import AUDIT_STREAM, AuditStream
from busauth._amqp.feed.options import StreamName
from busauth._arguments import CountOrNone
from busauth._sinks.json_lines import FileBytes, JsonLines
from busauth._sinks.pseudonyms import Pseudonyms
from busauth.audit import Sink
from busauth.settings.issuers import Table

StreamOrNot = Annotated[bool | StreamName, Field(union_mode="left_to_right")]


class AuditSettings(Table):
    """Sinks, which are told events next to the guard's auditor; see `busauth.sinks`.

    Attributes:
        file: lines of JSON are written there.
        max_bytes: bytes after which that file becomes an older one.
        keep: how many older ones are kept.
        stream: true, or a name, for a stream on the broker of ``[bus]``.
        pseudonyms: the file that keeps subjects' keys; without it their names are written.
    """

    file: Path | None = None
    max_bytes: FileBytes = 64 * 1024 * 1024
    keep: CountOrNone = 9
    stream: StreamOrNot = False
    pseudonyms: Path | None = None

    def sinks(self, url: str | None) -> tuple[Sink, ...]:
        """Return the sinks that these settings describe.

        Args:
            url: the broker; None where there is no stream.
        """
        pseudonyms = None if self.pseudonyms is None else Pseudonyms(self.pseudonyms)
        found: list[Sink] = []
        if self.file is not None:
            found.append(
                JsonLines(
                    self.file, max_bytes=self.max_bytes, keep=self.keep, pseudonyms=pseudonyms
                )
            )
        if self.stream and url is not None:
            name = AUDIT_STREAM if self.stream is True else self.stream
            found.append(AuditStream(url, stream=name, pseudonyms=pseudonyms))
        return tuple(found)
