"""Sinks keep events apart from messages: in a thread, bounded, in files that are their owner's."""

import asyncio
import gc
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from typer.testing import CliRunner

from busauth import ConfigurationError, Event, EventKind, EventLog, Guard, StaticKeys, Verifier
from busauth._files.shared import locked
from busauth._sinks.json_lines import json_of
from busauth._sinks.threaded import Writer
from busauth._sinks.waiting import Waiting
from busauth.audit import Shipped
from busauth.cli import app
from busauth.integrations.otel import AuditLogs
from busauth.settings import Settings, load_settings
from busauth.sinks import JsonLines, Pseudonyms, ThreadedSink, every, read_lines
from busauth.testing import Issuer, ManualClock
from tests.unit.support import NOW

ISSUER = "https://idp.example"


def refused(number: int = 0, **said: object) -> Event:
    named = {"issuer": ISSUER, "subject": "ann", "message_id": f"m-{number}", "detail": "why"}
    return Event(kind=EventKind.REFUSED, queue="q", at=NOW, **{**named, **said})  # type: ignore[arg-type]


@pytest.mark.prints_tokens("an event of a test's own making")
def test_an_event_is_json_without_what_is_not_known() -> None:
    """Its kind is its value; a sender's ids and routing keys bring no token along."""
    token = Issuer(url=ISSUER).token("ann")
    event = Event(kind=EventKind.PUBLISHED, queue=f"to.{token}", at=NOW, message_id=token)
    assert json.loads(json_of(event, None)) == {
        "kind": "published",
        "queue": "to.[token]",
        "at": NOW,
        "message_id": "[token]",
    }


def test_what_is_written_is_read_again_in_order(tmp_path: Path) -> None:
    """Over older files as well; nobody else may read one, and no more than `keep` are kept."""
    path = tmp_path / "audit.jsonl"
    asyncio.run(_written(JsonLines(path, max_bytes=4096, keep=2), 200))
    found = [each["message_id"] for each in read_lines(path)]
    assert found == [f"m-{number}" for number in range(200 - len(found), 200)]
    files = {each.name: each.stat() for each in tmp_path.iterdir()}
    assert files.keys() - {".audit.jsonl.lock"} == {path.name, f"{path.name}.1", f"{path.name}.2"}
    assert {stat.S_IMODE(each.st_mode) for each in files.values()} == {0o600}
    assert max(each.st_size for each in files.values()) <= 4096


async def _written(sink: JsonLines, count: int) -> None:
    async with sink:
        for number in range(count):
            sink(refused(number))


@settings(max_examples=25, deadline=None)
@given(torn=st.binary(max_size=40), texts=st.lists(st.text(max_size=20), max_size=3))
async def test_a_line_that_was_cut_off_costs_no_other(
    tmp_path_factory: pytest.TempPathFactory, torn: bytes, texts: list[str]
) -> None:
    """Whatever a crash has left at a file's end, what is written after it is read."""
    path = tmp_path_factory.mktemp("torn") / "audit.jsonl"
    path.write_bytes(torn)
    async with JsonLines(path) as sink:
        for text in texts:
            sink(refused(detail=text))
    found = [each.get("detail") for each in read_lines(path) if each.get("kind") == "refused"]
    assert found == [refused(detail=text).as_json()["detail"] for text in texts]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Who reads it hears which one, in a sentence."""
    with pytest.raises(ConfigurationError, match=r"audit.jsonl: cannot be read: No such file"):
        read_lines(tmp_path / "audit.jsonl")


def test_other_files_of_a_folder_are_none_of_its_older_ones(tmp_path: Path) -> None:
    """A file whose name is a number is somebody else's, and no line is read twice."""
    path = tmp_path / "audit.jsonl"
    for name in ("7", f"{path.name}.0", f"{path.name}.01", f"{path.name}.\u0663", f"{path.name}.1"):
        (tmp_path / name).write_text('{"of": "another"}\n')
    (tmp_path / f"{path.name}.{'9' * 200}").touch()
    path.write_text('{"of": "it"}\n')
    assert list(read_lines(path)) == [{"of": "another"}, {"of": "it"}]


