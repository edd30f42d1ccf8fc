"""Fixtures for every test. Those that name a broker run on the embedded one and on RabbitMQ."""

import os
import time
from collections.abc import AsyncIterator

import pytest

from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer, ManualClock
from tests.parties import Scene
from tests.scanning import Listening
from tests.support import Broker, Trail, amqp_url, connected

_COMMANDS = {"test_dev_command.py", "test_run_command.py"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rabbitmq: needs a RabbitMQ; set by the fixtures")
    config.addinivalue_line("markers", "alone: shares no RabbitMQ with other tests at that time")
    config.addinivalue_line("markers", "processes: starts programs, and waits for them")
    config.addinivalue_line("markers", "attack(name): carries out an attack of the security model")
    config.addinivalue_line("markers", "prints_tokens(why): has to have a token said in the clear")
    config.pluginmanager.register(Listening(), "tests.scanning")
    config.addinivalue_line("markers", "commands: of busauth dev and run, without a RabbitMQ")
    config.addinivalue_line("markers", "reference: so much that one RabbitMQ, today's, has to do")
    config.addinivalue_line("markers", "thorough: as others, many times more; not in .ci/run")
    config.addinivalue_line("markers", "long: much input, or some seconds of real time")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on a RabbitMQ, so that the rest can run without one."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        callspec = getattr(item, "callspec", None)
        chosen = callspec.params.values() if callspec is not None else ()
        if "rabbitmq_url" in fixtures or any(each == "rabbitmq" for each in chosen):
            item.add_marker("rabbitmq")
        if "busauth_kit" in fixtures:  # its queues have a user's names
            item.add_marker("alone")
        if "redis" in fixtures or any(each == "redis" for each in chosen):
            item.add_marker("processes")
        if item.path.name in _COMMANDS and item.get_closest_marker("rabbitmq") is None:
            item.add_marker("commands")


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    return amqp_url()


@pytest.fixture(params=["embedded", "rabbitmq"])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A broker's address; a module where RabbitMQ is the point asks for `rabbitmq` alone."""
    if request.param == "rabbitmq":
        yield amqp_url()
        return
    async with EmbeddedBroker() as broker:
        yield broker.url


@pytest.fixture(params=["embedded", "rabbitmq"])
async def stamping_url(request: pytest.FixtureRequest, now: ManualClock) -> AsyncIterator[str]:
    """A broker that writes on each message when it came.

    A RabbitMQ does so from 3.12 on, where its operator says so; no other is one, and then the test
    is not run there. Its time cannot be moved: a test moves its own.
    """
    if request.param == "rabbitmq":
        url = os.environ.get("BUSAUTH_STAMPING_AMQP_URL")
        if not url:
            pytest.skip(
                "not run: set BUSAUTH_STAMPING_AMQP_URL to a RabbitMQ 3.12 or later with "
                "message_interceptors.incoming.set_header_timestamp.overwrite = true"
            )
        yield url
        return
    async with EmbeddedBroker(clock=now, stamps=True) as broker:
        yield broker.url


@pytest.fixture
def now() -> ManualClock:
    """A clock that shows the machine's time until it is moved."""
    return ManualClock(time.time())


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


@pytest.fixture
def issuer_in_time(clock: ManualClock) -> Issuer:
    """An issuer that goes by the test's clock."""
    return Issuer(clock=clock)


@pytest.fixture
def scene(broker: Broker, issuer_in_time: Issuer, clock: ManualClock, trail: Trail) -> Scene:
    return Scene(broker, issuer_in_time, clock, trail)
