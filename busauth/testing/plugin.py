"""The pytest plugin: fixtures for tests of guarded consumers. Installing busauth is enough.

Works with pytest-asyncio (whose loop scope for fixtures applies) and with anyio's plugin. A test on
another loop than its fixtures fails at once, and says both loops and what to set.

- `busauth_kit`: all of it, a `Kit`; most tests take this one alone.
- `busauth_bus`: a `Bus` on it, for handlers that the test defines.
- `busauth_broker`, `busauth_issuer`, `busauth_clock`: what it is made of; override one in a
  `conftest.py` to have all of them use yours.
- `busauth_amqp_url`: where a RabbitMQ is, of the session.

``--busauth-broker=embedded|rabbitmq|both`` runs the same tests on either. A RabbitMQ's own time
cannot be moved: tests that wait for one of its TTLs, retries among them, say so with
``@pytest.mark.busauth_embedded`` and are reported as not run there. Under pytest-xdist each worker
has a virtual host of its own.
"""

import inspect
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any
from unittest import TestCase

import pytest

from busauth._amqp.bus import Bus
from busauth.testing.broker import Broker
from busauth.testing.clock import ManualClock
from busauth.testing.issuer import Issuer
from busauth.testing.kit import AnyBroker, Kit, RabbitMQ
from busauth.testing.loops import LINES, ForeignLoopError
from busauth.testing.published import telling_forgotten
from busauth.testing.vhosts import own_virtual_host

async_fixture: Callable[..., Any]
try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:  # anyio's plugin takes plain ones
    async_fixture = pytest.fixture