def test_a_process_that_is_forked_meanwhile_keeps_no_lock(tmp_path: Path) -> None:
    """It has the lock's file open for as long as it lives, and knows nothing of it."""
    goes_on, ends = os.pipe()
    with locked(tmp_path / "names"):
        if not (child := os.fork()):
            os.close(ends)
            os.read(goes_on, 1)
            os._exit(0)
    os.close(goes_on)
    taken = threading.Thread(target=Pseudonyms(tmp_path / "names").of, args=(ISSUER, "ann"))
    taken.start()
    taken.join(5)
    is_taken = not taken.is_alive()
    os.close(ends)
    os.waitpid(child, 0)
    taken.join()
    assert is_taken


_FORKED = """
import logging, os, sys
from busauth import Event
from busauth.audit import EventKind
from busauth.sinks import JsonLines
logging.basicConfig(stream=sys.stdout, format="%(message)s")
sink, other = JsonLines(sys.argv[1]), JsonLines(sys.argv[1])
event = Event(kind=EventKind.HANDLED, queue="q", at=1.0)
sink(event)
child = os.fork()
if not child:
    sink(event)
    other(event)
    print("child", sink.dropped, other.dropped)
    sys.exit()
os.waitpid(child, 0)
sink(event)
print("parent", sink.dropped)
"""


def test_a_sink_that_was_used_before_a_fork_tells_what_it_loses(tmp_path: Path) -> None:
    """Its thread is the parent's: it counts, and says what to do; one that was not used works."""
    words = [sys.executable, "-c", _FORKED, str(tmp_path / "audit.jsonl")]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    told, child, parent = ran.stdout.splitlines()
    assert "was used before this process was forked: make one after that" in told
    assert (child, parent) == ("child 1 0", "parent 0")
    assert len(list(read_lines(tmp_path / "audit.jsonl"))) == 3


def test_processes_share_a_file(tmp_path: Path) -> None:
    """Two that write at once, make room for each other and close nothing, lose no line."""
    path, each = tmp_path / "audit.jsonl", 100
    code = (
        "import sys\n"
        "from busauth.audit import Event, EventKind\n"
        "from busauth.sinks import JsonLines\n"
        "sink = JsonLines(sys.argv[1], max_bytes=4096, keep=50)\n"
        f"for number in range({each}):\n"
        "    sink(Event(kind=EventKind.HANDLED, queue=sys.argv[2], at=float(number)))\n"
    )
    queues = ("a", "b")
    running = [subprocess.Popen([sys.executable, "-c", code, path, queue]) for queue in queues]
    assert [process.wait(60) for process in running] == [0, 0]
    lines = list(read_lines(path))
    for queue in queues:
        assert [line["at"] for line in lines if line["queue"] == queue] == list(range(each))


def test_what_has_no_room_is_counted_and_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody waits for room: a flood of a thousand is ten that wait, a number, and one line."""
    clock = ManualClock()
    waiting = Waiting[int]("the sink", 10, clock.monotonic)
    began = [waiting.put(number) for number in range(1000)]
    assert (began.count(True), waiting.dropped) == (1, 990)
    assert waiting.take() == list(range(10))
    assert caplog.messages == [
        "the sink: more comes than is written; 10 events wait, 1 were dropped so far"
    ]
    waiting.tell_rest()
    assert caplog.messages[1:] == [
        "the sink: some were not written; 10 events wait, 990 were dropped so far"
    ]


async def test_a_sink_goes_on_where_it_can_again(tmp_path: Path) -> None:
    """What waited for a folder is written once it is there, and after a close it opens again."""
    folder = tmp_path / "later"
    sink = JsonLines(folder / "audit.jsonl")
    sink(refused(1))
    folder.mkdir()
    await sink.close()
    sink(refused(2))
    await sink.close()
    assert [each["message_id"] for each in read_lines(folder / "audit.jsonl")] == ["m-1", "m-2"]
    assert sink.dropped == 0


async def test_one_event_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    """An error in an event is this event's; it is counted."""

    class Odd:
        def as_json(self) -> dict[str, object]:
            raise RecursionError("of its own")

    path = tmp_path / "audit.jsonl"
    odd: Shipped = Odd()
    async with JsonLines(path) as sink:
        sink(refused(1))
        sink.put(odd)
        sink(refused(2))
    assert [each["message_id"] for each in read_lines(path)] == ["m-1", "m-2"]
    assert sink.dropped == 1


