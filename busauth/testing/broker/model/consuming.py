"""Which consumers a queue takes."""

from busauth.testing.broker.model.arguments import Arguments
from busauth.testing.broker.model.consumers import Consumer
from busauth.testing.broker.model.errors import (
    ACCESS_REFUSED,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    AMQPError,
)
from busauth.testing.broker.model.judging import type_name
from busauth.testing.broker.model.quorum import QuorumQueue
from busauth.testing.broker.model.streams import Stream


def consumer_priority(resource: str, arguments: Arguments) -> int:
    """Return `x-priority`.

    Raises:
        AMQPError: 406 when it is no integer.
    """
    priority = arguments.get("x-priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int):
        text = (
            f"invalid arg 'x-priority' for {resource}: {{unacceptable_type,{type_name(priority)}}}"
        )
        raise AMQPError(PRECONDITION_FAILED, text)
    return priority


def check_consumer(consumer: Consumer, *, shared: bool) -> None:
    """Refuse a consumer that its queue does not take; `shared`: the channel has a limit in all.

    Raises:
        AMQPError: 403 for exclusive use, 406 and 540 for what streams and quorum queues demand.
    """
    queue = consumer.queue
    resource = consumer.channel.vhost.shown("queue", queue.name)
    if queue.consumers.exclusive or (consumer.exclusive and len(queue.consumers)):
        raise AMQPError(ACCESS_REFUSED, f"{resource} in exclusive use")
    if shared and isinstance(queue, QuorumQueue | Stream):
        raise AMQPError(NOT_IMPLEMENTED, f"{resource} does not support global qos")
    if isinstance(queue, Stream):
        _check_stream(consumer, resource)


def _check_stream(consumer: Consumer, resource: str) -> None:
    if consumer.no_ack:
        raise AMQPError(
            NOT_IMPLEMENTED, f"automatic acknowledgement not supported by stream {resource}"
        )
    if not consumer.prefetch:
        raise AMQPError(
            PRECONDITION_FAILED, f"consumer prefetch count is not set for stream {resource}"
        )
