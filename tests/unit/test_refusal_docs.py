"""docs/refusals.md has every code that busauth refuses with, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from busauth import BusOptions, Deferred, Forbidden, RetryOptions
from busauth.testing import Broker, Kit, ManualClock

ROOT = Path(__file__).parents[2]
TREES = {path: ast.parse(path.read_text("utf-8")) for path in (ROOT / "busauth").rglob("*.py")}
ROW = re.compile(r"^\| ((?:`[a-z_]+\.[a-z_0-9]+`(?:, )?)+) \|", re.MULTILINE)
EVENTS = ROOT / "docs" / "revocation.md"
"""Where the codes of security events stand: no message is refused with them."""


def verdicts() -> set[str]:
    """Return the names of the classes that take a code: refusals, and what holds codes for them."""
    found = {"Refused", "Codes"}
    classes = [each for tree in TREES.values() for each in ast.walk(tree)]
    while True:
        more = {
            each.name
            for each in classes
            if isinstance(each, ast.ClassDef) and found & {ast.unparse(base) for base in each.bases}
        }
        if more <= found:
            return found
        found |= more


def calls() -> Iterator[tuple[str, ast.expr]]:
    """Yield where a verdict is made, and what is given as its code, or as one of several."""
    names = verdicts()
    for path, tree in TREES.items():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and _name(call.func) in names:
                several = _name(call.func) == "Codes"
                given = [*call.args, *(each.value for each in call.keywords)]
                for code in given if several else call.args[:1]:
                    yield f"{path.relative_to(ROOT)}:{call.lineno}", code


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def codes() -> set[str]:
    """Return every code in the package: what verdicts are made with, and texts of the same kinds.

    Codes are passed on as variables, too; wherever they come from, they are written out.
    """
    made = {each.value for _, each in calls() if isinstance(each, ast.Constant)}
    kinds = "|".join({str(code).split(".")[0] for code in made})
    shaped = re.compile(rf"(?:{kinds})\.[a-z_0-9]+")
    # the embedded broker's frames are named alike: exchange.declare
    trees = (tree for path, tree in TREES.items() if "broker" not in path.parts)
    texts = (each for tree in trees for each in ast.walk(tree))
    return {
        each.value
        for each in texts
        if isinstance(each, ast.Constant)
        and isinstance(each.value, str)
        and shaped.fullmatch(each.value)
    }


def told(page: Path) -> list[str]:
    """Return the codes that have a row in a page's tables."""
    rows = ROW.findall(page.read_text("utf-8"))
    return [code for row in rows for code in re.findall(r"`(.+?)`", row)]


def test_every_code_is_documented() -> None:
    """Each code has its one row, and each row is of a code that there is."""
    known = codes()
    assert {"caller.scope", "body.invalid", "seal.mac", "handler.deadline"} <= known
    events = {code for code in known if code.startswith("event.")}
    refusals = told(ROOT / "docs" / "refusals.md")
    assert len(set(refusals)) == len(refusals)
    assert set(refusals) ^ (known - events) == set()
    assert {code for code in told(EVENTS) if code.startswith("event.")} ^ events == set()


def test_every_code_is_written_out() -> None:
    """No code is put together: whoever meets one finds it by searching for it."""
    joined = [where for where, code in calls() if isinstance(code, ast.JoinedStr | ast.BinOp)]
    assert joined == []


@pytest.mark.parametrize(
    "error", [Deferred("away"), ConnectionError("away"), Forbidden("caller.scope", found="none")]
)
async def test_a_handler_fails_whatever_it_raises(error: Exception) -> None:
    """What lets a message wait, or refuses it, where it is judged, is a failure in its handler."""
    clock = ManualClock()
    async with Broker(clock=clock) as broker, Kit(broker, clock) as kit:
        bus = kit.bus(options=BusOptions(retry=RetryOptions(limit=0)))

        @bus.consumer("orders")
        async def handle() -> None:
            raise error

        async with bus:
            sent = await kit.publish("orders", b"")
            await bus.idle()
        kit.assert_refused(sent, "handler.failed")
