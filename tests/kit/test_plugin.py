"""The pytest plugin in test runs of its own, as in a user's project."""

import pytest

pytestmark = pytest.mark.processes

EXAMPLE = """
import pytest
from busauth import Bus
from busauth.testing import Kit
from pydantic import BaseModel

{mark}

class Order(BaseModel):
    id: int

async def test_expired(busauth_kit: Kit, busauth_bus: Bus) -> None:
    @busauth_bus.consumer("orders")
    async def handle(order: Order) -> None: ...

    await busauth_bus.declare()
    sent = await busauth_kit.publish("orders", Order(id=1))
    await busauth_kit.clock.advance(minutes=20)
    async with busauth_bus:
        await busauth_bus.idle()
    busauth_kit.assert_refused(sent, "token.expired")
"""
_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
AUTO = (*_SCOPE, "-o", "asyncio_mode=auto")
STRICT = (*_SCOPE, "-o", "asyncio_mode=strict")
QUIET = ("-p", "no:cacheprovider", "-W", "error")
ANYIO = """
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
"""


def ran(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess(*QUIET, *options, timeout=60)


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("", AUTO),
        ("pytestmark = pytest.mark.asyncio", STRICT),
        (ANYIO, ("-p", "no:asyncio")),
        (ANYIO, STRICT),
    ],
    ids=["asyncio auto", "asyncio strict", "anyio alone", "anyio next to asyncio"],
)
def test_async_plugins(pytester: pytest.Pytester, mark: str, options: tuple[str, ...]) -> None:
    """Fixtures live on the loop of the test, whichever plugin runs it."""
    ran(pytester, EXAMPLE.format(mark=mark), *options).assert_outcomes(passed=1)


UNMARKED = """
async def test_async(busauth_kit) -> None: ...

def test_sync(busauth_bus) -> None: ...
"""


@pytest.mark.parametrize(
    ("options", "outcomes", "told"),
    [
        (
            STRICT,
            {"passed": 1, "errors": 1},
            ["test_async?embedded? uses busauth_kit, is asynchronous, and lacks the mark that has "
             "pytest-asyncio run it: write @pytest.mark.asyncio above it *"],
        ),
        (
            ("-p", "no:asyncio"),
            {"errors": 2},
            ["test_async?embedded? uses busauth_kit, which needs an event loop, and lacks the "
             "mark that has anyio run one: make it `async def` with @pytest.mark.anyio above it *",
             "test_sync?embedded? uses busauth_bus, which needs *"],
        ),
        (
            ("-p", "no:asyncio", "-p", "no:anyio"),
            {"errors": 2},
            ["*which needs an event loop, and no plugin runs one: install pytest-asyncio or *"],
        ),
    ],
    ids=["asyncio strict", "anyio alone", "neither"],
)  # fmt: skip
def test_a_mark_that_is_missing(
    pytester: pytest.Pytester, options: tuple[str, ...], outcomes: dict[str, int], told: list[str]
) -> None:
    """A test that nothing would run says in a sentence which mark it lacks."""
    result = ran(pytester, UNMARKED, *options)
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines(told)


CHOSEN_BY_NOBODY = """
import unittest
import pytest

@pytest.mark.usefixtures("busauth_kit")
class TestIt(unittest.IsolatedAsyncioTestCase):
    async def test_case(self) -> None: ...

def test_late(request) -> None:
    request.getfixturevalue("busauth_kit")
"""


def test_a_test_that_no_broker_is_chosen_for(pytester: pytest.Pytester) -> None:
    """Of unittest's classes, and of a fixture that is asked for by name, it is said what to do."""
    result = ran(pytester, CHOSEN_BY_NOBODY, *STRICT)
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["test_case uses busauth_kit, * gives neither to a TestCase of unittest's: write *"]
    )
    result.stdout.fnmatch_lines(["*by getfixturevalue(...) alone, *: name one of them among *"])


