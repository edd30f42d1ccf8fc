"""`busauth letters discard`, `export` and `erase`: what goes for good, and what is a person's."""

import asyncio
import json
import os
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from busauth._amqp.resending.letters import Letter
from busauth._amqp.resending.look import existing, look
from busauth._amqp.resending.passes import run_id
from busauth._amqp.resending.records import Record, Recorder, recording
from busauth._amqp.resending.removal import Noting, Person, Telling, digest, removed
from busauth._amqp.resending.wanted import Census, instant_of
from busauth._amqp.topology import dead_queue, parked_queue, rejected_queue
from busauth.cli.again import File, Url, telling
from busauth.cli.letters.choosing import Choice, broker_of, choosing, no_letters_beside
from busauth.cli.letters.redriving import Name, NoRecord, Yes, confirm, named
from busauth.cli.letters.showing import as_json, exported_headers, print_json
from busauth.cli.options import AsJson, Exit, fail, warn
from busauth.cli.target import bus_for_report
from busauth.clock import SystemClock
from busauth.settings import load_settings

_AGAIN = 5
"""How often a queue is gone through until nothing is found: somebody else may have held a part."""

_NOT_ALONE = "somebody else held a part of a queue all the while: run it once more"

All = Annotated[bool, typer.Option("--all", help="Every letter that is there.")]
Queues = Annotated[
    list[str] | None,
    typer.Argument(metavar="[QUEUE]...", help="Consumers' queues; default: the settings'."),
]
BusOf = Annotated[
    str | None, typer.Option("--bus", metavar="MODULE:BUS", help="All queues that it consumes.")
]
Subject = Annotated[str, typer.Option("--subject", metavar="SUB", help="Whose letters.")]
Issuer = Annotated[
    str | None, typer.Option("--issuer", metavar="ISS", help="Of its tokens alone; default: any.")
]
To = Annotated[Path, typer.Argument(metavar="FILE", help="A file that is not there yet.")]


@choosing
def discard(
    choice: Choice,
    *,
    everything: All = False,
    by: Name = None,
    yes: Yes = False,
    no_record: NoRecord = False,
    as_document: AsJson = False,
) -> None:
    """Take letters away for good: what was refused until now, and is asked for.

    busauth letters discard orders.placed --dead --code body.invalid --older-than 7d

    It takes a filter, or --all. It is recorded which letters went, and not what was in them.
    """
    if choice.wanted.is_all and not everything:
        fail("which letters? Expected a filter, such as --code CODE, or --all")
    if not yes:
        confirm(choice, "Discard for good", least=0)
    now = SystemClock().now()
    census = Census(choice.wanted)
    run = _Run(choice.broker(), run_id(now), named(by), is_recorded=not no_record)
    with telling():
        counts, is_whole = asyncio.run(_discarded(choice, census, now, run))
    if as_document:
        print_json({"run": run.name, "discarded": counts})
    else:
        typer.echo(f"Discarded: {sum(counts.values())}. Run {run.name}.")
    if not is_whole:
        warn(_NOT_ALONE)
    missed = census.missed()
    for each in missed:
        warn(each)
    if missed or not is_whole:
        raise typer.Exit(Exit.STAYS)


@dataclass(frozen=True, slots=True)
class _Run:
    """What is done under one id, and who does it."""

    broker: str
    name: str
    by: str
    is_recorded: bool
    person: Person | None = None

    @asynccontextmanager
    async def recorder(self, queue: str) -> AsyncIterator[Recorder | None]:
        """Be ready to record before anything moves."""
        if not self.is_recorded:
            warn("nothing of this is recorded: nobody will see what was done")
            yield None
            return
        async with recording(self.broker, queue) as recorder:
            yield recorder

    def record(self, kind: str, queue: str, source: str, **said: Any) -> Record:
        """Return a step of it."""
        now = SystemClock().now()
        return Record(
            run=self.name, kind=kind, at=now, queue=queue, source=source, by=self.by, **said
        )

    def of_person(
        self, kind: str, queue: str, counts: dict[str, int], ids: Sequence[str] = ()
    ) -> Record:
        """Return a step that is about a person, and names nobody."""
        said = {"letters_sha256": digest(ids)} if ids else {}
        if self.person is not None:
            said["person_sha256"] = self.person.pseudonym
        numbers = {**counts, "letters": sum(counts.values())}
        return self.record(kind, queue, ", ".join(counts) or "-", filters=said, counts=numbers)


