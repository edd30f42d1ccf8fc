"""`busauth release` and `busauth letters redrive`."""

import json

import aio_pika
import pytest

from busauth import DeadLetter, Grace, Park
from busauth.letters import Letters, dead_letters
from busauth.tokens import TokenEncryption
from tests.desk import KEY, LATE, Desk


async def test_a_caller_releases_what_waits_for_them(desk: Desk) -> None:
    """The token comes from standard input; only its caller's messages go, and it is said."""
    await desk.late(Park(), "ann", "bob", "ann")
    token = desk.scene.issuer.token("ann")
    result = await desk.run("release", stdin=f"{token}\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Released to {desk.queue}: 2. Others stay: 1.\n"
    assert token not in result.output
    assert not (desk.folder / "idp.keys").exists()  # the service's own
    assert await desk.handles(Park(), 2) == ["ann", "ann"]
    await desk.scene.broker.settles_at(f"{desk.queue}.parked", 1)


async def test_a_token_may_come_from_a_file(desk: Desk) -> None:
    """A release is done once: the second one finds nothing."""
    await desk.late(Park(), "ann")
    file = desk.folder / "token"
    file.write_text(desk.scene.issuer.token("ann"))
    for sent in (1, 0):
        result = await desk.run("release", "--token-file", str(file), "--route", "shop:orders.#")
        assert result.stdout == f"Released to {desk.queue}: {sent}. Others stay: 0.\n"


async def test_a_message_that_was_tampered_with_is_told(desk: Desk) -> None:
    """It stays, and the command ends with another code."""
    await desk.late(Park(), "ann")
    parked = await desk.scene.broker.one(f"{desk.queue}.parked")
    forged = aio_pika.Message(
        b"pay mallory", headers=dict(parked.headers), message_id=parked.message_id
    )
    await desk.scene.broker.channel.default_exchange.publish(forged, f"{desk.queue}.parked")
    await desk.scene.broker.settles_at(f"{desk.queue}.parked", 1)
    result = await desk.run("release", stdin=desk.scene.issuer.token("ann"))
    assert result.exit_code == 3
    assert f"Refused, and stays: {parked.message_id} (proof.body)" in result.stdout


async def test_dead_letters_go_again(desk: Desk) -> None:
    """Those that were asked for, with the tokens that they kept; what is not there is told."""
    keeping = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))
    await desk.late(keeping, "ann", "bob", "cid")
    key = ("--key", str(desk.folder / "redrive.jwk"))
    letters = await dead_letters(desk.scene.broker.url, f"{desk.queue}.dead")
    (bobs,) = [str(letter.message_id) for letter in letters if letter.subject == "bob"]
    for chosen in (("--subject", "ann"), ("--message-id", bobs, "--code", "token.expired")):
        result = await desk.run("letters redrive", *key, *chosen)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"Redriven to {desk.queue}: 1. Others stay: ")
    for chosen, why in (
        (("--code", "handler.failed"), "no letter has it; there is token.expired"),
        (("--code", "token.expire"), "did you mean token.expired?"),
        (("--message-id", bobs), f"--message-id {bobs}: no letter has it"),
        (("--subject", "cyd", "--code", "token.expired"), "did you mean cid?"),
    ):
        result = await desk.run("letters redrive", *key, *chosen, "--no-record")
        assert result.stdout.startswith(f"Redriven to {desk.queue}: 0. Others stay: 1. Run ")
        assert (result.exit_code, why in result.stderr) == (3, True), result.output
        assert "nothing of this is recorded" in result.stderr
    assert await desk.handles(Grace(hours=1), 2) == ["ann", "bob"]
    await desk.scene.broker.settles_at(f"{desk.queue}.dead", 1)
    result = await desk.run("letters redrive", *key, "--rejected")
    assert result.stdout.startswith(f"Redriven to {desk.queue}: 0. Others stay: 0.")
    runs = json.loads((await desk.run("letters history", "--json", stdin="")).stdout)["runs"]
    assert [(run["sent"], run["is_over"], run["authority"]) for run in runs] == [
        (1, True, "kept"), (1, True, "kept"), (0, True, "kept"),
    ]  # fmt: skip


async def test_letters_that_their_consumer_opens_go_again(desk: Desk) -> None:
    """The command needs no key of theirs, and says for the story who sends them."""
    desk.letters = Letters(keep_token=KEY)
    await desk.late(DeadLetter(), "ann")
    result = await desk.run("letters redrive", "--by", "ops", "--subject", "ann")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Redriven to {desk.queue}: 1. Others stay: 0.")
    assert await desk.handles(Grace(hours=1), 1) == ["ann"]


async def test_a_letter_that_kept_no_token_is_told(desk: Desk) -> None:
    """Asked for by its subject, it stays, and the command does not end as if all were done."""
    await desk.late(DeadLetter(), "ann")
    result = await desk.run("letters redrive", "--subject", "ann")
    assert (result.exit_code, "1 that were asked for kept no token" in result.stderr) == (3, True)


@pytest.mark.parametrize(
    ("command", "given", "stdin", "why"),
    [
        ("release", [], "", "no token: expected the caller's fresh one"),
        ("release", [], "no.to.ken", "token.encoding"),
        ("release", [], "é", "token.characters"),
        ("release", ["--token-file", "bytes"], "", "bytes holds no token: expected text"),
        ("release", ["--token-file", "absent"], "", "absent cannot be read: No such file"),
        ("release", ["--route", "orders"], "x", "--route orders: expected EXCHANGE:KEY"),
        ("release", ["--settings", "absent.toml"], "x", "absent.toml: cannot be read"),
        ("release", ["--url", "amqp://127.0.0.1:1/"], "TOKEN", "the broker cannot be reached"),
        ("release", [], "TOKEN", ".parked' is not there"),
        ("letters redrive", ["--key", "absent.jwk"], "", "absent.jwk: cannot be read"),
        (
            "letters redrive",
            ["--key", "absent"],
            "",
            "--key: expected the path of a file that holds the",
        ),
        ("letters redrive", ["--key", "web.jwk"], "", "web.jwk"),
        ("letters redrive", ["--key", "redrive.jwk"], "", ".dead' is not there"),
        ("letters redrive", ["--authority", "operator"], "", "expected --operator-token FILE and"),
        ("letters redrive", ["--resume", "x"], "", "run 'x' is not there: expected one of: none"),
        ("letters redrive", ["--dead", "--parked"], "", "each is a run of its own"),
    ],
)
async def test_what_is_wrong_is_told(
    command: str,
    given: list[str],
    stdin: str,
    why: str,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sentence each, and no traceback."""
    monkeypatch.chdir(desk.folder)
    await desk.scene.clock.advance(LATE)
    if stdin == "TOKEN":
        stdin = desk.scene.issuer.token("ann")
    result = await desk.run(command, *given, stdin=stdin)
    assert result.exit_code == 1
    assert result.stderr.startswith("busauth: ")
    assert why in result.stderr
    assert stdin not in result.output or len(stdin) < 20
