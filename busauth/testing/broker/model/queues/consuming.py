"""Which consumers a queue takes."""

from busauth.testing.broker.model.queues.queues import BaseQueue, Consumer
from busauth.testing.broker.model.words.arguments import CLASSIC, STREAM, Arguments, check_known
from busauth.testing.broker.model.words.errors import (
    ACCESS_REFUSED,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    AMQPError,
)
from busauth.testing.broker.model.words.judging import CONSUMER_ARGUMENTS, CONSUMER_CHECKS


def check_arguments(queue: BaseQueue, arguments: Arguments) -> None:
    """Refuse what RabbitMQ refuses in basic.consume.

    Raises:
        AMQPError: 406, naming the argument and what is wrong with it.
    """
    kind = queue.options.kind
    check_known(queue.resource, arguments, kind, CONSUMER_CHECKS, CONSUMER_ARGUMENTS)


def check_consumer(consumer: Consumer) -> None:
    """Refuse a consumer that its queue does not take.

    Raises:
        AMQPError: 403 for exclusive use, 406 and 540 for what streams and quorum queues demand.
    """
    queue = consumer.queue
    if queue.options.kind == CLASSIC:
        _check_exclusive(consumer)
        return
    if queue.options.kind == STREAM:
        _check_stream(consumer)


def _check_exclusive(consumer: Consumer) -> None:
    """Only classic queues know exclusive consumers, and with a single active one, none."""
    queue = consumer.queue
    wanted = consumer.exclusive and (len(queue.consumers) > 0 or queue.options.single_active)
    if wanted or queue.consumers.exclusive:
        raise AMQPError(ACCESS_REFUSED, f"{queue.resource} in exclusive use")


def _check_stream(consumer: Consumer) -> None:
    resource = consumer.queue.resource
    if not consumer.prefetch:
        text = f"consumer prefetch count is not set for '{resource}'"
        raise AMQPError(PRECONDITION_FAILED, text)
    if consumer.no_ack:
        text = f"automatic acknowledgement not supported by stream queues {resource}"
        raise AMQPError(NOT_IMPLEMENTED, text)
