"""What was done to letters is written down, and read back."""

import json
from typing import Any

import pytest

from busauth._amqp.resending import records
from busauth._amqp.resending.records import Record, history, recording
from busauth.errors import ConfigurationError
from tests.integration.test_bad_input import TIMESTAMP_FLAG
from tests.support import Broker, publish_raw


def record(number: int, queue: str, **more: Any) -> Record:
    return Record(
        run="r", kind="sent", at=number, queue=queue, source=f"{queue}.dead", by="me@here", **more
    )


async def test_a_history_is_read_to_its_end(broker: Broker) -> None:
    """Every record that was confirmed, in order; what is none is left out, and nothing waits."""
    queue = broker.name("orders")
    assert await history(broker.url, queue) == []
    written = [record(number, queue, letters=(f"{number:032x}",)) for number in range(30)]
    async with recording(broker.url, queue) as recorder:
        assert await history(broker.url, queue) == []
        for each in written:
            await recorder.write(each)
    await broker.publish(f"{queue}.history", b"no record")
    async with recording(broker.url, queue) as recorder:
        await recorder.write(written[0])
    assert await history(broker.url, queue) == [*written, written[0]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"v": 2}',
        b"[" * 100_000,
        *(
            json.dumps(record(1, "q").as_json() | odd).encode()
            for odd in (
                *({"kind": "x"}, {"letters": [1]}, {"counts": {"a": "1"}}, {"at": "now"}),
                *({"at": 1e300}, {"at": float("nan")}, {"at": 10**1000}, {"at": -1e12}),
                *({"by": "\ud800"}, {"run": "\x1b[2J"}, {"letters": ["a\nb"]}),
                *({"codes": {"a": "\x1b[2J"}}, {"counts": {"a": True}}),
            )
        ),
    ],
    ids=lambda body: body[:12],
)
def test_what_is_no_record_is_none(body: bytes) -> None:
    """Whoever can publish there can write it."""
    assert Record.of(body) is None


async def test_what_cannot_be_read_hides_nothing(
    broker: Broker, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can publish there can write a message last that no client library reads."""
    monkeypatch.setattr(records, "_FOUND", 2.0)  # it is waited for so long
    queue = broker.name("orders")
    written = [record(number, queue) for number in range(3)]
    async with recording(broker.url, queue) as recorder:
        for each in written:
            await recorder.write(each)
    await publish_raw(url, f"{queue}.history", TIMESTAMP_FLAG, b"\xff" * 8)
    assert await history(broker.url, queue) == written


async def test_what_is_no_stream_is_told_before_anything_moves(broker: Broker) -> None:
    """Somebody else has declared a queue of that name: nobody could read what is written there."""
    queue = broker.name("orders")
    await broker.channel.declare_queue(f"{queue}.history", durable=True)
    with pytest.raises(ConfigurationError, match="no stream"):
        async with recording(broker.url, queue):
            pytest.fail("nothing is recorded there")
    await broker.publish(f"{queue}.history")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await history(broker.url, queue)
    await broker.settles_at(f"{queue}.history", 1)


async def test_what_could_not_be_read_again_is_not_written(broker: Broker) -> None:
    """A run without its first record could not be resumed."""
    queue = broker.name("orders")
    many = record(1, queue, filters={"ids": [f"{number:032x}" for number in range(40_000)]})
    async with recording(broker.url, queue) as recorder:
        with pytest.raises(ConfigurationError, match="filters"):
            await recorder.write(many)