@pytest.mark.alone
def test_both_brokers(pytester: pytest.Pytester, rabbitmq_url: str) -> None:
    """The same test runs on the embedded broker and on a RabbitMQ, and says on which."""
    options = ("-v", *AUTO, "--busauth-broker=both", "--busauth-amqp-url", rabbitmq_url)
    result = ran(pytester, EXAMPLE.format(mark=""), *options)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["*test_expired?embedded? PASSED*", "*test_expired?rabbitmq? PASSED*"]
    )


def test_no_rabbitmq_is_named(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address the tests fail, and say what to set."""
    monkeypatch.delenv("BUSAUTH_AMQP_URL", raising=False)
    options = (*AUTO, "--busauth-broker=rabbitmq")
    result = ran(pytester, EXAMPLE.format(mark=""), *options)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no RabbitMQ: set BUSAUTH_AMQP_URL*"])


@pytest.mark.alone
def test_time_that_cannot_be_moved(pytester: pytest.Pytester, rabbitmq_url: str) -> None:
    """What moves the broker's time is reported as not run on a RabbitMQ."""
    mark = "pytestmark = pytest.mark.busauth_embedded"
    options = ("-rs", *AUTO, "--busauth-broker=both", "--busauth-amqp-url", rabbitmq_url)
    result = ran(pytester, EXAMPLE.format(mark=mark), *options)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*not run: the time of a RabbitMQ cannot be moved*"])


def test_an_override(pytester: pytest.Pytester) -> None:
    """A fixture that a project overrides is used by all the others."""
    pytester.makeconftest(
        """
        import pytest
        from busauth.testing import Issuer

        @pytest.fixture
        def busauth_issuer(busauth_clock):
            return Issuer("https://other.example", lifetime=5, clock=busauth_clock)
        """
    )
    source = """
        async def test_it(busauth_kit):
            assert busauth_kit.issuer.url == "https://other.example"
            assert busauth_kit.guard().verifiers[0].issuer == "https://other.example"
        """
    ran(pytester, source, *AUTO).assert_outcomes(passed=1)


@pytest.mark.alone
def test_a_queue_that_is_not_the_tests(pytester: pytest.Pytester, rabbitmq_url: str) -> None:
    """On a RabbitMQ, a queue that exists already is refused, and stays."""
    source = """
        import aio_pika, pytest
        from busauth import ConfigurationError

        async def test_it(busauth_kit, busauth_bus):
            @busauth_bus.consumer("busauth-kit-foreign")
            async def handle() -> None: ...

            async with await aio_pika.connect(busauth_kit.broker.url) as connection:
                channel = await connection.channel()
                await channel.declare_queue("busauth-kit-foreign")
                with pytest.raises(ConfigurationError, match="exists already on this RabbitMQ"):
                    await busauth_bus.declare()
                await channel.queue_delete("busauth-kit-foreign")
        """
    options = (*AUTO, "--busauth-broker=rabbitmq", "--busauth-amqp-url", rabbitmq_url)
    ran(pytester, source, *options).assert_outcomes(passed=1)


FOREIGN = """
import asyncio
import pytest
from busauth import Bus, Guard
from busauth.testing import Broker, Kit, ManualClock
{mark}

def consuming(bus):
    @bus.consumer("orders")
    async def handle() -> None: ...

async def publish(kit, bus):
    await kit.publish("orders", b"x")

async def dead_letters(kit, bus):
    await kit.dead_letters("orders")

async def advance(kit, bus):
    await kit.clock.advance(minutes=1)

async def sleep(kit, bus):
    await kit.clock.sleep(1)

async def own_bus(kit, bus):
    own = Bus("amqp://localhost/", guard=kit.guard(), service="own")
    async with kit.using(own):
        pass

async def declare(kit, bus):
    consuming(bus)
    await bus.declare()

async def enter(kit, bus):
    async with bus:
        pass

async def idle(kit, bus):
    consuming(bus)
    await bus.idle()

async def bus_publish(kit, bus):
    await bus.publish("orders", b"x", token=kit.issuer.token("ann"))

async def url(kit, bus):
    kit.broker.url

@pytest.mark.parametrize(
    "use",
    [publish, dead_letters, advance, sleep, own_bus, declare, enter, idle, bus_publish, url],
    ids=lambda use: use.__name__,
)
async def test_it(busauth_kit: Kit, busauth_bus: Bus, use) -> None:
    await use(busauth_kit, busauth_bus)
"""
USES = 10
FUNCTION_TEST = [
    "*Here: the fixtures on a loop of scope 'session', this test on one of scope 'function'. *",
    "*asyncio_default_fixture_loop_scope = function*",
    "*asyncio_default_test_loop_scope = function*",
]
SESSION_TEST = [
    "*Here: the fixtures on a loop of scope 'function', this test on one of scope 'session' (its *",
    "*asyncio_default_fixture_loop_scope = session*",
    "*asyncio_default_test_loop_scope = session*",
]
ANYIO_TEST = [
    "*Here: the fixtures on a loop of pytest-asyncio's, this test on anyio's. *",
    "*asyncio_mode = strict*",
]


def test_fixtures_of_the_session(pytester: pytest.Pytester) -> None:
    """Whatever a kit hands out fails at once on another loop, and says both and what to set."""
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=session")
    result = ran(pytester, FOREIGN.format(mark=""), *options)
    result.assert_outcomes(failed=USES)
    result.stdout.fnmatch_lines(FUNCTION_TEST * USES)
    told = [line for line in result.outlines if line.endswith("loop_scope = session")]
    assert told == []
    # Where CI is set, pytest says each error once more, in full, in its summary.
    reports = [line for line in result.outlines if line.startswith("E ") and "[pytest]" in line]
    assert len(reports) == USES


def test_fixtures_of_the_function(pytester: pytest.Pytester) -> None:
    """A test whose marker names another loop, or that anyio runs, is told so as well."""
    session = "pytestmark = pytest.mark.asyncio(loop_scope='session')"
    pytester.makepyfile(
        test_session=FOREIGN.format(mark=session), test_theirs=FOREIGN.format(mark=ANYIO)
    )
    result = pytester.runpytest_subprocess(*QUIET, *AUTO, timeout=60)
    result.assert_outcomes(failed=2 * USES)
    result.stdout.fnmatch_lines(SESSION_TEST * USES + ANYIO_TEST * USES)


FORGETFUL = """
import pytest
from busauth.testing import Kit

async def placed(kit: Kit, handler) -> None:
    bus = kit.bus()
    handler = bus.consumer("orders")(handler(bus))
    async with bus:
        sent = await kit.publish("orders", b"")
        await bus.idle()
    kit.assert_handled(sent)

def asynchronous(bus):
    async def handle() -> None:
        bus.publish("stock", b"")
    return handle

def blocking(bus):
    def handle() -> None:
        bus.publish("stock", b"")
    return handle

def returning(bus):
    async def handle():
        return bus.publish("stock", b"")
    return handle

@pytest.mark.parametrize("handler", [asynchronous, blocking, returning])
async def test_handler(busauth_kit: Kit, handler) -> None:
    await placed(busauth_kit, handler)

async def test_that_fails(busauth_kit: Kit) -> None:
    await placed(busauth_kit, asynchronous)
    assert busauth_kit.published("stock")

async def test_that_awaits(busauth_kit: Kit) -> None:
    await busauth_kit.declare("stock")
"""


def test_a_publication_that_is_never_awaited(pytester: pytest.Pytester) -> None:
    """The test fails and names the line, whichever handler forgot it; one that fails says so."""
    pytester.makepyfile(FORGETFUL)
    run = pytester.runpytest_subprocess("-p", "no:cacheprovider", *AUTO, timeout=60)
    run.assert_outcomes(passed=1, failed=4)
    told = "*bus.publish(...) was called and never awaited (thrown away at {}:*), so that nothing *"
    lines = [told.format(each) for each in ("test_*.py", "test_*.py", "*.py", "test_*.py")]
    run.stdout.fnmatch_lines(lines)
