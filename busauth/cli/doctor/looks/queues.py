"""The queues of a service: there, as they should be, and what its user may do with them.

A queue that is there is declared as a bus would declare it, which changes nothing; one that is not
there is asked for with what cannot be declared, so that only the rights are told.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiormq.abc import AbstractConnection, DeliveredMessage

from busauth._amqp.connecting.rights import BIND, CONSUME, DECLARE, DECLARE_EXCHANGE, Step
from busauth._amqp.consuming.intake import Binding
from busauth._amqp.topology import dead_queue, parked_queue, rejected_queue
from busauth._messages.replay import GroupMemory, InProcessReplay
from busauth.cli.doctor.catalogue import Findings
from busauth.cli.doctor.finding import told
from busauth.cli.doctor.looks.asking import IMPOSSIBLE, NOWHERE, UNHEARD, Answer, asked
from busauth.cli.doctor.subject import Consumed, Subject

_LOOK = Step("look at the queue", "configure")
_ARGUMENTS = (
    ("'x-queue-type'", "queue-not-quorum"),
    ("'x-delivery-limit'", "delivery-limit-differs"),
    ("'x-dead-letter-", "dead-letter-path"),
    ("'x-overflow'", "dead-letter-path"),
    ("'x-message-ttl'", "queue-arguments"),
    ("'x-max-length", "rejected-bounds"),
)
"""What a broker's refusal names, and what it is then; the first that is named counts."""

_NAMED = re.compile(r"inequivalent arg '([^']+)'")
_NOTHING = "but current is none"
_NUMBERS = ("delivery-limit-differs", "rejected-bounds")


async def look(subject: Subject, connection: AbstractConnection, findings: Findings) -> None:
    """Find what is wrong with the queues and exchanges of a service."""
    for consumed in subject.consumed:
        looking = _Looking(subject, consumed, connection, findings)
        await looking.at_queues()
        looking.at_counts()
        for binding in consumed.bindings:
            await looking.at_binding(binding)


@dataclass(slots=True)
class _Looking:
    """Looks at one queue, and at those around it."""

    subject: Subject
    consumed: Consumed
    connection: AbstractConnection
    findings: Findings
    counts: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def declares(self) -> bool:
        return self.subject.options.declare

    async def at_queues(self) -> None:
        for name, arguments in self.consumed.around.items():
            await self._at_queue(name, arguments)
        queue = self.consumed.queue
        around = [name for name in self.missing if name != queue]
        if queue in self.missing:
            self.findings.add("queue-missing", queue, "the queue is not there")
        if around:
            self.findings.add("letter-queue-missing", queue, f"not there: {', '.join(around)}")
        if queue in self.counts:
            self._right(queue, CONSUME, await _consumed(self.connection, queue))

    async def _at_queue(self, name: str, arguments: Mapping[str, Any]) -> None:
        seen = await asked(self.connection, lambda c: c.queue_declare(name, passive=True))
        if seen.is_locked:
            self.findings.add("queue-exclusive", name, told(seen.error))
        elif seen.is_forbidden:
            self._right(name, _LOOK, seen)
        elif seen.value is not None:
            # Were it deleted in between, it would be there as the bus would have declared it.
            self.counts[name] = seen.value
            await self._compare(name, arguments)
        elif self.declares:
            impossible = {**arguments, **IMPOSSIBLE}
            self._right(name, DECLARE, await _declared(self.connection, name, impossible))
        else:
            self.missing.append(name)

    def _right(self, name: str, step: Step, answer: Answer) -> None:
        if answer.is_forbidden:
            words = str(answer.error)
            found = f"it may not {step.right(words)} it: {told(words)}"
            self.findings.add("right-missing", name, found)

    async def _compare(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Find out what a queue was declared with that a bus would not declare, and without what.

        A broker names one difference at a time: what a queue lacks is left out of the next try.
        """
        differing: dict[str, str] = {}
        left = dict(arguments)
        for _ in arguments:
            declared = await _declared(self.connection, name, left)
            if self.declares:
                self._right(name, DECLARE, declared)
            if not declared.differs:
                break
            words = told(declared.error)
            differing.setdefault(_what_differs(name, words), words)
            named = _NAMED.search(words)
            if named is None or _NOTHING not in words or left.pop(named[1], None) is None:
                break
        if "queue-not-quorum" in differing:  # another type lacks the others as well
            differing = {"queue-not-quorum": differing["queue-not-quorum"]}
        for code, words in differing.items():
            # Whoever declares by hand chooses numbers, and more; that there is none is no choice.
            is_choice = code == "queue-arguments" or (code in _NUMBERS and _NOTHING not in words)
            if self.declares or not is_choice:
                self.findings.add(code, name, words)

    def at_counts(self) -> None:
        """Tell what waits, and who consumes beside this one."""
        queue, counts = self.consumed.queue, self.counts
        for name in (dead_queue(queue), parked_queue(queue)):
            if name in counts and counts[name].message_count:
                found = f"{counts[name].message_count} messages"
                self.findings.add("letters-waiting", name, found)
        rejected = counts.get(rejected_queue(queue))
        if rejected and rejected.message_count >= self.subject.options.rejected_limit:
            found = f"{rejected.message_count} messages, and no room for more"
            self.findings.add("rejected-full", rejected_queue(queue), found)
        memory = self.consumed.rules.messages.replay
        others = counts[queue].consumer_count if queue in counts else 0
        is_alone = isinstance(memory, GroupMemory) and isinstance(memory.memory, InProcessReplay)
        if others > 1 and is_alone:
            found = f"{others} consumers, each with a memory of its own"
            self.findings.add("replay-in-process", queue, found)

    async def at_binding(self, binding: Binding) -> None:
        name, kind, queue = binding.exchange, binding.kind, self.consumed.queue
        seen = await asked(self.connection, lambda c: c.exchange_declare(name, passive=True))
        if not self.declares or not seen.is_there:
            if not (self.declares or seen.is_there):
                self.findings.add("exchange-missing", name, f"of {queue!r}")
            return
        declared = await asked(
            self.connection, lambda c: c.exchange_declare(name, exchange_type=kind, durable=True)
        )
        self._right(name, DECLARE_EXCHANGE, declared)
        if declared.differs:
            self.findings.add("exchange-differs", name, told(declared.error))
        if queue in self.counts:
            # Nothing is bound by this key, and to take away what is not there is no error.
            bound = await asked(self.connection, lambda c: c.queue_unbind(queue, name, NOWHERE))
            self._right(f"{queue}, {name}", BIND, bound)


async def _declared(
    connection: AbstractConnection, name: str, arguments: Mapping[str, Any]
) -> Answer:
    given = dict(arguments)
    return await asked(
        connection, lambda channel: channel.queue_declare(name, durable=True, arguments=given)
    )


async def _consumed(connection: AbstractConnection, name: str) -> Answer:
    async def nobody(_message: DeliveredMessage) -> None:
        """Hear nothing: nothing is consumed."""

    return await asked(
        connection, lambda channel: channel.basic_consume(name, nobody, arguments=dict(UNHEARD))
    )


def _what_differs(name: str, words: str) -> str:
    """Return the code of an argument that a broker's refusal names."""
    code = next((code for part, code in _ARGUMENTS if part in words), "queue-arguments")
    is_elsewhere = code == "rejected-bounds" and not name.endswith(".rejected")
    return "queue-arguments" if is_elsewhere else code
