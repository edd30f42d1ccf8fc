"""Fixtures of the attacks."""

import pytest

from busauth.testing import Issuer, ManualClock
from tests.parties import Scene
from tests.support import Broker, Trail


@pytest.fixture
def issuer(clock: ManualClock) -> Issuer:
    return Issuer(clock=clock)


@pytest.fixture
def scene(broker: Broker, issuer: Issuer, clock: ManualClock, trail: Trail) -> Scene:
    return Scene(broker, issuer, clock, trail)
