"""`busauth letters discard`, `export` and `erase`: what goes for good, and what is a person's."""

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from busauth._amqp.resending.letters import Letter
from busauth._amqp.resending.look import existing, look
from busauth._amqp.resending.passes import run_id
from busauth._amqp.resending.records import Record, Recorder, recording
from busauth._amqp.resending.removal import Person, digest, removed
from busauth._amqp.resending.wanted import Wanted
from busauth._amqp.topology import dead_queue, parked_queue, rejected_queue
from busauth.cli.again import File, Url, telling
from busauth.cli.letters.choosing import AsJson, Choice, broker_of, choosing
from busauth.cli.letters.redriving import Name, NoRecord, Yes, confirm, user
from busauth.cli.letters.showing import as_json, exported_headers, print_json
from busauth.cli.options import Exit, fail, warn
from busauth.cli.target import bus_or_traceback
from busauth.clock import SystemClock
from busauth.settings import load_settings

_AGAIN = 5
"""How often a queue is gone through until nothing is found: somebody else may have held a part."""

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
    wanted = replace(choice.wanted, before=min(now, choice.wanted.before or now))
    run = _Run(choice.broker(), run_id(now), by or user(), is_recorded=not no_record)
    with telling():
        counts = asyncio.run(_discarded(choice, wanted, run))
    if as_document:
        print_json({"run": run.name, "discarded": counts})
    else:
        typer.echo(f"Discarded: {sum(counts.values())}. Run {run.name}.")


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


async def _discarded(choice: Choice, wanted: Wanted, run: _Run) -> dict[str, int]:
    counts = dict[str, int]()
    async with run.recorder(choice.queue) as recorder:
        for source in await choice.sources():

            async def note(letters: Sequence[Letter], source: str = source) -> None:
                if recorder is not None:
                    ids = tuple(letter.id for letter in letters)
                    said = {"letters": ids, "filters": wanted.filters()}
                    await recorder.write(run.record("discarded", choice.queue, source, **said))

            counts[source] = await removed(run.broker, source, wanted, note)
        if recorder is not None:
            source, total = ", ".join(counts), sum(counts.values())
            ended = run.record("ended", choice.queue, source, counts={"letters": total})
            await recorder.write(ended)
    return counts


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
    person = Person(subject, issuer)
    queues, broker = _queues(queue, bus, settings), broker_of(settings, url)
    name = run_id(SystemClock().now())
    run = _Run(broker, name, by or user(), is_recorded=not no_record, person=person)
    with telling():
        found = asyncio.run(_exported(file, queues, person, run))
    if as_document:
        print_json({"run": run.name, "exported": found, "person_sha256": person.pseudonym})
    else:
        typer.echo(f"Exported: {found}. Run {run.name}.")


async def _exported(file: Path, queues: Sequence[str], person: Person, run: _Run) -> int:
    total = 0
    descriptor = _private(file)
    with os.fdopen(descriptor, "w", encoding="ascii") as lines:
        for queue in queues:
            counts, ids = dict[str, int](), list[str]()
            for source in await _beside(run.broker, queue):
                found = (await look(run.broker, source, bodies=True, chosen=person)).letters
                lines.writelines(f"{json.dumps(_exported_letter(each))}\n" for each in found)
                counts[source] = len(found)
                ids += [each.id for each in found]
            async with run.recorder(queue) as recorder:
                if recorder is not None:
                    await recorder.write(run.of_person("exported", queue, counts, ids))
            total += len(ids)
    return total


def _private(file: Path) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        fail(f"{file} is there: expected a file that is not, as none is overwritten")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")


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
    and a digest for the letters. It ends with 3 where somebody else held a part of a queue.
    """
    person = Person(subject, issuer)
    queues, broker = _queues(queue, bus, settings), broker_of(settings, url)
    if not yes and not _is_meant(queues):
        raise typer.Exit(Exit.FAILED)
    name = run_id(SystemClock().now())
    run = _Run(broker, name, by or user(), is_recorded=not no_record, person=person)
    with telling():
        erased, ids, is_whole = asyncio.run(_erased(queues, person, run))
    print_json(
        {
            "v": 1,
            "what": "erased",
            "run": run.name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": run.by,
            "person_sha256": person.pseudonym,
            "queues": erased,
            "letters": len(ids),
            "letters_sha256": digest(ids),
            "is_whole": is_whole,
        }
    )
    if not is_whole:
        warn("somebody else held a part of a queue all the while: run it once more")
        raise typer.Exit(Exit.STAYS)


def _is_meant(queues: Sequence[str]) -> bool:
    """Ask a terminal; a program has meant it."""
    if not typer.get_text_stream("stdin").isatty():
        return True
    return typer.confirm(f"Erase for good, beside {', '.join(queues)}?", err=True)


async def _erased(
    queues: Sequence[str], person: Person, run: _Run
) -> tuple[dict[str, int], list[str], bool]:
    """Return how many letters went from where, their ids, and whether none is left."""
    erased, ids, is_whole = dict[str, int](), list[str](), True
    for queue in queues:
        went = list[str]()
        async with run.recorder(queue) as recorder:
            if recorder is not None:  # what cannot be written there shows before anything moves
                await recorder.write(run.of_person("planned", queue, {}))

            async def note(letters: Sequence[Letter], went: list[str] = went) -> None:
                went.extend(letter.id for letter in letters)

            counts = dict[str, int]()
            for source in await _beside(run.broker, queue):
                counts[source], is_empty = await _emptied(run, source, person, note)
                is_whole = is_whole and is_empty
            if recorder is not None:
                await recorder.write(run.of_person("erased", queue, counts, went))
        erased |= counts
        ids += went
    return erased, ids, is_whole


async def _emptied(
    run: _Run, source: str, person: Person, note: Callable[[Sequence[Letter]], Awaitable[None]]
) -> tuple[int, bool]:
    count = 0
    for _ in range(_AGAIN):
        found = await removed(run.broker, source, person, note)
        if not found:
            return count, True
        count += found
    return count, False


async def _beside(broker: str, queue: str) -> list[str]:
    return await existing(broker, (dead_queue(queue), rejected_queue(queue), parked_queue(queue)))


def _queues(named: list[str] | None, bus: str | None, settings: Path | None) -> list[str]:
    """Return the consumers' queues that are meant, or end with a sentence."""
    found = list(named or ())
    if bus is not None:
        with telling():
            declared = bus_or_traceback(bus).queues
        found += [each for each in declared if dead_queue(each) in declared]
    if not found:
        with telling():
            found = [*load_settings(settings).consumers]
    return found or fail(
        "which queues? Expected consumers' queues, --bus MODULE:BUS, or a settings file with "
        "[consumers] in it"
    )
