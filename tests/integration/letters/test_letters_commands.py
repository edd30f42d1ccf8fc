"""`busauth letters`: whose they are and why, told without taking or telling anything else."""

import asyncio
import json
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from typer.testing import CliRunner, Result

from busauth import DeadLetter
from busauth._amqp.connecting.connect import connected
from busauth._amqp.connecting.sieve.tolerant import TolerantConnection
from busauth._amqp.resending import again
from busauth._amqp.resending import look as looking
from busauth._amqp.resending.letters import Waiting, taken
from busauth._amqp.resending.removal import Person, removed
from busauth._amqp.resending.runs import runs_of
from busauth.cli import app
from busauth.cli.letters import removing
from busauth.cli.letters.choosing import broker_of
from busauth.errors import Deferred
from busauth.letters import Letter, history, look
from busauth.testing import Issuer
from busauth.tokens import TokenEncryption
from tests.desk import KEY, Desk

RUNNER = CliRunner(env={"BUSAUTH_AMQP_URL": None})
JWT = Issuer().token("ops")
KEEPING = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))


async def test_letters_are_listed_grouped_and_shown(desk: Desk) -> None:
    """For people and for programs; what was not asked for is not, and all of it stays in order."""
    await desk.late(KEEPING, "ann", "bob", "ann")
    dead = f"{desk.queue}.dead"
    before = [letter.id for letter in (await look(desk.scene.broker.url, dead)).letters]
    listed = await desk.run("letters list", "--json", "--subject", "ann", "--code", "token.expired")
    assert listed.exit_code == 0, listed.output
    told = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [each["subject"] for each in told] == ["ann", "ann"]
    assert (told[0]["source"], told[0]["publisher"], told[0]["kept"]) == (dead, "web", True)
    grouped = await desk.run("letters groups", "--dead", "--json")
    (group,) = json.loads(grouped.stdout)["groups"]
    assert (group["code"], group["count"], group["callers"]) == ("token.expired", 3, 2)
    shown = await desk.run("letters show", told[0]["id"][:12])
    assert shown.exit_code == 0, shown.output
    assert "busauth-token: kept, opens only for its consumer" in shown.stdout
    assert shown.stdout.endswith("\nbody\n  {}\n")
    assert "kept         yes\n" in shown.stdout
    document = json.loads((await desk.run("letters show", told[0]["id"], "--json")).stdout)
    assert (document["body"], document["story"][0]["code"]) == ({"json": {}}, "token.expired")
    missed = await desk.run("letters list", "--subject", "cyd", "--older-than", "1h")
    assert (missed.exit_code, missed.stdout) == (3, "")
    assert "--subject cyd: no letter has it; there are ann, bob" in missed.stderr
    table = await desk.run("letters list", "--limit", "2")
    assert (len(table.stdout.splitlines()), "2 of 3 are shown" in table.stderr) == (3, True)
    assert [letter.id for letter in (await look(desk.scene.broker.url, dead)).letters] == before
    everything = "".join(each.output for each in (listed, grouped, shown, missed, table))
    letters = (await look(desk.scene.broker.url, dead)).letters
    assert not [each for each in letters if str(each.headers["busauth-token"]) in everything]


@pytest.mark.parametrize(
    ("command", "given", "why"),
    [
        ("letters list", ["--older-than", "soon"], "--older-than soon: expected a number"),
        ("letters list", ["--before", "soon"], "--before soon: expected an instant in ISO 8601"),
        ("letters discard", ["--all", "--yes", "--by", "a.b\n"], "expected a short printable word"),
        (
            "letters discard",
            ["--all", "--by", JWT],
            "--by [token]: expected a short printable word",
        ),
        ("letters discard", ["--text", "", "--yes"], "texts (--text): got a blank one"),
        ("letters list", [], "no queue of letters is beside"),
        ("letters list", ["--dead"], ".dead' is not there"),
        ("letters history", ["--run", "x"], "--run x: no such run; nothing is recorded"),
    ],
)
async def test_what_is_wrong_is_told(command: str, given: list[str], why: str, desk: Desk) -> None:
    """A sentence each, and no traceback."""
    result = await desk.run(command, *given)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("busauth: ")
    assert why in result.stderr


