"""`busauth letters`: whose they are and why, told without taking or telling anything else."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest
from typer.testing import CliRunner

from busauth import DeadLetter
from busauth._amqp.resending.runs import runs_of
from busauth.cli import app
from busauth.letters import history, look
from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.tokens import TokenEncryption
from tests.desk import KEY, LATE, Desk
from tests.parties import Scene

KEEPING = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that shows what the machine shows once `LATE` seconds have passed."""
    return ManualClock(time.time() - LATE)


@pytest.fixture
def issuer_in_time(clock: ManualClock) -> Iterator[Issuer]:
    """An issuer whose keys the command fetches."""
    with IssuerServer(Issuer(clock=clock)) as server:
        yield server.issuer


@pytest.fixture
def desk(scene: Scene, tmp_path: Path) -> Desk:
    desk = Desk(scene, tmp_path, scene.broker.name("orders"))
    desk.write()
    return desk


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
        result = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert (result.exit_code, said in result.output) == (code, True), result.output
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert (file.stat().st_mode & 0o777, len(lines)) == (0o600, 3)
    assert not [token for token in kept if token in file.read_text()]
    assert "eyJ" not in file.read_text()
    words = ["letters", "erase", desk.queue, *given, "--by", "privacy@desk", "--yes", "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, app, words)
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
