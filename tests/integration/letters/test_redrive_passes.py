"""A redrive in passes is stopped, killed and resumed, and loses nothing."""

import asyncio
import json
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from typing import Any

import aio_pika
import pytest

from busauth import DeadLetter, Grace, Park
from busauth._amqp.resending.runs import Run, runs_of
from busauth.cli.letters.redriving import told_progress
from busauth.errors import ConfigurationError
from busauth.letters import Redrive, Redriven, Wanted, history, look
from busauth.tokens import Decryption, TokenEncryption
from tests.desk import KEY, Desk

KEEPING = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))
_COMMAND = "from busauth.cli import main; main()"


async def interrupted(desk: Desk, number: signal.Signals, *given: str) -> None:
    """Run a redrive in a process of its own, and end it at some instant after its first letters."""
    key = ("--key", str(desk.folder / "redrive.jwk"), "--settings", desk.settings)
    words = ("letters", "redrive", desk.queue, "--url", desk.scene.broker.url, *key, *given)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _COMMAND, *words, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    assert process.stderr is not None
    told = b""
    while b"\nrun " not in b"\n" + told:
        line = await process.stderr.readline()
        assert line, told.decode()
        told += line
    await asyncio.sleep(random.uniform(0, 0.5))
    process.send_signal(number)
    await process.communicate()


async def last_run(desk: Desk) -> Run:
    runs = runs_of(await history(desk.scene.broker.url, desk.queue))
    return list(runs.values())[-1]


@pytest.mark.processes
async def test_a_redrive_that_was_killed_is_resumed(desk: Desk) -> None:
    """None is lost; what was in flight is in its history, and is refused the second time."""
    many = 60
    await desk.late(KEEPING, *["ann"] * many)
    await interrupted(desk, signal.SIGINT, "--rate", "20")
    stopped = await last_run(desk)
    assert (stopped.is_over, len(stopped.in_flight)) == (True, 0)
    await interrupted(desk, signal.SIGKILL, "--rate", "40", "--resume", stopped.first.run)
    killed = await last_run(desk)
    assert len(killed.in_flight) <= 40
    key = ("--key", str(desk.folder / "redrive.jwk"))
    resumed = await desk.run("letters redrive", *key, "--resume", killed.first.run)
    assert resumed.exit_code == 0, resumed.output
    run = await last_run(desk)
    assert (run.is_over, len(run.sent), run.in_flight) == (True, many, {})
    await desk.scene.broker.settles_at(f"{desk.queue}.dead", 0)
    await desk.handles(Grace(hours=1), many)
    await desk.scene.broker.settles_at(desk.queue, 0)
    kinds = desk.scene.trail.kinds(desk.queue)
    assert (kinds.count("handled"), kinds.count("duplicate") <= len(killed.in_flight)) == (
        many,
        True,
    )


async def test_what_comes_back_does_not_go_round(desk: Desk) -> None:
    """Only what was refused before the run goes; a limit holds, and the rest keeps its order."""
    await desk.late(KEEPING, *map(str, range(9)))
    dead, url = f"{desk.queue}.dead", desk.scene.broker.url
    await desk.scene.clock.advance(1)
    bus, _ = desk.service(KEEPING)
    redrive = Redrive(url, guard=bus.guard, queue=desk.queue, keys=Decryption([KEY]), by="ops")
    subjects = [letter.subject for letter in (await look(url, dead)).letters]
    done = await redrive.run(Wanted(codes=["token.expired"]), limit=2)
    assert (done.sent, done.is_whole) == (2, False)
    left = await look(url, dead)
    assert [letter.subject for letter in left.letters] == subjects[2:]
    done = await redrive.run()
    assert (done.sent, done.refused, done.is_whole) == (7, {}, True)
    await desk.scene.clock.advance(1)
    async with bus:
        await desk.scene.trail.until("refused", count=9 + 9)
    again = await redrive.run(resume=done.run)
    assert (again.sent, again.others, again.is_whole) == (0, 9, True)


async def test_a_run_is_not_resumed_with_other_filters(desk: Desk) -> None:
    """More would go than was asked for; the same ones may be said again, as in the same command."""
    await desk.late(KEEPING, "ann", "bob", "bob")
    await desk.scene.clock.advance(1)
    bus, _ = desk.service(KEEPING)
    redrive = Redrive(
        desk.scene.broker.url, guard=bus.guard, queue=desk.queue, keys=Decryption([KEY])
    )
    wanted = Wanted(codes=["token.expired"])
    run = (await redrive.run(wanted, limit=1)).run
    others: tuple[dict[str, Any], ...]
    others = ({"subjects": ["ann"]}, {"before": 1.0}, {"after": 1.0}, {"codes": ["body.invalid"]})
    for each in others:
        with pytest.raises(ConfigurationError, match=f"has others of {next(iter(each))}"):
            await redrive.run(Wanted(**each), resume=run)
    await desk.scene.broker.settles_at(f"{desk.queue}.dead", 2)
    assert (await redrive.run(wanted, resume=run)).sent == 2


