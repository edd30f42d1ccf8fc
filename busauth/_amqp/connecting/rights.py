"""Which right was missing, in words: the broker names what was refused, and not always for what.

RabbitMQ says which right it is from 3.12 on, and the earlier ones leave it out; so whoever asks for
something says what that takes (docs/connecting.md has the table).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from busauth.errors import ConfigurationError

WHERE = "docs/connecting.md lists the rights that each part needs (rabbitmqctl set_permissions)"

# RabbitMQ from 3.12 on: "configure access to queue 'q' in vhost '/' refused for user 'u'".
_SAID = re.compile(r"\b(configure|write|read) access to ")


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a broker is asked for.

    Attributes:
        told: what it is, for people.
        queue, exchange: the rights that it takes, on a queue and on an exchange.
    """

    told: str
    queue: str = ""
    exchange: str = ""

    def right(self, words: str) -> str:
        """Return the right that the broker's words are about."""
        if said := _SAID.search(words):
            return {"write": "write to", "read": "read from"}.get(said[1], said[1])
        return self.exchange if "exchange '" in words else self.queue


DECLARE = Step("declare the queue", "configure (and read, where it dead-letters)", "write to")
DECLARE_EXCHANGE = Step("declare the exchange", exchange="configure")
BIND = Step("bind the queue", "write to", "read from")
CONSUME = Step("consume the queue", "read from")
LOOK = Step("look at the queue", "configure (RabbitMQ 4.3.0 alone asks for it, to look)")
RECORD = Step(
    "use the stream that records what was done to letters", "configure, and to show it, read from"
)
TURN = Step("take turns by a queue of its own", "configure")


@contextmanager
def permitted(step: Step) -> Iterator[None]:
    """Tell which right is missing, and what to do about it.

    Raises:
        ConfigurationError: the broker refused access to a queue or an exchange.
    """
    try:
        yield
    except ChannelAccessRefused as error:
        raise ConfigurationError(
            f"it may not {step.told}: the broker refused: {error}; expected that this user may "
            f"{step.right(str(error))} it; {WHERE}"
        ) from error


@contextmanager
def there(queue: str, what: str) -> Iterator[None]:
    """Tell which queue is not there, and what to do about it.

    Args:
        queue: the name that was asked for.
        what: what it would be, and who makes it, for people.

    Raises:
        ConfigurationError: there is none of this name.
    """
    try:
        yield
    except ChannelNotFoundEntity as error:
        raise ConfigurationError(
            f"queue {queue!r} is not there ({error}): expected {what}; check the name, and the "
            "virtual host in the URL"
        ) from error
