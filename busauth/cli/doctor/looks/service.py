"""What a service says of itself: policies, numbers that do not go together, who may do what."""

from collections import Counter
from collections.abc import Iterator

from busauth._amqp.feed import RevocationFeed
from busauth._arguments import closest
from busauth._messages.proof import ProofDemand
from busauth._messages.replay import GroupMemory, InProcessReplay
from busauth.cli.doctor.catalogue import finding
from busauth.cli.doctor.finding import Finding
from busauth.cli.doctor.subject import Consumed, Question, Subject

CONSUMER_TIMEOUT = 30 * 60.0
"""Seconds after which RabbitMQ ends a consumer that has not settled a delivery, by default."""

_PATIENCE = 30.0
"""Seconds that orchestrators wait between SIGTERM and SIGKILL, by default."""

_LEAST_LIMIT = 5
_LONGEST_AGE = 7 * 24 * 3600.0


def look(subject: Subject, question: Question) -> Iterator[Finding]:
    """Yield what is wrong with what a service says; nobody is asked."""
    if subject.guard is None:
        return
    yield from _of_guard(subject)
    yield from _of_bus(subject)
    yield from _of_letters(subject)
    yield from _of_memories(subject, question)
    for each in subject.consumed:
        yield from _of_consumer(subject, each)


def _of_guard(subject: Subject) -> Iterator[Finding]:
    guard = subject.guard
    if guard is None:
        return
    options = guard.options
    if options.hard_max_age > _LONGEST_AGE:
        found = f"hard_max_age is {options.hard_max_age / 86400:g} days"
        yield finding("maximum-age-long", "guard", found)
    if "*" in options.reply_to:
        yield finding("replies-to-anybody", "guard", 'reply_to has "*"')
    decryption = guard.messages.decryption
    if decryption is not None and not decryption.required:
        yield finding("plain-tokens-taken", "guard", "decryption is not required")
    known = {each.queue for each in subject.consumed}
    for name in sorted(options.consumers.keys() - known if subject.is_whole else ()):
        if near := closest(name, known):
            yield finding("consumer-unknown", name, f"nobody consumes it; was {near!r} meant?")


def _of_bus(subject: Subject) -> Iterator[Finding]:
    if not subject.consumed:
        yield finding("consumers-none", "bus", "no consumer is registered")
        return
    options = subject.options
    if options.drain >= _PATIENCE:
        yield finding("drain-long", "bus", f"drain is {options.drain:g} s")
    if options.declare and options.delivery_limit < _LEAST_LIMIT:
        found = f"delivery_limit is {options.delivery_limit}"
        yield finding("delivery-limit-low", "bus", found)


def _of_consumer(subject: Subject, consumed: Consumed) -> Iterator[Finding]:
    rules, queue = consumed.rules, consumed.queue
    demand = rules.callers.demand
    acted_for = demand.actors is not None and not demand.actors.or_nobody
    if subject.is_whole and not (demand.scopes or demand.roles or demand.allow or acted_for):
        yield finding("demands-nothing", queue, "no scopes, no roles, no allow")
    if rules.concurrency > subject.options.prefetch:
        found = f"concurrency is {rules.concurrency}, prefetch is {subject.options.prefetch}"
        yield finding("prefetch-below-concurrency", queue, found)
    if rules.deadline is None and subject.is_whole:
        yield finding("deadline-none", queue, "its handler has no deadline")
    elif rules.deadline is not None and rules.deadline >= CONSUMER_TIMEOUT:
        found = f"the deadline is {rules.deadline:g} s, the broker's timeout {CONSUMER_TIMEOUT:g} s"
        yield finding("deadline-beyond-timeout", queue, f"{found} by default")
    proofs = rules.messages.proofs
    if proofs is not None and proofs.demand is not ProofDemand.REQUIRED:
        yield finding("proofs-optional", queue, f'demand is "{proofs.demand.value}"')
    yield from _of_lateness(rules.callers.revocations, rules.callers.policies.lateness, queue)


def _of_lateness(revocations: object, lateness: float, queue: str) -> Iterator[Finding]:
    if lateness and revocations is None:
        found = f"tokens are accepted {lateness:g} s past exp, and none is ever revoked"
        yield finding("late-unrevocable", queue, found)
    if isinstance(revocations, RevocationFeed) and lateness > revocations.options.lateness:
        kept = revocations.options.lateness
        found = f"tokens are accepted {lateness:g} s past exp, the feed's lateness is {kept:g} s"
        yield finding("feed-forgets-early", queue, found)


def _of_letters(subject: Subject) -> Iterator[Finding]:
    known = {} if subject.guard is None else vars(subject.guard.core)
    if getattr(known.get("letters"), "keep_token", None) is not None:
        return
    without = [each.queue for each in subject.consumed if not each.rules.callers.policies.keeps]
    if without:
        yield finding("letters-keep-no-token", ", ".join(without), "letters keep no token")


def _of_memories(subject: Subject, question: Question) -> Iterator[Finding]:
    memories = [
        (each.queue, replay)
        for each in subject.consumed
        if isinstance(replay := each.rules.messages.replay, GroupMemory)
    ]
    counts = Counter(memory.group for _, memory in memories)
    for group in (group for group, count in counts.items() if count > 1):
        queues = ", ".join(queue for queue, memory in memories if memory.group == group)
        yield finding("replay-group-shared", queues, f"all remember as {group!r}")
    alone = [queue for queue, each in memories if isinstance(each.memory, InProcessReplay)]
    if alone and question.workers > 1:
        found = f"{question.workers} processes, each with a memory of its own"
        yield finding("replay-in-process", ", ".join(alone), found)
