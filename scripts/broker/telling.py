"""What the user is told: one sentence when there is no broker, and lines on stderr."""

import sys

VARIABLE = "BUSAUTH_AMQP_URL"
STAMPING = "BUSAUTH_STAMPING_AMQP_URL"
"""Names a broker that writes on each message when it came."""
TREE = "BUSAUTH_RABBITMQ_TREE"
"""Names the tree whose RabbitMQ private nodes run, instead of the installed one."""


class BrokerError(Exception):
    """No broker can be had; the text is one sentence for the user."""


def say(text: str, *, end: str = "\n") -> None:
    """Tells the user on stderr; stdout belongs to the command."""
    print(f"broker: {text}", end=end, file=sys.stderr, flush=True)
