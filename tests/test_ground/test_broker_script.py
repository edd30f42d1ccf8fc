"""The runner scripts.broker: it gives a broker, says why it cannot, and leaves nothing."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.broker.apt import is_debian, services_held_back
from scripts.broker.process import until
from scripts.broker.server import at_hand

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]

# Shakes hands over AMQP, prints what the broker said, then waits until its stdin is closed.
CLIENT = """
import os, socket, sys
from urllib.parse import urlsplit
url = urlsplit(os.environ["BUSAUTH_AMQP_URL"])
with socket.create_connection((url.hostname, url.port or 5672), 10) as connection:
    connection.sendall(b"AMQP\\x00\\x00\\x09\\x01")
    print(connection.recv(1), os.environ["BUSAUTH_AMQP_URL"], flush=True)
sys.stdin.read()
"""

# Crashes and revives a node, then waits to be killed.
OWNER = """
import sys
from scripts.broker import BrokerError, PrivateNode
from scripts.broker.ports import answers_amqp
try:
    node = PrivateNode()
except BrokerError:
    sys.exit(print("not installed"))
node.start()
node.kill()
dead = answers_amqp(node.port)
node.start()
print(dead, answers_amqp(node.port), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "of-this-run"
    made.mkdir()
    return made


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """Its folder marks every process of a run; the outer broker serves where none is at hand."""
    found = os.environ | {"TMPDIR": str(folder)}
    if at_hand() is not None:
        found.pop("BUSAUTH_AMQP_URL", None)
    return found


def launch(
    environment: dict[str, str], *arguments: str, options: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.broker", *options, "--", sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def processes(folder: Path) -> list[str]:
    """The processes that have the run's folder in their environment."""
    if not Path("/proc/self/environ").exists():
        listing = subprocess.run(["ps", "-Axww", "-E"], capture_output=True, text=True, check=True)
        return [line for line in listing.stdout.splitlines() if str(folder) in line]
    return [entry.name for entry in Path("/proc").glob("[0-9]*") if mentions(entry, folder)]


def mentions(process: Path, folder: Path) -> bool:
    try:
        return os.fsencode(folder) in (process / "environ").read_bytes()
    except OSError:
        return False


def assert_nothing_left(folder: Path) -> None:
    assert processes(folder) == []
    assert list(folder.iterdir()) == []


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_named_broker_that_is_not_there_is_one_sentence_without_the_password(
    environment: dict[str, str],
) -> None:
    """A refused connection to the named broker fails the run, and tells host and port only."""
    port = closed_port()
    environment["BUSAUTH_AMQP_URL"] = f"amqp://me:hunter2@127.0.0.1:{port}/"
    runner = launch(environment, "-c", "print('ran')")
    out, err = runner.communicate()
    assert (runner.returncode, out, err.count("\n")) == (1, "", 1)
    assert f"127.0.0.1:{port}" in err
    assert "hunter2" not in err


def test_without_any_way_the_sentence_names_them_all(
    environment: dict[str, str], folder: Path
) -> None:
    """A missing broker fails the run with the ways to one, and never skips."""
    environment["PATH"] = str(folder)
    runner = launch(environment, "-c", "print('ran')", options=("--ways", "docker"))
    out, err = runner.communicate()
    assert (runner.returncode, out, err.count("\n")) == (1, "", 1)
    for way in ("BUSAUTH_AMQP_URL", "install RabbitMQ", "apt-get", "Docker"):
        assert way in err


def test_two_at_once_get_a_broker_each_and_leave_nothing(
    environment: dict[str, str], folder: Path
) -> None:
    """Each command meets a broker that speaks AMQP; its exit code is kept, and nothing else."""
    runners = [launch(environment, "-c", CLIENT + "sys.exit(7)") for _ in range(2)]
    greetings = [runner.stdout.readline() for runner in runners if runner.stdout is not None]
    assert processes(folder) != []
    for runner in runners:
        _, err = runner.communicate()
        assert runner.returncode == 7, err
    assert all(greeting.startswith("b'\\x01' amqp://") for greeting in greetings)
    if "BUSAUTH_AMQP_URL" not in environment:
        assert greetings[0] != greetings[1]
    assert_nothing_left(folder)


def test_sigterm_stops_the_command_first_and_leaves_nothing(
    environment: dict[str, str], folder: Path
) -> None:
    """The command gets the signal and ends by its own rules before the broker goes."""
    handler = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))"
    runner = launch(environment, "-c", handler + CLIENT)
    assert runner.stdout is not None
    assert runner.stdout.readline().startswith("b'\\x01'")
    runner.send_signal(signal.SIGTERM)
    runner.wait()
    _, err = runner.communicate()
    assert runner.returncode == 9, err
    assert_nothing_left(folder)


def test_a_node_survives_a_crash_and_its_owner_leaves_nothing_when_killed(
    environment: dict[str, str], folder: Path
) -> None:
    """A killed node starts again under its URL; a killed owner's node is removed without it."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert owner.stdout is not None
    expected = "False True\n" if at_hand() is not None else "not installed\n"
    assert owner.stdout.readline() == expected
    owner.kill()
    owner.communicate()
    assert until(lambda: not processes(folder) and not list(folder.iterdir()), 30)


def test_services_are_held_back_only_while_a_package_is_installed(tmp_path: Path) -> None:
    """Our own policy file refuses every service start and goes again; the system's stays."""
    policy = tmp_path / "policy-rc.d"
    with services_held_back(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
    policy.write_text("the system's own")
    with services_held_back(policy):
        pass
    assert policy.read_text() == "the system's own"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("ID=debian\n", True),
        ('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n', True),
        ('ID="fedora"\n', False),
    ],
)
def test_packages_are_installed_on_debian_and_its_relatives_only(
    release: str, expected: bool
) -> None:
    """The os-release file decides, by whole words of ID and ID_LIKE."""
    assert is_debian(release) is expected
