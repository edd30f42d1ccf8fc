"""What the log is told of a broker that is lost, stays away, and comes back."""

import logging
from typing import Any, cast

import pytest

from busauth._amqp.connecting.connections import Watch


class Link:
    """A connection that says why it is lost."""

    def told(self, error: BaseException | None) -> Exception:
        return ConnectionError("why")


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.watch = Watch("s", lambda: self.now)
        self.link = cast("Any", Link())

    def flap(self, times: int, attempts: int = 0) -> None:
        """Lose the broker so often, each time for some failed attempts."""
        for _ in range(times):
            for _ in range(1 + attempts):
                self.watch.lost(self.link, None)
            self.watch.back(self.link)
            self.now += 1


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "busauth")
    return caplog


@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_a_broker_that_never_stays_is_told_now_and_then(
    attempts: int, told: pytest.LogCaptureFixture
) -> None:
    """Lost and back a thousand times, it is told in gaps that double."""
    World().flap(1000, attempts)
    lost = [line for line in told.messages if "was lost" in line]
    assert lost[:3] == [
        "s: the broker was lost, and is tried again every second: why",
        "s: the broker was lost 2 times, and never stayed for 60 s: why",
        "s: the broker was lost 4 times, and never stayed for 60 s: why",
    ]
    assert len(lost) == 11
    assert len(told.messages) < 11 * (4 + attempts)
    assert told.messages[-1].endswith("is back")


def test_a_broker_that_stayed_is_told_anew(told: pytest.LogCaptureFixture) -> None:
    """Once it has stayed for a while, the next loss is the first one again."""
    world = World()
    world.flap(3)
    world.now += 60
    told.clear()
    world.flap(1)
    assert told.messages == [
        "s: the broker was lost, and is tried again every second: why",
        "s: the broker is back",
    ]


def test_an_outage_after_many_short_ones_is_told(told: pytest.LogCaptureFixture) -> None:
    """A loss that is not told itself is told when it lasts, and so is its end."""
    world = World()
    world.flap(6)
    told.clear()
    world.flap(1, attempts=9)
    assert told.messages == [
        "s: the broker is not back after 8 attempts: why",
        "s: the broker is back",
    ]