def test_variables_name_the_broker_of_all_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at is where a redrive would send, without a file as well."""
    monkeypatch.delenv("BUSAUTH_SETTINGS", raising=False)
    assert broker_of(None, None) == "amqp://localhost/"
    monkeypatch.setenv("BUSAUTH_BUS__URL", "amqp://shop.example/")
    assert str(broker_of(None, None)) == "amqp://shop.example/"
    assert broker_of(None, "amqp://other.example/") == "amqp://other.example/"


async def test_a_letter_that_is_there_twice_is_shown(desk: Desk) -> None:
    """A redrive that was killed may leave both: they have one id, and either can be looked at."""
    await desk.late(KEEPING, "ann")
    dead, broker = f"{desk.queue}.dead", desk.scene.broker
    (letter,) = (await look(broker.url, dead)).letters
    await broker.publish(dead, b"twice", headers={"busauth-letter": letter.id})
    shown = await desk.run("letters show", letter.id, "--json")
    assert (shown.exit_code, "2 letters have this id" in shown.stderr) == (0, True), shown.output
    assert json.loads(shown.stdout)["id"] == letter.id


async def test_a_body_is_shown_as_it_was_sent(desk: Desk) -> None:
    """JSON as JSON, in any alphabet, and nothing that a terminal would act upon."""
    dead = f"{desk.queue}.dead"
    bus, _ = desk.service(KEEPING)
    await bus.declare()
    body = '{"item": "Kännchen", "gift": true, "note": null}'
    message = aio_pika.Message(body.encode(), message_id="m1")
    await desk.scene.broker.channel.default_exchange.publish(message, dead)
    shown = await desk.run("letters show", "m1")
    assert (shown.exit_code, shown.stdout.splitlines()[-1]) == (0, f"  {body}"), shown.output


async def test_letters_are_discarded_by_what_they_are(desk: Desk) -> None:
    """Never all of them by accident; which ones is recorded, and the others keep their order."""
    await desk.late(KEEPING, "ann", "bob", "ann", "cid")
    nothing = await desk.run("letters discard")
    assert (nothing.exit_code, "which letters?" in nothing.stderr) == (1, True)
    done = await desk.run("letters discard", "--subject", "ann", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["discarded"][f"{desk.queue}.dead"] == 2
    left = (await look(desk.scene.broker.url, f"{desk.queue}.dead")).letters
    assert [letter.subject for letter in left] == ["bob", "cid"]
    (run,) = json.loads((await desk.run("letters history", "--json")).stdout)["runs"]
    assert (run["what"], run["counts"], run["is_over"]) == ("discarded", {"letters": 2}, True)


async def test_what_does_not_say_when_is_discarded_too(desk: Desk) -> None:
    """The broker's own letters say nothing; a value that no letter has is told, and ends with 3."""
    bus, _ = desk.service(KEEPING)
    await bus.declare()
    await desk.scene.broker.publish(f"{desk.queue}.dead", b"by the broker")
    given = ("--message-id", "odd", "--yes")
    missed = await desk.run("letters discard", *given)
    assert (missed.exit_code, "no letter has it" in missed.stderr) == (3, True)
    done = await desk.run("letters discard", "--all", "--yes")
    assert (done.exit_code, "Discarded: 1." in done.stdout) == (0, True), done.output
    await desk.scene.broker.settles_at(f"{desk.queue}.dead", 0)


@pytest.mark.parametrize("command", ["erase", "export"])
async def test_a_persons_queues_are_there(command: str, desk: Desk) -> None:
    """A misspelt one is none of theirs, and nothing is told of it that could be believed."""
    words = (*([str(desk.folder / "out")] if command == "export" else ()), "misspelt")
    for given, why in (
        (("--subject", "ann"), "no queue of letters"),
        (("--subject", " "), "blank"),
    ):
        result = await asyncio.to_thread(
            RUNNER.invoke,
            app,
            ["letters", command, *words, *given, "--settings", desk.settings],
        )
        assert (result.exit_code, result.stdout, why in result.stderr) == (1, "", True)
    assert not (desk.folder / "out").exists()


async def erased(desk: Desk, *more: str) -> Result:
    words = ["letters", "erase", desk.queue, *more, "--subject", "ann", "--yes"]
    words += ["--settings", desk.settings]
    return await asyncio.to_thread(RUNNER.invoke, app, words)


