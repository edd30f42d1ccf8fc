"""What a client may ask for on an open channel, and what the model is asked for it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pamqp.base import Frame
from pamqp.commands import (
    Basic,
    Confirm,
    Exchange,
    Queue,
    Tx,
)
from pamqp.commands import Channel as Flow

from busauth.testing.broker.model.channels.channel import Channel
from busauth.testing.broker.model.words.errors import NOT_IMPLEMENTED, AMQPError
from busauth.testing.broker.wire.framing.encoding import DeclareOk

Handler = Callable[[Channel, Any], Frame | None]


def asks_for_no_reply(method: Any) -> bool:
    """Whether the client set no-wait."""
    return type(method) in _NOWAIT and bool(method.nowait)


def _flow(_: Channel, method: Flow.Flow) -> Frame:
    if not method.active:
        raise AMQPError(NOT_IMPLEMENTED, "active=false")
    return Flow.FlowOk(active=True)


def _declare_exchange(channel: Channel, method: Exchange.Declare) -> Frame:
    channel.exchange_declare(
        method.exchange,
        method.exchange_type,
        passive=method.passive,
        durable=method.durable,
        auto_delete=method.auto_delete,
        internal=method.internal,
        arguments=method.arguments or {},
    )
    return Exchange.DeclareOk()


def _delete_exchange(channel: Channel, method: Exchange.Delete) -> Frame:
    channel.exchange_delete(method.exchange, if_unused=method.if_unused)
    return Exchange.DeleteOk()


def _bind_exchange(channel: Channel, method: Exchange.Bind) -> Frame:
    channel.exchange_bind(
        method.destination, method.source, method.routing_key, method.arguments or {}
    )
    return Exchange.BindOk()


def _unbind_exchange(channel: Channel, method: Exchange.Unbind) -> Frame:
    channel.exchange_unbind(
        method.destination, method.source, method.routing_key, method.arguments or {}
    )
    return Exchange.UnbindOk()


def _declare_queue(channel: Channel, method: Queue.Declare) -> Frame:
    status = channel.queue_declare(
        method.queue,
        passive=method.passive,
        durable=method.durable,
        exclusive=method.exclusive,
        auto_delete=method.auto_delete,
        arguments=method.arguments or {},
    )
    return DeclareOk(status.name, status.messages, status.consumers)


def _bind_queue(channel: Channel, method: Queue.Bind) -> Frame:
    channel.queue_bind(method.queue, method.exchange, method.routing_key, method.arguments or {})
    return Queue.BindOk()


def _unbind_queue(channel: Channel, method: Queue.Unbind) -> Frame:
    channel.queue_unbind(method.queue, method.exchange, method.routing_key, method.arguments or {})
    return Queue.UnbindOk()


def _purge(channel: Channel, method: Queue.Purge) -> Frame:
    return Queue.PurgeOk(channel.queue_purge(method.queue))


def _delete_queue(channel: Channel, method: Queue.Delete) -> Frame:
    count = channel.queue_delete(method.queue, if_unused=method.if_unused, if_empty=method.if_empty)
    return Queue.DeleteOk(count)


def _qos(channel: Channel, method: Basic.Qos) -> Frame:
    channel.qos(
        prefetch_size=method.prefetch_size,
        prefetch_count=method.prefetch_count,
        global_=method.global_,
    )
    return Basic.QosOk()


def _consume(channel: Channel, method: Basic.Consume) -> Frame:
    tag = channel.consume(
        method.queue,
        method.consumer_tag,
        no_local=method.no_local,
        no_ack=method.no_ack,
        exclusive=method.exclusive,
        arguments=method.arguments or {},
    )
    return Basic.ConsumeOk(tag)


def _cancel(channel: Channel, method: Basic.Cancel) -> Frame:
    tag = method.consumer_tag or ""
    channel.cancel(tag)
    return Basic.CancelOk(tag)


def _ack(channel: Channel, method: Basic.Ack) -> None:
    channel.ack(method.delivery_tag, multiple=method.multiple)


def _nack(channel: Channel, method: Basic.Nack) -> None:
    channel.nack(method.delivery_tag, multiple=method.multiple, requeue=method.requeue)


def _reject(channel: Channel, method: Basic.Reject) -> None:
    channel.reject(method.delivery_tag or 0, requeue=method.requeue)


def _recover(channel: Channel, method: Basic.Recover) -> Frame:
    channel.recover(requeue=method.requeue)
    return Basic.RecoverOk()


def _recover_async(channel: Channel, method: Basic.RecoverAsync) -> None:
    channel.recover(requeue=method.requeue)


def _confirm(channel: Channel, _: Confirm.Select) -> Frame:
    channel.confirm_select()
    return Confirm.SelectOk()


def _tx_select(channel: Channel, _: Tx.Select) -> Frame:
    channel.tx_select()
    return Tx.SelectOk()


def _tx_commit(channel: Channel, _: Tx.Commit) -> Frame:
    channel.tx_commit()
    return Tx.CommitOk()


def _tx_rollback(channel: Channel, _: Tx.Rollback) -> Frame:
    channel.tx_rollback()
    return Tx.RollbackOk()


HANDLERS: Final[Mapping[type[Frame], Handler]] = {
    Flow.Flow: _flow,
    Exchange.Declare: _declare_exchange,
    Exchange.Delete: _delete_exchange,
    Exchange.Bind: _bind_exchange,
    Exchange.Unbind: _unbind_exchange,
    Queue.Declare: _declare_queue,
    Queue.Bind: _bind_queue,
    Queue.Unbind: _unbind_queue,
    Queue.Purge: _purge,
    Queue.Delete: _delete_queue,
    Basic.Qos: _qos,
    Basic.Consume: _consume,
    Basic.Cancel: _cancel,
    Basic.Ack: _ack,
    Basic.Nack: _nack,
    Basic.Reject: _reject,
    Basic.Recover: _recover,
    Basic.RecoverAsync: _recover_async,
    Confirm.Select: _confirm,
    Tx.Select: _tx_select,
    Tx.Commit: _tx_commit,
    Tx.Rollback: _tx_rollback,
}
"""The answer to each method; `basic.publish` and `basic.get` are the channel's own."""

_NOWAIT: Final = frozenset(method for method in HANDLERS if "nowait" in method.attributes())