def test_progress_on_a_terminal_ends_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What became of the run is told on the next one, however it ended."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with suppress(ConnectionError), told_progress() as progress:
        progress(Redriven(run="r", sent=1))
        progress(Redriven(run="r", sent=2))
        raise ConnectionError
    told = capsys.readouterr()
    assert (told.out, told.err.endswith("\rsent 1, refused 0\rsent 2, refused 0\n")) == ("", True)


async def test_what_is_stopped_before_it_has_sent_sends_nothing(desk: Desk) -> None:
    """Ctrl-C while it waits for the queue, or reads it: nothing is in flight."""
    await desk.late(KEEPING, "ann", "bob")
    await desk.scene.clock.advance(1)
    bus, _ = desk.service(KEEPING)
    url, stop = desk.scene.broker.url, asyncio.Event()
    redrive = Redrive(url, guard=bus.guard, queue=desk.queue, keys=Decryption([KEY]))
    stop.set()
    done = await redrive.run(stop=stop)
    assert (done.sent, done.is_whole) == (0, False)
    await desk.scene.broker.settles_at(f"{desk.queue}.dead", 2)


async def test_a_limit_that_is_reached_is_told(desk: Desk) -> None:
    """How many others there are is not known then, and not said; how to go on is."""
    await desk.late(KEEPING, "ann", "bob", "cid")
    key = ("--key", str(desk.folder / "redrive.jwk"))
    result = await desk.run("letters redrive", *key, "--limit", "1")
    run = (await last_run(desk)).first.run
    said = f"Redriven to {desk.queue}: 1, as --limit says. There may be more. Run {run}.\n"
    assert (result.exit_code, result.stdout) == (0, said), result.output
    assert f"--resume {run} goes on" in result.stderr


async def test_a_look_waits_while_a_pass_holds_the_queue(desk: Desk) -> None:
    """It sees all that is left, and never a part; a paced redrive lets it in between its passes."""
    await desk.late(KEEPING, *["ann"] * 4)
    await desk.scene.clock.advance(1)
    dead, url = f"{desk.queue}.dead", desk.scene.broker.url
    bus, _ = desk.service(KEEPING)
    redrive = Redrive(url, guard=bus.guard, queue=desk.queue, keys=Decryption([KEY]))
    stop, sent = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(redrive.run(rate=0.01, stop=stop, progress=lambda _: sent.set()))
    await sent.wait()  # it rests for 100 s of a clock that nobody moves
    assert (await look(url, dead)).total == 3
    stop.set()
    assert (await running).sent == 1


async def test_a_look_while_more_is_written(desk: Desk) -> None:
    """Each look sees all that was there, in order, and keeps no bodies; nothing is lost by any."""
    await desk.late(KEEPING, *map(str, range(20)))
    dead, broker = f"{desk.queue}.dead", desk.scene.broker
    before = [letter.subject for letter in (await look(broker.url, dead)).letters]
    is_over, count = asyncio.Event(), 0

    async def write() -> None:
        nonlocal count
        while not is_over.is_set():
            await broker.publish(dead, b"more", headers={"busauth-at": "9999"})
            count += 1

    writing = asyncio.create_task(write())
    for _ in range(5):
        letters = (await look(broker.url, dead)).letters
        assert [letter.subject for letter in letters][:20] == before
        assert {(letter.body, letter.size) for letter in letters} <= {(b"", 2), (b"", 4)}
    is_over.set()
    await writing
    await broker.settles_at(dead, 20 + count)


async def test_what_is_parked_goes_by_its_callers_fresh_token(desk: Desk) -> None:
    """On record as any other run; what waits for somebody else stays, and is told."""
    await desk.late(Park(), "ann", "bob")
    token = desk.folder / "token"
    token.write_text(desk.scene.issuer.token("ann"))
    fresh = ("--parked", "--authority", "fresh", "--token-file", str(token), "--json")
    result = await desk.run("letters redrive", *fresh)
    assert (result.exit_code, json.loads(result.stdout)["sent"]) == (3, 1), result.output
    assert "1 that were asked for" in result.stderr
    assert await desk.handles(Park(), 1) == ["ann"]
    run = await last_run(desk)
    assert (run.first.authority, run.first.source) == ("fresh", f"{desk.queue}.parked")
    assert token.read_text() not in result.output + repr(run.steps)


async def test_a_copy_beside_a_letter_holds_nothing_up(desk: Desk) -> None:
    """Both have one id, and both go: the consumer says which is its own."""
    await desk.late(KEEPING, "ann")
    await desk.scene.clock.advance(1)
    url, dead, broker = desk.scene.broker.url, f"{desk.queue}.dead", desk.scene.broker
    letter = await broker.one(dead)
    for seal in (letter.headers["busauth-seal"], f"2.2026.{'A' * 43}"):
        headers = {**letter.headers, "busauth-seal": seal}
        message = aio_pika.Message(
            letter.body,
            headers=headers,
            message_id=letter.message_id,
            content_type=letter.content_type,
        )
        await broker.channel.default_exchange.publish(message, dead)
    bus, _ = desk.service(KEEPING)
    redrive = Redrive(url, guard=bus.guard, queue=desk.queue, keys=Decryption([KEY]))
    assert (await redrive.run()).sent == 2
    assert await desk.handles(Grace(hours=1), 1) == ["ann"]
    await broker.settles_at(dead, 1)  # the copy, whose seal does not hold
