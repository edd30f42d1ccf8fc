"""Runs a command with a broker: ``python -m scripts.broker [--ways W,W] -- CMD ARGS...``.

CMD finds the broker's URL in ``BUSAUTH_AMQP_URL``; the exit code is CMD's. Without a command the
URL is printed and the broker runs until a signal. The ways to a broker, in order:

1. ``url``: ``BUSAUTH_AMQP_URL``, when it is set already.
2. ``node``: a private node of an installed RabbitMQ, with its own ports, folder, cookie and epmd.
3. ``apt``: ``apt-get install rabbitmq-server``, where root on Debian or Ubuntu; then as 2.
4. ``docker``: ``docker compose up`` of this repository's ``compose.yaml``.

``--ways embedded`` takes busauth's own broker instead, which needs nothing. ``--ways tree`` makes a
Debian tree with a RabbitMQ of today, where root on Debian, once; then as 2, and with a second node
in ``BUSAUTH_STAMPING_AMQP_URL``, which stamps messages.

When none is open, one sentence names them and the exit code is 1; nothing is ever skipped.
``--ways`` names the ways that may be tried. Whatever a run started is gone when it ends, also
after a signal; what a SIGKILL of this runner leaves is removed by a small second process.
"""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence

from scripts.broker.command import Interrupted, Signals, run
from scripts.broker.process import until
from scripts.broker.telling import VARIABLE, BrokerError, say
from scripts.broker.ways import RABBITMQ, WAYS, find


def ways(text: str) -> list[str]:
    """Parses ``--ways``."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(WAYS)):
        raise argparse.ArgumentTypeError(
            f"got {', '.join(unknown)}, expected some of {','.join(WAYS)}"
        )
    return names


def parse(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The ways to try, and the command after ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m scripts.broker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ways", type=ways, default=list(RABBITMQ), help=",".join(WAYS))
    return parser.parse_args(arguments[:end]).ways, arguments[end + 1 :]


def serve(command: Sequence[str], told: Mapping[str, str], signals: Signals) -> int:
    """Runs the command, or waits for a signal when there is none."""
    signals.check()
    if command:
        return run(command, signals, os.environ | told)
    print(told[VARIABLE], flush=True)
    until(lambda: signals.received is not None, math.inf)
    return 0


def main(arguments: list[str]) -> int:
    """The whole program; returns its exit code."""
    names, command = parse(arguments)
    signals = Signals()
    signals.install()
    try:
        with find(names, signals) as told:
            return serve(command, told, signals)
    except BrokerError as error:
        say(str(error))
        return 1
    except Interrupted as interrupted:
        return 128 + interrupted.number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