async def _discarded(
    choice: Choice, census: Census, now: float, run: _Run
) -> tuple[dict[str, int], bool]:
    """Return how many letters went from where, and whether all of the queues was seen."""
    counts, is_whole = Counter[str](), True
    before = min(now, choice.wanted.before or now)
    filters = replace(choice.wanted, before=before).filters()

    def goes(letter: Letter) -> bool:
        # one that does not say when it was refused was there all the same
        return census.asks(letter) and (instant_of(letter) or 0.0) < now

    def gone(letters: Sequence[Letter]) -> None:
        counts.update(letter.source for letter in letters)

    async with run.recorder(choice.queue) as recorder:

        async def note(letters: Sequence[Letter]) -> None:
            if recorder is not None:
                said = {"letters": tuple(letter.id for letter in letters), "filters": filters}
                await recorder.write(
                    run.record("discarded", choice.queue, letters[0].source, **said)
                )

        for source in await choice.sources():
            counts[source] = 0
            is_whole = await _discard(run, source, goes, gone, note) and is_whole
        if recorder is not None:
            source, total = ", ".join(counts), sum(counts.values())
            ended = run.record("ended", choice.queue, source, counts={"letters": total})
            await recorder.write(ended)
    return dict(counts), is_whole


async def _discard(
    run: _Run, source: str, goes: Callable[[Letter], bool], gone: Telling, note: Noting
) -> bool:
    for _ in range(_AGAIN):
        if await removed(run.broker, source, goes, gone=gone, noting=note):
            return True
    return False


def export(
    file: To,
    queue: Queues = None,
    *,
    subject: Subject,
    issuer: Issuer = None,
    bus: BusOf = None,
    by: Name = None,
    no_record: NoRecord = False,
    as_document: AsJson = False,
    settings: File = None,
    url: Url = None,
) -> None:
    """Write a person's letters to a file, a line of JSON each: bodies in base64, without tokens.

    busauth letters export ann.jsonl orders.placed stock.reserve --subject ann

    Nobody else on this machine can read the file, and none is overwritten.
    """
    person = _person(subject, issuer)
    queues, broker = _queues(queue, bus, settings), broker_of(settings, url)
    name = run_id(SystemClock().now())
    run = _Run(broker, name, named(by), is_recorded=not no_record, person=person)
    with telling():
        beside = asyncio.run(_beside(broker, queues, queue or ()))
    with telling(), _private(file) as lines:
        found = asyncio.run(_exported(lines, beside, person, run))
    if as_document:
        print_json({"run": run.name, "exported": found, "person_sha256": person.pseudonym})
    else:
        typer.echo(f"Exported: {found}. Run {run.name}.")


async def _exported(
    lines: TextIO, beside: Mapping[str, Sequence[str]], person: Person, run: _Run
) -> int:
    total = 0
    for queue, sources in beside.items():
        counts, ids = dict[str, int](), list[str]()
        for source in sources:
            found = (await look(run.broker, source, bodies=True, chosen=person)).letters
            lines.writelines(f"{json.dumps(_exported_letter(each))}\n" for each in found)
            counts[source] = len(found)
            ids += [each.id for each in found]
        async with run.recorder(queue) as recorder:
            if recorder is not None:
                await recorder.write(run.of_person("exported", queue, counts, ids))
        total += len(ids)
    return total


