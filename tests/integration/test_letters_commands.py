"""`busauth letters`: whose they are and why, told without taking or telling anything else."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from busauth import DeadLetter
from busauth.letters import look
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