def test_a_sink_that_is_forgotten_leaves_no_thread(tmp_path: Path) -> None:
    """Its thread ends with it, once what waited is written."""
    before = threading.active_count()
    sink = JsonLines(tmp_path / "audit.jsonl")
    sink(refused())
    del sink
    gc.collect()
    assert threading.active_count() == before
    assert len(list(read_lines(tmp_path / "audit.jsonl"))) == 1


class _Hanging(Writer[bytes]):
    """A disk that does not answer."""

    def encoded(self, item: Shipped) -> bytes:
        return json_of(item, None)

    def write(self, items: list[bytes]) -> None:
        threading.Event().wait()


async def test_a_sink_that_is_forgotten_in_a_loop_holds_nobody_up() -> None:
    """Where it is forgotten is chance, and all messages would wait there."""
    sink = ThreadedSink("hanging", _Hanging(), waiting=10, clock=None)
    sink(refused())
    began = time.monotonic()
    gc.collect()  # which takes as long as there is much in this process
    usual = time.monotonic() - began
    began = time.monotonic()
    del sink
    gc.collect()
    assert time.monotonic() - began < 1 + 3 * usual


_HANGING = """
import time
from busauth import Event
from busauth.audit import EventKind
from tests.unit.test_sinks import _Hanging
from busauth.sinks import ThreadedSink
sinks = [ThreadedSink("hanging", _Hanging(), waiting=10, clock=None) for _ in range(4)]
for sink in sinks:
    sink(Event(kind=EventKind.HANDLED, queue="q", at=1.0))
print(time.time())
"""


def test_sinks_that_hang_keep_a_process_for_three_seconds_together() -> None:
    """Each by itself, four of them would take most of what an orchestrator waits."""
    words = [sys.executable, "-c", _HANGING]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert time.time() - float(ran.stdout) < 9
    assert ran.stderr.count("not closed within 3 s; 1 events wait") == 4


# --- next to the log ----------------------------------------------------------------------------


async def _guarded(auditor: Callable[[Event], None]) -> Guard:
    issuer = Issuer(url=ISSUER)
    verifier = Verifier(StaticKeys(issuer.jwks()), issuer=ISSUER, audience=issuer.audience)
    guard = Guard(verifier, auditor=auditor)
    guard.core.tell(refused())
    await guard.close()
    return guard


