"""The ways to a broker: url, node, apt and docker, in this order, or one that is named.

Each gives what the command finds in its environment: the broker's URL, and with `tree` more.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

from scripts.broker.apt import alone, install, may_install, services_held_back
from scripts.broker.command import Interrupted, Signals, run, succeeds
from scripts.broker.debootstrap import made
from scripts.broker.embedded import embedded
from scripts.broker.installed import installed_server
from scripts.broker.node import PrivateNode
from scripts.broker.ports import CONNECT_SECONDS, LOOPBACK
from scripts.broker.server import at_hand
from scripts.broker.telling import STAMPING, TREE, VARIABLE, BrokerError, say

NO_WAY = (
    f"no broker found: set {VARIABLE} to a broker's URL, or install RabbitMQ (apt-get install "
    "rabbitmq-server, brew install rabbitmq), or run this as root on Debian or Ubuntu, where "
    "apt-get installs it by itself, or start Docker with its compose plugin."
)
COMPOSE = ("docker", "compose", "-f", str(Path(__file__).resolve().parents[2] / "compose.yaml"))
COMPOSE_URL = f"amqp://guest:guest@{LOOPBACK}:5672/"
STAMPS = ("message_interceptors.incoming.set_header_timestamp.overwrite = true",)

Told = Mapping[str, str]
Way = AbstractContextManager[Told] | None


def from_url(_signals: Signals) -> Way:
    """Way 1: the broker that the user named."""
    url = os.environ.get(VARIABLE)
    if not url:
        return None
    host, port = address(url)
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise BrokerError(
            f"{VARIABLE} names {host}:{port}, which takes no connection ({reason})."
        ) from None
    say(f"using {host}:{port}, which {VARIABLE} names")
    return nullcontext({VARIABLE: url})


def address(text: str) -> tuple[str, int]:
    """Host and port of an AMQP URL; an unescaped password would put a part of itself there."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise BrokerError(f"{VARIABLE} has a port that is no number up to 65535.") from None
    if "@" in f"{url.path}{url.query}{url.fragment}":
        raise BrokerError(f"{VARIABLE} has a password with / # or ?: write %2F, %23 or %3F.")
    if url.scheme not in {"amqp", "amqps"}:
        raise BrokerError(f"{VARIABLE} does not begin with amqp:// or amqps://.")
    return url.hostname or "localhost", port or (5671 if url.scheme == "amqps" else 5672)


def from_node(signals: Signals) -> Way:
    """Way 2: a private node of the RabbitMQ at hand."""
    return None if at_hand() is None else private(PrivateNode(signals.check))


@contextmanager
def private(node: PrivateNode) -> Iterator[Told]:
    """A private node, announced."""
    say(f"starting a private node on port {node.port} ...", end="")
    began = time.monotonic()
    try:
        node.start()
        print(f" ready in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        yield {VARIABLE: node.url}
    except (BrokerError, Interrupted):
        print(file=sys.stderr)
        raise
    finally:
        node.close()


def from_apt(signals: Signals) -> Way:
    """Way 3: the distribution's package, never its system service."""
    if not may_install():
        return None
    with alone(Path("/etc/apt"), signals), services_held_back():
        installed = installed_server() is not None or install(signals)
    signals.check()
    if not installed:
        say("apt-get could not install rabbitmq-server")
    return from_node(signals)


def from_docker(signals: Signals) -> Way:
    """Way 4: the service `rabbitmq` of compose.yaml, where a Docker engine runs."""
    engine = ("docker", "info", "--format", "{{.ServerVersion}}")
    if not (succeeds(*COMPOSE, "version") and succeeds(*engine)):
        return None
    return composed(signals)


@contextmanager
def composed(signals: Signals) -> Iterator[Told]:
    """Compose's RabbitMQ; taken down afterwards when it did not run before."""
    query = [*COMPOSE, "ps", "-q", "--status", "running", "rabbitmq"]
    before = subprocess.run(query, capture_output=True, check=False).stdout.strip()
    say("starting docker compose's rabbitmq" if not before else "using docker compose's rabbitmq")
    try:
        if run([*COMPOSE, "up", "-d", "--wait", "rabbitmq"], signals, stdout=sys.stderr) != 0:
            signals.check()
            raise BrokerError("docker compose could not start the service rabbitmq.")
        yield {VARIABLE: COMPOSE_URL}
    finally:
        if not before:
            run([*COMPOSE, "down"], signals, stdout=sys.stderr)


@contextmanager
def from_here(signals: Signals) -> Iterator[Told]:
    """The embedded broker, announced."""
    with embedded(signals.check) as url:
        say("using busauth's own, in memory")
        yield {VARIABLE: url}


@contextmanager
def from_tree(signals: Signals) -> Iterator[Told]:
    """A RabbitMQ of today in a tree of its own: a plain node, and one that stamps messages."""
    tree = made(signals)
    plain = PrivateNode(signals.check, server=tree)
    stamping = PrivateNode(signals.check, server=tree, settings=STAMPS)
    with private(plain), private(stamping):
        yield {VARIABLE: plain.url, STAMPING: stamping.url, TREE: str(tree.root)}


WAYS: Mapping[str, Callable[[Signals], Way]] = {
    "url": from_url,
    "node": from_node,
    "apt": from_apt,
    "docker": from_docker,
    "embedded": from_here,
    "tree": from_tree,
}
RABBITMQ = ("url", "node", "apt", "docker")
"""The ways to a RabbitMQ, which are tried unless others are named."""


def find(ways: Iterable[str], signals: Signals) -> AbstractContextManager[Told]:
    """The first open way; raises `BrokerError` when there is none."""
    for way in ways:
        broker = WAYS[way](signals)
        if broker is not None:
            return broker
    raise BrokerError(NO_WAY)