_CHOICES = {"embedded": ["embedded"], "rabbitmq": ["rabbitmq"], "both": ["embedded", "rabbitmq"]}
_VARIABLE = "BUSAUTH_AMQP_URL"
_MANAGEMENT = "BUSAUTH_MANAGEMENT_URL"
_RABBITMQCTL = "BUSAUTH_RABBITMQCTL"
_UNNAMED = (
    "a test has busauth's fixtures by getfixturevalue(...) alone, so that no broker was chosen for "
    "it: name one of them among its arguments, or in @pytest.mark.usefixtures(...)"
)
_ON_A_LOOP = frozenset({"busauth_kit", "busauth_bus", "busauth_broker"})
"""Fixtures that somebody has to run an event loop for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer a choice of brokers."""
    group = parser.getgroup("busauth")
    group.addoption(
        "--busauth-broker",
        choices=tuple(_CHOICES),
        default="embedded",
        help="what tests with busauth's fixtures run on (default: embedded)",
    )
    group.addoption(
        "--busauth-amqp-url",
        default=os.environ.get(_VARIABLE),
        help=f"the RabbitMQ for --busauth-broker=rabbitmq (default: ${_VARIABLE})",
    )
    group.addoption(
        "--busauth-vhost",
        choices=("auto", "own", "shared"),
        default="auto",
        help="the virtual host there: one that is made for the tests of this process, or that of "
        "the address (default: one for each worker of pytest-xdist)",
    )
    group.addoption(
        "--busauth-management-url",
        default=os.environ.get(_MANAGEMENT),
        help=f"who makes it: the management API (default: ${_MANAGEMENT}, or its usual port)",
    )
    group.addoption(
        "--busauth-rabbitmqctl",
        default=os.environ.get(_RABBITMQCTL),
        help=f"or a command that administers that RabbitMQ (default: ${_RABBITMQCTL})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line(
        "markers", "busauth_embedded: moves the broker's own time, so RabbitMQ cannot run it"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each broker that was chosen."""
    if "busauth_broker" in metafunc.fixturenames:
        moves_time = any(metafunc.definition.iter_markers("busauth_embedded"))
        chosen = _CHOICES[metafunc.config.getoption("--busauth-broker")]
        params = [_param(name, moves_time=moves_time) for name in chosen]
        metafunc.parametrize("busauth_broker", params, indirect=True)


def _param(name: str, *, moves_time: bool) -> Any:
    skip = pytest.mark.skip(reason="not run: the time of a RabbitMQ cannot be moved")
    return pytest.param(name, marks=[skip] if moves_time and name == "rabbitmq" else [])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Say which loops a test and its fixtures were given, where they differ."""
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, ForeignLoopError) and item.config.pluginmanager.hasplugin("asyncio"):
        error.advice = _anyio(item) or _scopes(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say which mark a test lacks that nothing would run, or whose fixtures nothing would."""
    names = getattr(item, "fixturenames", ())
    used = next((name for name in names if name in _ON_A_LOOP), None)
    if used is not None and (missing := _missing(item)):
        pytest.fail(f"{item.name} uses {used}, {missing}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test in which something was published and never awaited; say so of a failed one."""
    if _ON_A_LOOP.isdisjoint(getattr(item, "fixturenames", ())):
        return (yield)
    forgotten: list[str] = []
    with telling_forgotten(forgotten.append):
        try:
            result = yield
        except BaseException as error:
            for sentence in forgotten:
                error.add_note(sentence)
            raise
    if forgotten:
        pytest.fail("\n".join(forgotten), pytrace=False)
    return result


def _missing(item: pytest.Item) -> str | None:
    """Return what nobody runs here, and what to write; None where somebody does."""
    if issubclass(getattr(item, "cls", None) or object, TestCase):
        return (
            "which needs an event loop and a choice of brokers, and pytest gives neither to a "
            "TestCase of unittest's: write a function or a plain class, or make the kit by hand, "
            "`async with Broker(clock=clock) as broker, Kit(broker, clock) as kit`"
        )
    is_async = inspect.iscoroutinefunction(getattr(item, "obj", None))
    if "anyio_backend" in getattr(item, "fixturenames", ()):  # which its mark brings along
        return None
    if item.config.pluginmanager.hasplugin("asyncio"):
        if not is_async or item.get_closest_marker("asyncio"):
            return None
        return (
            "is asynchronous, and lacks the mark that has pytest-asyncio run it: write "
            "@pytest.mark.asyncio above it (or `pytestmark = pytest.mark.asyncio` once in its "
            "module, or asyncio_mode = auto in pytest.ini)"
        )
    if item.config.pluginmanager.hasplugin("anyio"):
        return (
            "which needs an event loop, and lacks the mark that has anyio run one: make it `async "
            "def` with @pytest.mark.anyio above it (or `pytestmark = pytest.mark.anyio` once in "
            "its module)"
        )
    return "which needs an event loop, and no plugin runs one: install pytest-asyncio or anyio"


def _anyio(item: pytest.Item) -> str | None:
    if item.get_closest_marker("anyio") is None:
        return None
    return (
        "Here: the fixtures on a loop of pytest-asyncio's, this test on anyio's. Let anyio have "
        "both:\n[pytest]\nasyncio_mode = strict"
    )


def _scopes(item: pytest.Item) -> str:
    fixtures = item.config.getini("asyncio_default_fixture_loop_scope") or "function"
    marker = item.get_closest_marker("asyncio")
    asked = marker.kwargs.get("loop_scope") if marker else None
    test = asked or item.config.getini("asyncio_default_test_loop_scope")
    return (
        f"Here: the fixtures on a loop of scope {fixtures!r}, this test on one of scope {test!r}"
        f"{' (its marker says so)' if asked else ''}. To have both on {test!r}:\n"
        f"{LINES.format(test)}"
    )


@pytest.fixture
def busauth_clock() -> ManualClock:
    """A clock that moves when the test says so."""
    return ManualClock()


@pytest.fixture
def busauth_issuer(busauth_clock: ManualClock) -> Issuer:
    """Whoever signs the tokens of the test's callers."""
    return Issuer(clock=busauth_clock)


@pytest.fixture(scope="session")
def busauth_amqp_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """The RabbitMQ's address for the tests of this process, with a virtual host of their own."""
    url, option = _rabbitmq_url(pytestconfig), pytestconfig.getoption
    chosen = option("--busauth-vhost")
    if chosen == "shared" or (chosen == "auto" and "PYTEST_XDIST_WORKER" not in os.environ):
        yield url
        return
    with own_virtual_host(
        url,
        management=option("--busauth-management-url"),
        rabbitmqctl=option("--busauth-rabbitmqctl"),
    ) as own:
        yield own


@async_fixture
async def busauth_broker(
    request: pytest.FixtureRequest, busauth_clock: ManualClock
) -> AsyncIterator[AnyBroker]:
    """A broker that runs: an embedded one of the test's own, or the RabbitMQ that was named."""
    if getattr(request, "param", None) is None:
        pytest.fail(_UNNAMED, pytrace=False)
    if request.param == "rabbitmq":
        yield RabbitMQ(request.getfixturevalue("busauth_amqp_url"))
        return
    async with Broker(clock=busauth_clock) as broker:
        yield broker


@async_fixture
async def busauth_kit(
    busauth_broker: AnyBroker, busauth_clock: ManualClock, busauth_issuer: Issuer
) -> AsyncIterator[Kit]:
    """All of it, in one object."""
    async with Kit(busauth_broker, busauth_clock, busauth_issuer) as kit:
        yield kit


@pytest.fixture
def busauth_bus(busauth_kit: Kit) -> Bus:
    """A bus that is not connected yet: decorate handlers, then `async with` it."""
    return busauth_kit.bus()


def _rabbitmq_url(config: pytest.Config) -> str:
    url: str | None = config.getoption("--busauth-amqp-url")
    if not url:
        pytest.fail(f"no RabbitMQ: set {_VARIABLE}, or name it with --busauth-amqp-url")
    return url
