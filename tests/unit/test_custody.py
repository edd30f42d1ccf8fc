"""The table of who holds a message leaves out no place where something is awaited."""

import ast
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

from busauth._amqp.consuming import consumer, pipeline, settling
from busauth._amqp.settling import disposal, settlement

_PASSING = {
    "__call__", "received", "take", "_receive", "_seen", "_settled", "settle", "_settle_unhandled",
    "_returned", "_surely", "_failed", "_retried", "_park", "idle", "close", "ready", "_unblocked",
    "_handle", "_put_off", "_publish_waiting", "_publish_letter", "put_back",
    "_put_away", "_elsewhere", "judged", "dead_letter", "park", "retry", "postpone", "_proven",
    "_for_whom",
}  # fmt: skip
"""Functions that await others of these modules alone, or no message's affairs."""


def awaiting(module: ModuleType) -> Iterator[str]:
    """Return the functions of a module in which something is awaited."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.AsyncFunctionDef) and any(
            isinstance(inner, ast.Await) for inner in ast.walk(node)
        ):
            yield node.name


def test_every_await_is_in_the_table() -> None:
    """Who adds an await says who holds the message there; who removes one, too."""
    modules = (pipeline, consumer, settling, disposal, settlement)
    found = {name for each in modules for name in awaiting(each)}
    rows = (consumer.__doc__ or "").split("======\n")[2]
    named = r"\b(?:_[a-z_]+|outcome|put_off|refuse|give_back|end_and_give_back)\b"
    told = {name for line in rows.splitlines() for name in re.findall(named, line[25:50])}
    assert found - _PASSING == told
