"""Where events are kept: in files, or on a stream of the broker's; and who reads them there.

A sink is an auditor: `Guard(auditor=JsonLines("audit.jsonl"))`. It takes an event at once and
writes it later, so that no message waits for it or is worse for it; what it could not write is
counted, and told in the log. A guard closes its sink when it is closed itself, as its bus does.
"""

from busauth._amqp.auditing.reading import read_stream
from busauth._amqp.auditing.status import ConsumerStatus, IssuerStatus, Status
from busauth._amqp.auditing.stream import AuditStream
from busauth._doors import hand_out
from busauth._sinks.json_lines import JsonLines, read_lines
from busauth._sinks.pseudonyms import Pseudonyms
from busauth._sinks.threaded import ThreadedSink
from busauth._sinks.together import every
from busauth.audit import Shipped, Sink

__all__ = [
    "AuditStream",
    "ConsumerStatus",
    "IssuerStatus",
    "JsonLines",
    "Pseudonyms",
    "Shipped",
    "Sink",
    "Status",
    "ThreadedSink",
    "every",
    "read_lines",
    "read_stream",
]

hand_out(__name__, globals())
