"""What waits beside a queue, and the desk of whoever works on it with commands."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from busauth.testing import Issuer, IssuerServer, ManualClock
from tests.desk import LATE, Desk
from tests.parties import Scene


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
