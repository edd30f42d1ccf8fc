"""What was done to letters is written down, and read back."""

import json
from typing import Any

import pytest

from busauth._amqp.resending.records import Record, history, recording
from tests.support import Broker


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
            for odd in ({"kind": "x"}, {"letters": [1]}, {"counts": {"a": "1"}}, {"at": "now"})
        ),
    ],
    ids=lambda body: body[:12],
)
def test_what_is_no_record_is_none(body: bytes) -> None:
    """Whoever can publish there can write it."""
    assert Record.of(body) is None
