"""Each worker of pytest-xdist has a virtual host of its own on a RabbitMQ."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from busauth import ConfigurationError
from busauth.testing import Kit, ManualClock, RabbitMQ
from busauth.testing.vhosts import own_virtual_host
from scripts.broker import PrivateNode
from scripts.broker.ports import LOOPBACK, free_ports
from tests.kit.test_plugin import AUTO, QUIET

pytestmark = pytest.mark.processes

MEETING = """
import os, time
from pathlib import Path
from busauth import Bus
from busauth.testing import Kit

async def test_it(busauth_kit: Kit, busauth_bus: Bus) -> None:
    @busauth_bus.consumer("orders")
    async def handle() -> None: ...

    async with busauth_bus:
        Path(os.environ["PYTEST_XDIST_WORKER"]).touch()
        began = time.monotonic()
        while not (Path("gw0").exists() and Path("gw1").exists()):
            assert time.monotonic() - began < 60, "the other one did not come"
            time.sleep(0.01)
        sent = await busauth_kit.publish("orders", b"")
        await busauth_bus.idle()
    busauth_kit.assert_handled(sent)
    assert len(busauth_kit.events) == 2
    assert busauth_kit.broker.url.endswith("-" + os.environ["PYTEST_XDIST_WORKER"])
"""


@pytest.fixture(scope="module")
def management() -> str:
    (port,) = free_ports(1)
    return f"http://{LOOPBACK}:{port}"


@pytest.fixture(scope="module")
def node(management: str) -> Iterator[PrivateNode]:
    """A RabbitMQ that is administered over HTTP as well."""
    port = management.rpartition(":")[2]
    settings = (f"management.tcp.port = {port}", f"management.tcp.ip = {LOOPBACK}")
    with PrivateNode(settings=settings, plugins=["rabbitmq_management"]) as node:
        # Asked before pytester is: modules that are imported while it works are forgotten again.
        assert vhosts(management) == ["/"]
        yield node
        node.kill()  # nothing of it is kept: it need not end in order


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where these tests are not a worker's themselves."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)


def vhosts(management: str) -> list[str]:
    with httpx.Client(trust_env=False, auth=("guest", "guest")) as client:
        return [each["name"] for each in client.get(f"{management}/api/vhosts").json()]


@pytest.mark.usefixtures("outside")
def test_workers_never_meet(pytester: pytest.Pytester, node: PrivateNode, management: str) -> None:
    """Two workers use one queue's name at the same time; nothing of theirs is left."""
    options = ("--busauth-broker=rabbitmq", "--busauth-amqp-url", node.url)
    asked = ("--busauth-management-url", management)
    pytester.makepyfile(MEETING)
    workers = ("-n", "2", "--dist", "each")
    result = pytester.runpytest_subprocess(*QUIET, *AUTO, *workers, *options, *asked, timeout=110)
    result.assert_outcomes(passed=2)
    assert vhosts(management) == ["/"]


async def test_a_command_administers_it_as_well(node: PrivateNode, management: str) -> None:
    """Where there is no management API, `rabbitmqctl` makes a virtual host that a kit can use."""
    with own_virtual_host(node.url, rabbitmqctl=shlex.join(node.control())) as url:
        (made,) = set(vhosts(management)) - {"/"}
        assert url == f"{node.url}{made}"
        clock = ManualClock()
        async with Kit(RabbitMQ(url), clock) as kit:
            await kit.declare("orders")
            await kit.publish("orders", b"")
    assert vhosts(management) == ["/"]


def test_who_may_not_is_told(node: PrivateNode, management: str) -> None:
    """What was asked, what was answered and what to do is said, and no password."""
    said = management.replace("//", "//guest:hunter2@")
    with (
        pytest.raises(ConfigurationError) as caught,
        own_virtual_host(node.url, management=said),
    ):
        pass
    told = str(caught.value)
    assert "was answered 401 'guest', who needs the tag administrator" in told
    assert "--busauth-vhost=shared" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ({}, r"PUT http://127\.0\.0\.1:15672/api/vhosts/busauth-test-.*: ConnectError"),
        ({"rabbitmqctl": "no-such-rabbitmqctl -q"}, "no-such-rabbitmqctl add_vhost: FileNotFound"),
        ({"rabbitmqctl": "sh -c 'echo no node; exit 69' ctl"}, "69 and said 'no node'"),
        ({"management": "guest:secret@here"}, "expected http://user:password@host:15672"),
    ],
)
def test_nobody_is_there(ways: dict[str, str], said: str) -> None:
    """Where nobody can make one, the error says what to set instead."""
    url = "amqp://guest:guest@127.0.0.1/"
    with pytest.raises(ConfigurationError, match=said) as caught, own_virtual_host(url, **ways):
        pass
    assert "secret" not in str(caught.value)


def test_what_a_user_has_no_rights_in_is_removed(tmp_path: Path) -> None:
    """A virtual host that was made, and then not given to the tests' user, is not left behind."""
    asked = tmp_path / "asked"
    command = f"sh -c 'echo $1 >> {asked}; test $1 != set_permissions' ctl"
    with (
        pytest.raises(ConfigurationError, match="set_permissions ended with 1"),
        own_virtual_host("amqp://guest:guest@127.0.0.1/", rabbitmqctl=command),
    ):
        pass
    assert asked.read_text().split() == ["add_vhost", "set_permissions", "delete_vhost"]