async def test_a_receipt_tells_what_went_until_it_was_cut_off(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has gone is gone, whatever happens then: the receipt has it, and so has the history."""
    await desk.late(KEEPING, "ann", "bob", "ann")

    async def cut_off(url: str, source: str, *given: Any, **more: Any) -> bool:
        if source.endswith(".rejected"):
            raise Deferred("somebody else has it")
        return await removed(url, source, *given, **more)

    monkeypatch.setattr(removing, "removed", cut_off)
    result = await erased(desk, desk.queue)
    assert (result.exit_code, "somebody else has it" in result.stderr) == (1, True)
    receipt = json.loads(result.stdout)
    assert (receipt["letters"], receipt["is_whole"]) == (2, False)
    assert receipt["queues"] == {f"{desk.queue}.dead": 2, f"{desk.queue}.rejected": 0}
    (run,) = runs_of(await history(desk.scene.broker.url, desk.queue)).values()
    assert (run.what, run.is_over, run.counts["letters"]) == ("erasing", False, 2)
    monkeypatch.undo()
    again = json.loads((await erased(desk, desk.queue)).stdout)  # named twice: counted once
    assert (again["letters"], again["is_whole"]) == (0, True)


async def test_a_part_is_not_told_as_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes to look at the same instant has a part: a look waits for it, an erasure says so."""
    await desk.late(KEEPING, "ann")
    url, dead = desk.scene.broker.url, f"{desk.queue}.dead"
    closing: list[asyncio.Task[None]] = []

    async def shared(connection: TolerantConnection, queue: str) -> Waiting:
        if not closing:
            other = await connected(url)
            async for _ in await taken(other, queue):
                pass
            closing.append(asyncio.create_task(close_soon(other)))
        return await taken(connection, queue)

    async def close_soon(other: AbstractConnection) -> None:
        await asyncio.sleep(0.5)
        await other.close()

    for module in (again, looking):
        monkeypatch.setattr(module, "taken", shared)
    assert (await look(url, dead)).total == 1
    await closing.pop()
    went: list[Letter] = []
    assert not await removed(url, dead, Person("ann"), gone=went.extend)
    assert went == []
    await closing[0]
    assert await removed(url, dead, Person("ann"), gone=went.extend)
    assert [letter.subject for letter in went] == ["ann"]


async def test_a_persons_letters_are_exported_and_erased(desk: Desk) -> None:
    """With a receipt that names nobody; what others have stays, and no file is overwritten."""
    await desk.late(KEEPING, "ann", "bob", "ann")
    url, dead = desk.scene.broker.url, f"{desk.queue}.dead"
    peeked = aio_pika.Message(
        b"by the broker", headers={"authorization": f"Bearer {desk.scene.issuer.token('ann')}"}
    )
    await desk.scene.broker.channel.default_exchange.publish(peeked, dead)
    kept = [str(each.headers.get("busauth-token")) for each in (await look(url, dead)).letters]
    file = desk.folder / "ann.jsonl"
    given = ("--subject", "ann", "--settings", desk.settings)
    for code, said in ((0, "Exported: 3."), (1, "none is overwritten")):
        words = ["letters", "export", str(file), desk.queue, *given]
        result = await asyncio.to_thread(RUNNER.invoke, app, words)
        assert (result.exit_code, said in result.output) == (code, True), result.output
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert (file.stat().st_mode & 0o777, len(lines)) == (0o600, 3)
    assert not [token for token in kept if token in file.read_text()]
    assert "eyJ" not in file.read_text()
    words = ["letters", "erase", desk.queue, *given, "--by", "privacy@desk", "--yes", "--json"]
    result = await asyncio.to_thread(RUNNER.invoke, app, words)
    receipt = json.loads(result.stdout)
    assert (receipt["letters"], receipt["queues"][dead], receipt["is_whole"]) == (3, 3, True)
    assert receipt["by"] == "privacy@desk"
    assert '"ann"' not in result.stdout
    assert [letter.subject for letter in (await look(url, dead)).letters] == ["bob"]
    runs = runs_of(await history(url, desk.queue))
    assert [run.what for run in runs.values()] == ["exported", "erased"]
    assert "'ann'" not in repr([run.steps for run in runs.values()])
    erased = runs[receipt["run"]].first.filters["person_sha256"]
    assert erased == receipt["person_sha256"]
