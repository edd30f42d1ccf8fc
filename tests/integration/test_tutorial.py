"""The tutorial's code runs as it stands, and its tests pass."""

import re
from pathlib import Path
from typing import Any

import pytest

from busauth.testing import Broker, Kit, ManualClock

TEXT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TESTS = re.findall(r"^async def (test_\w+)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", TESTS)
async def test_a_step_of_the_tutorial(name: str) -> None:
    """What a step says is so, on a broker, an issuer and a clock of its own."""
    scope: dict[str, Any] = {"__name__": "tutorial"}
    exec(compile("\n".join(BLOCKS), "docs/tutorial.md", "exec"), scope)
    clock = ManualClock()
    async with Broker(clock=clock) as broker, Kit(broker, clock) as kit:
        await scope[name](kit)
