"""The README shows what a kit prints."""

import re
from pathlib import Path
from typing import Any

import pytest

from busauth.testing import Broker, Kit, ManualClock

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def shortened(text: str) -> str:
    """Return a story without what differs each time: a message's id, and a consumer's tag."""
    return re.sub(r"\b(?:[0-9a-f]{32}|[0-9a-f]{4}…)", "…", text).strip()


async def test_a_story_is_told_as_it_is_printed() -> None:
    """The README's bus and test, with an assertion that fails."""
    names: dict[str, Any] = {"__name__": "readme"}
    service, (test,) = blocks("python")[0], [each for each in blocks("python") if "Kit" in each]
    exec(service, names)  # the document's own code
    exec(test.replace('assert_refused(sent, "token.expired")', "assert_handled(sent)"), names)
    (shown,) = [each for each in blocks("text") if "AssertionError" in each]
    clock = ManualClock()
    async with Broker(clock=clock) as broker, Kit(broker, clock) as kit:
        with pytest.raises(AssertionError) as caught:
            await names["test_an_order_that_expires_in_the_queue"](kit)
    assert shortened(f"AssertionError: {caught.value}") == shortened(shown)
