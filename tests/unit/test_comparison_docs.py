"""What docs/comparison.md says of others' defaults is so in the versions that it names."""

import asyncio
import inspect
from importlib.metadata import version
from pathlib import Path
from unittest.mock import AsyncMock, Mock, create_autospec

import amqp  # type: ignore[import-untyped]  # it has no types
import pytest
from aio_pika.message import IncomingMessage, ProcessContext
from celery.app.defaults import NAMESPACES  # type: ignore[import-untyped]  # it has no types
from faststream import AckPolicy, ContextRepo
from faststream.middlewares.acknowledgement.middleware import AcknowledgementMiddleware
from faststream.rabbit import Channel, RabbitBroker
from faststream.rabbit.subscriber.usecase import RabbitSubscriber

PAGE = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text("utf-8")


def test_the_versions_are_those_that_are_installed() -> None:
    """A newer one is looked at again before the page names it."""
    for name, package in (("FastStream", "faststream"), ("aio-pika", "aio-pika")):
        assert f"{name} {version(package)}" in PAGE
    assert f"Celery {version('celery')}" in PAGE


@pytest.mark.parametrize("error", [ValueError(), asyncio.CancelledError()])
async def test_aio_pika_rejects_whatever_ends_a_block(error: BaseException) -> None:
    """An error and a cancellation alike: without requeue."""
    message = create_autospec(IncomingMessage, instance=True)
    with pytest.raises(type(error)):
        async with ProcessContext(
            message, requeue=False, reject_on_redelivered=False, ignore_processed=False
        ):
            raise error
    message.reject.assert_awaited_once_with(requeue=False)
    message.ack.assert_not_awaited()


def test_celery_acknowledges_first_and_asks_for_no_confirm() -> None:
    """Unless `acks_late` and the transport's `confirm_publish` say otherwise."""
    assert NAMESPACES["task"]["acks_late"].default is False
    assert NAMESPACES["broker"]["transport_options"].default == {}
    assert inspect.signature(amqp.Connection).parameters["confirm_publish"].default is False


async def test_faststream_rejects_on_errors() -> None:
    """That is its default policy, and its channels ask for confirms."""
    broker = RabbitBroker()
    broker.subscriber("orders")
    (subscriber,) = broker.subscribers
    assert isinstance(subscriber, RabbitSubscriber)
    assert subscriber.ack_policy is AckPolicy.REJECT_ON_ERROR
    assert (Channel().publisher_confirms, Channel().on_return_raises) == (True, False)


@pytest.mark.parametrize(("error", "rejects"), [(ValueError(), 1), (asyncio.CancelledError(), 0)])
async def test_faststream_leaves_what_was_cancelled(error: BaseException, rejects: int) -> None:
    """An error rejects the message; a cancellation leaves it to the broker."""
    message = AsyncMock()
    policy = AckPolicy.REJECT_ON_ERROR
    make = AcknowledgementMiddleware(Mock(), policy, AsyncMock())
    middleware = make(None, context=ContextRepo())
    await middleware.consume_scope(AsyncMock(), message)
    await middleware.__aexit__(type(error), error, None)
    assert message.reject.await_count == rejects
    message.ack.assert_not_awaited()