@pytest.mark.parametrize(
    ("around", "lines"),
    [
        (lambda sink: sink, 1),
        (every, 1),
        (lambda sink: every(sink, EventLog()), 1),
        (lambda sink: every(sink, logs=False), 0),
    ],
    ids=["sink", "every", "with-a-log", "no-log"],
)
async def test_a_sink_stands_next_to_the_log(
    around: Callable[[JsonLines], Callable[[Event], None]],
    lines: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A guard logs what it logs without one, unless told not to, and closes it."""
    await _guarded(around(JsonLines(tmp_path / "audit.jsonl")))
    assert len([each for each in caplog.messages if each.startswith("refused")]) == lines
    assert len(list(read_lines(tmp_path / "audit.jsonl"))) == 1


async def test_every_auditor_is_told(tmp_path: Path) -> None:
    """One that fails keeps no other from being told."""
    heard: list[Event] = []

    def failing(_: Event) -> None:
        raise OSError("of its own")

    await _guarded(every(failing, heard.append, failing, JsonLines(tmp_path / "audit.jsonl")))
    assert len(heard) == len(list(read_lines(tmp_path / "audit.jsonl"))) == 1


async def test_nothing_is_kept_of_tests(tmp_path: Path) -> None:
    """A guard's replica tells an auditor of the user's own, and no sink."""
    heard: list[Event] = []
    guard = await _guarded(every(heard.append, JsonLines(tmp_path / "audit.jsonl")))
    (tmp_path / "audit.jsonl").unlink()
    replica = guard.replica(*guard.verifiers, clock=ManualClock(), auditor=heard.append)
    replica.core.tell(refused())
    await replica.close()
    assert len(heard) == 3
    assert not (tmp_path / "audit.jsonl").exists()


# --- pseudonyms ---------------------------------------------------------------------------------


async def test_a_subject_is_written_as_a_pseudonym_until_it_is_erased(tmp_path: Path) -> None:
    """Everywhere in a line; after that it is another one, and nothing tells whose the first was."""
    path, names = tmp_path / "audit.jsonl", Pseudonyms(tmp_path / "names")
    async with JsonLines(path, pseudonyms=names) as sink:
        said = "said ann"  # as a device is called that has a user of the broker's of its own
        sink(refused(detail="found ann, expected joanna", message_id="ann-1", sender=said))
        await sink.close()
        first = names.known(ISSUER, "ann")
        assert Pseudonyms(tmp_path / "names").erase(ISSUER, "ann")  # another process's
        sink(refused())
    one, two = read_lines(path)
    assert (one["subject"], one["detail"]) == (first, f"found {first}, expected joanna")
    assert (one["message_id"], one["sender"]) == (f"{first}-1", f"said {first}")
    assert two["subject"] == names.of(ISSUER, "ann") != first
    assert (names.issuers("ann"), names.known(ISSUER, "eve")) == ((ISSUER,), None)
    assert not re.search(r"\bann\b", path.read_text())
    assert stat.S_IMODE((tmp_path / "names").stat().st_mode) == 0o600


@given(
    st.lists(st.tuples(st.text(max_size=8), st.text(min_size=1, max_size=8)), max_size=6),
    st.binary(max_size=20),
)
@settings(max_examples=25, deadline=None)
def test_pseudonyms_are_each_subjects_own(
    tmp_path_factory: pytest.TempPathFactory, subjects: list[tuple[str, str]], torn: bytes
) -> None:
    """Other processes find the same, also behind a line that was cut off; and tell all apart."""
    path = tmp_path_factory.mktemp("names") / "names"
    path.write_bytes(torn)
    one, other = Pseudonyms(path), Pseudonyms(path)
    first = {each: one.of(*each) for each in subjects}
    assert {each: other.of(*each) for each in subjects} == first
    assert len(set(first.values())) == len(first)
    for each in first:
        assert other.erase(*each)
        assert one.known(*each) is None


def test_an_erasure_leaves_no_key_beside_the_file(tmp_path: Path) -> None:
    """One that was killed halfway has left a copy of all other keys, of whom one is erased now."""
    names = Pseudonyms(tmp_path / "names")
    names.of(ISSUER, "ann")
    (tmp_path / ".names.4711").write_bytes((tmp_path / "names").read_bytes())
    assert names.erase(ISSUER, "ann")
    assert [each.name for each in tmp_path.iterdir() if b"ann" in each.read_bytes()] == []


def test_of_what_others_add_the_rest_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each subject that others meet first; what they erase is gone all the same."""
    one, other = Pseudonyms(tmp_path / "names"), Pseudonyms(tmp_path / "names")
    for number in range(100):
        one.of(ISSUER, f"s{number}")
    known = {f"s{number}": other.known(ISSUER, f"s{number}") for number in range(100)}
    loads, parsed = json.loads, list[bytes]()

    def counted(line: bytes) -> object:
        parsed.append(line)
        return loads(line)

    monkeypatch.setattr(json, "loads", counted)
    one.of(ISSUER, "new")
    assert other.known(ISSUER, "new") == one.known(ISSUER, "new")
    assert len(parsed) == 2
    assert {subject: other.known(ISSUER, subject) for subject in known} == known
    for number in range(0, 100, 20):  # a file that is replaced often has an earlier one's number
        assert one.erase(ISSUER, f"s{number}")
        for more in range(3):
            one.of(ISSUER, f"more-{number}-{more}")
        assert other.known(ISSUER, f"s{number}") is None
        assert other.known(ISSUER, "s99") == known["s99"]
    with (tmp_path / "names").open("ab") as file:
        file.write(b'["https://idp.example", "cut')
    assert other.of(ISSUER, "after") == one.of(ISSUER, "after")


async def test_without_its_file_no_name_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The event is there all the same, without whatever may name the subject; the log tells it."""
    path = tmp_path / "audit.jsonl"
    async with JsonLines(path, pseudonyms=Pseudonyms(tmp_path / "no" / "names")) as sink:
        sink(refused(1, detail="of ann", sender="client ann"))
        sink(refused(2))
    assert [each.keys() for each in read_lines(path)] == [{"kind", "queue", "at", "issuer"}] * 2
    (told,) = [each for each in caplog.messages if "left out" in each]
    assert "No such file or directory" in told


def test_a_person_is_found_and_forgotten_from_a_shell(tmp_path: Path) -> None:
    """Both commands say what they did, in words or in JSON, and end with 3 for nobody."""
    file, run = tmp_path / "names", CliRunner()
    name = Pseudonyms(file).of(ISSUER, "ann")
    whose = ["--subject", "ann", "--pseudonyms", str(file)]
    shown = run.invoke(app, ["audit", "pseudonym", *whose])
    assert (shown.exit_code, shown.output) == (0, f"{name} at {ISSUER}\n")
    found = run.invoke(app, ["audit", "pseudonym", *whose, "--issuer", ISSUER, "--json"])
    assert json.loads(found.stdout) == {"pseudonyms": [{"issuer": ISSUER, "pseudonym": name}]}
    erased = run.invoke(app, ["audit", "erase", *whose, "--json"])
    assert (erased.exit_code, json.loads(erased.stdout)) == (0, {"erased": [ISSUER]})
    again = run.invoke(app, ["audit", "erase", *whose])
    assert (again.exit_code, again.stdout) == (3, "")
    assert "no pseudonym of this subject" in again.stderr


# --- settings -----------------------------------------------------------------------------------


def _settings(folder: Path, audit: str, bus: str = "") -> Settings:
    path = folder / "busauth.toml"
    path.write_text(f'issuer = "{ISSUER}"\naudience = "shop"\n[audit]\n{audit}\n{bus}')
    return load_settings(path)


def test_settings_name_sinks(tmp_path: Path) -> None:
    """File, stream and pseudonyms stand in a table of their own; a stream needs a broker."""
    file, names = tmp_path / "audit.jsonl", tmp_path / "names"
    said = f'file = "{file}"\npseudonyms = "{names}"\n'
    bus = '[bus]\nurl = "amqp://localhost:1/"\n'
    guard = _settings(tmp_path, f'{said}stream = "audit.of.all"', bus).make_guard()
    assert repr(guard.core.auditor) == (
        f"<every one of <the audit file {file}>, <the audit stream audit.of.all>>"
    )
    only = _settings(tmp_path, said).make_guard()
    only.core.tell(refused())
    asyncio.run(only.close())
    (line,) = read_lines(file)
    assert line["subject"] == Pseudonyms(names).known(ISSUER, "ann")
    with pytest.raises(ConfigurationError, match=r"bus.url: expected the broker"):
        _settings(tmp_path, "stream = true").make_guard()
    with pytest.raises(ConfigurationError, match=r"audit.max_bytes = 1: .*bytes from 4096"):
        _settings(tmp_path, "max_bytes = 1")


# --- OpenTelemetry ------------------------------------------------------------------------------


async def test_an_event_is_a_log_record_in_its_trace(tmp_path: Path) -> None:
    """It has its name, instant and level, the conventions' attributes and the span's context."""
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider()  # type: ignore[no-untyped-call]
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    names = Pseudonyms(tmp_path / "names")
    with TracerProvider().get_tracer("t").start_as_current_span("process") as span:
        async with AuditLogs(provider, pseudonyms=names) as sink:
            sink(refused(code="token.expired"))
        async with AuditLogs(provider, subjects=True) as sink:
            sink(refused())
        async with AuditLogs(provider) as sink:
            sink(refused())
    hidden, shown, silent = [each.log_record for each in exporter.get_finished_logs()]
    assert (hidden.event_name, hidden.body) == ("busauth.refused", "why")
    assert (hidden.timestamp, hidden.severity_text) == (int(NOW * 1e9), "WARN")
    assert hidden.trace_id == span.get_span_context().trace_id
    assert hidden.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": "q",
        "messaging.message.id": "m-0",
        "busauth.outcome": "refused",
        "busauth.code": "token.expired",
        "busauth.issuer": ISSUER,
        "enduser.pseudo.id": names.of(ISSUER, "ann"),
    }
    assert shown.attributes is not None
    assert shown.attributes["enduser.id"] == "ann"
    assert silent.attributes is not None
    assert not [each for each in silent.attributes if each.startswith("enduser")]
    await asyncio.to_thread(provider.shutdown)
