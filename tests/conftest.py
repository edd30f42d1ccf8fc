"""Fixtures for every test; those that name the broker need a real one."""

from collections.abc import AsyncIterator

import pytest

from busauth.testing import Issuer, ManualClock
pytest_plugins = ["pytester"]

from tests.support import Broker, Trail, amqp_url, connected


@pytest.fixture(scope="session")
def url() -> str:
    return amqp_url()


@pytest.fixture
async def broker(url: str) -> AsyncIterator[Broker]:
    async with connected(url) as broker:
        yield broker


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture(scope="session")
def session_issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def issuer(session_issuer: Issuer) -> Issuer:
    """One issuer with one key for all tests that change nothing about it."""
    return session_issuer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
