"""ARCHITECTURE.md shows the code's way of a delivery, and where its modules are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
PIPELINE = (ROOT / "busauth" / "_amqp" / "consuming" / "pipeline.py").read_text("utf-8")
STAGE = re.compile(r"`(read|_[a-z_]+)`")


def test_the_way_of_a_delivery_is_the_pipelines() -> None:
    """The stages are functions of the pipeline, in the order in which the code has them."""
    written = re.findall(r"^    (?:async )?def (read|_[a-z_]+)\(", PIPELINE, re.MULTILINE)
    shown = re.findall(r"[├└]─ (\w+)", PAGE.split("```text\n")[1].split("```")[0])
    assert shown == [name for name in written if name in shown]
    told = STAGE.findall(PIPELINE.split("import asyncio")[0])
    stages = [name for name in dict.fromkeys(told) if name != "_handle"]
    assert stages == [name for name in shown if name not in ("_decided", "_handle")]


@pytest.mark.parametrize("room", ["_amqp", "settings"])
def test_every_module_is_in_the_map(room: str) -> None:
    """Who looks for a thing that knows AMQP, or that operators write, finds its module by name."""
    rooms = PAGE.split("## The rooms")[1].split("```text")[1].split("```")[0]
    named = set(re.findall(r"\w+", rooms))
    modules = {path.stem for path in (ROOT / "busauth" / room).rglob("*.py")} - {"__init__"}
    assert modules - named == set()