@contextmanager
def _private(file: Path) -> Iterator[TextIO]:
    """Write a file that nobody else may read; where that is cut off, there is none."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        fail(f"{file} is there: expected a file that is not, as none is overwritten")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as lines:
            yield lines
    except BaseException:
        file.unlink(missing_ok=True)  # a part would pass for all
        raise


def _exported_letter(letter: Letter) -> dict[str, Any]:
    return {
        **as_json(letter),
        "headers": exported_headers(letter),
        "body_base64": b64encode(letter.body).decode("ascii"),
    }


def erase(
    queue: Queues = None,
    *,
    subject: Subject,
    issuer: Issuer = None,
    bus: BusOf = None,
    by: Name = None,
    yes: Yes = False,
    no_record: NoRecord = False,
    as_document: AsJson = False,
    settings: File = None,
    url: Url = None,
) -> None:
    """Take a person's letters away for good, dead, rejected and parked, and write a receipt.

    busauth letters erase --settings busauth.toml --subject ann --yes > receipt.json

    The receipt, one document, names nobody: a SHA-256 of issuer and subject stands for the person,
    and a digest for the letters. It ends with 3 where somebody else held a part of a queue; where
    it is cut off, the receipt tells what has gone until then.
    """
    person = _person(subject, issuer)
    queues, broker = _queues(queue, bus, settings), broker_of(settings, url)
    if not yes and not _is_meant(queues):
        raise typer.Exit(Exit.FAILED)
    name = run_id(SystemClock().now())
    run = _Run(broker, name, named(by), is_recorded=not no_record, person=person)
    done = _Erased()
    try:
        with telling():
            beside = asyncio.run(_beside(broker, queues, queue or ()))
            asyncio.run(_erase(beside, person, run, done))
    finally:  # whatever ends it: what has gone is gone
        if done.counts:
            _print_receipt(done, person, run)
    if not done.is_whole:
        warn(_NOT_ALONE)
        raise typer.Exit(Exit.STAYS)


@dataclass(slots=True)
class _Erased:
    """What has gone so far: how many letters from where, their ids, and whether none is left."""

    counts: dict[str, int] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    is_whole: bool = False


def _print_receipt(done: _Erased, person: Person, run: _Run) -> None:
    print_json(
        {
            "v": 1,
            "what": "erased",
            "run": run.name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": run.by,
            "person_sha256": person.pseudonym,
            "queues": done.counts,
            "letters": len(done.ids),
            "letters_sha256": digest(done.ids),
            "is_whole": done.is_whole,
        }
    )


def _person(subject: str, issuer: str | None) -> Person:
    """Return who is meant; a variable that is not set is nobody, of whom nothing is found."""
    for option, given in (("--subject", subject), ("--issuer", issuer)):
        if given is not None and not given.strip():
            fail(f"{option}: got a blank one, expected it as tokens have it")
    return Person(subject, issuer)


def _is_meant(queues: Sequence[str]) -> bool:
    """Ask a terminal; a program has meant it."""
    if not typer.get_text_stream("stdin").isatty():
        return True
    return typer.confirm(f"Erase for good, beside {', '.join(queues)}?", err=True)


async def _erase(
    beside: Mapping[str, Sequence[str]], person: Person, run: _Run, done: _Erased
) -> None:
    is_whole = True
    for queue, sources in beside.items():
        here, step = _Erased(dict.fromkeys(sources, 0)), "erasing"
        done.counts |= here.counts
        async with run.recorder(queue) as recorder:
            if recorder is not None:  # what cannot be written there shows before anything moves
                await recorder.write(run.of_person(step, queue, {}))
            try:
                for source in sources:
                    is_whole = await _emptied(run, source, person, (here, done)) and is_whole
                step = "erased"
            finally:
                if recorder is not None:
                    await recorder.write(run.of_person(step, queue, here.counts, here.ids))
    done.is_whole = is_whole


async def _emptied(run: _Run, source: str, person: Person, told: Sequence[_Erased]) -> bool:
    """Go through a queue until nothing is found, and return whether that was so."""
    for _ in range(_AGAIN):
        found = list[Letter]()
        try:
            is_whole = await removed(run.broker, source, person, gone=found.extend)
        finally:
            for each in told:
                each.counts[source] += len(found)
                each.ids.extend(letter.id for letter in found)
        if is_whole and not found:
            return True
    return False


async def _beside(
    broker: str, queues: Sequence[str], named: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the queues of letters that are there; one that was named and has none is misspelt."""
    found = dict[str, tuple[str, ...]]()
    for queue in queues:
        beside = dead_queue(queue), rejected_queue(queue), parked_queue(queue)
        there = tuple(await existing(broker, beside))
        if there:
            found[queue] = there
        elif queue in named:
            fail(no_letters_beside(queue))
        else:  # a service that never ran has none
            warn(no_letters_beside(queue))
    return found


def _queues(named: list[str] | None, bus: str | None, settings: Path | None) -> list[str]:
    """Return the consumers' queues that are meant, or end with a sentence."""
    found = list(named or ())
    if bus is not None:
        with telling():
            declared = bus_for_report(bus).queues
        found += [each for each in declared if dead_queue(each) in declared]
    if not found:
        with telling():
            found = [*load_settings(settings).consumers]
    return list(dict.fromkeys(found)) or fail(
        "which queues? Expected consumers' queues, --bus MODULE:BUS, or a settings file with "
        "[consumers] in it"
    )
