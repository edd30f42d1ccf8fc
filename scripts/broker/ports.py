"""Loopback ports: which are free, and what answers on them."""

import contextlib
import itertools
import os
import socket

from scripts.broker.telling import BrokerError

LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 5.0

# Below every system's ephemeral range: while a broker restarts, no client's own socket can take
# its port. Starting from the process id, two nodes' ports each, keeps two runs at once apart.
PORTS = range(10_000, 16_000)
_offsets = itertools.count(os.getpid() * 6)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((LOOPBACK, port))
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Different free ports; each is offered to one caller of this process only."""
    candidates = (PORTS[n % len(PORTS)] for n in itertools.islice(_offsets, len(PORTS)))
    found = list(itertools.islice(filter(is_free, candidates), count))
    if len(found) < count:
        raise BrokerError(f"no free ports between {PORTS.start} and {PORTS.stop}.")
    return found


def accepts(port: int) -> bool:
    """Whether something listens on this port."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), CONNECT_SECONDS):
        return True
    return False


def answers_amqp(port: int) -> bool:
    """Whether a broker answers the AMQP 0-9-1 header with Connection.Start."""
    try:
        with socket.create_connection((LOOPBACK, port), CONNECT_SECONDS) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            with connection.makefile("rb") as answer:
                frame = answer.read(11)
    except OSError:
        return False
    return frame[:3] == b"\x01\x00\x00" and frame[7:] == b"\x00\x0a\x00\x0a"
