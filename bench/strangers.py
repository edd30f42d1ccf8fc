"""What the worst messages of strangers cost, next to what the client library's decoding costs.

Headers that fill a frame, without a token: decoding the frame, and the dead letter's copy. Bodies
of a megabyte that do not fit their model: ``json.loads``, and the refusal. Milliseconds, the
quickest of some turns; of bodies also the megabytes that each takes at its peak, in a process of
its own.

    python -m bench.strangers
"""

import json
import multiprocessing
import resource
from collections.abc import Callable
from contextlib import suppress
from itertools import islice, product
from string import ascii_lowercase
from time import process_time
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp import frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pydantic import BaseModel, ConfigDict, create_model

from busauth._amqp.delivery import Delivery
from busauth._amqp.handling.bodies import BodyReader
from busauth._amqp.publishing import copies
from busauth._amqp.publishing.copies import Refusal
from busauth.errors import BadMessage, NotGenuine

_FRAME = 131_072
_TURNS = 5
_MEGABYTE = 1_000_000
_REFUSAL = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)

Step = Callable[[], object]


class Line(BaseModel):
    """Something nested."""

    amount: int


class Body(BaseModel):
    """Lists, tables and a choice."""

    model_config = ConfigDict(extra="forbid")

    numbers: list[int] = []
    lines: list[Line] = []
    either: list[int | str | bool | float | Line] = []
    named: dict[str, int] = {}


class Tree(BaseModel):
    """A model that holds itself, in no list: the one that can have an error for each node."""

    value: int
    left: "Tree | None" = None
    right: "Tree | None" = None


def named(count: int, value: object, prefix: str = "") -> dict[str, Any]:
    """Return so many headers with short names."""
    names = map("".join, product(ascii_lowercase, repeat=3 if count <= 26**3 else 4))
    return {f"{prefix}{name}": value for name in islice(names, count)}


HEADERS: dict[str, dict[str, Any]] = {
    "21,000 of nothing": named(21_000, None),
    "18,000 that are true": named(18_000, True),  # noqa: FBT003 -- a header's value
    "17,000 of a broker's": named(17_000, None, "x-"),
    "a list of 100,000": {"a": [None] * 100_000},
    "a table of 17,000": {"a": named(17_000, None)},
    "x-death of 20,000": {"x-death": [{}] * 20_000},
    "text, 120 kB": {"a": "x" * 120_000},
    "bytes, 120 kB": {"a": bytearray(b"\xff" * 120_000)},
    "what begins like tokens": {"a": "eyJ" * 40_000},
    "30 of them": {f"a{number}": "eyJ" * 1300 for number in range(30)},
    "text in x-a": {"x-a": "x" * 120_000},
}


def grid() -> type[BaseModel]:
    """Return a model of 20 models of 20 fields."""
    fields: dict[str, Any] = {f"f{number}": (int, ...) for number in range(20)}
    rows: dict[str, Any] = {f"g{n}": (create_model(f"Row{n}", **fields), ...) for n in range(20)}
    return create_model("Grid", **rows)


def filled(opening: str, item: str, closing: str) -> bytes:
    """Return a body of a megabyte."""
    items = ",".join([item] * (_MEGABYTE // (len(item) + 1)))
    return f"{opening}{items}{closing}".encode()


def tree(levels: int) -> bytes:
    """Return a tree with something wrong at each node."""
    below = tree(levels - 1) if levels else b"null"
    return b'{"value":{},"left":%b,"right":%b}' % (below, below)


def members(value: str) -> str:
    """Return many members of an object."""
    return ",".join(f'"{number}":{value}' for number in range(90_000))


BODIES: dict[str, tuple[type[BaseModel], bytes]] = {
    "fits": (Body, filled('{"numbers":[', "1", "]}")),
    "a list of wrong numbers": (Body, filled('{"numbers":[', "{}", "]}")),
    "a list of wrong models": (Body, filled('{"lines":[', "{}", "]}")),
    "a list of wrong choices": (Body, filled('{"either":[', "[]", "]}")),
    "a wrong table": (Body, f'{{"named":{{{members("{}")}}}}}'.encode()),
    "unknown members": (Body, f"{{{members('1')}}}".encode()),
    "wrong at its end": (Body, filled('{"numbers":[', "1", ",{}]}")),
    "nothing, for 20 x 20 fields": (grid(), b"{}"),
    "a wrong tree": (Tree, tree(15)),
}


def received(header: bytes, body: bytes = b"{}") -> Delivery:
    """Return a delivery with this header frame."""
    content: Any = frame.unmarshal(header)[2]
    deliver = Basic.Deliver(consumer_tag="c", delivery_tag=1, routing_key="orders")
    channel: Any = None
    delivered = DeliveredMessage(delivery=deliver, header=content, body=body, channel=channel)
    return Delivery(delivered)


def quickest(step: Step) -> float:
    """Return the milliseconds of processor time that a step takes at its best."""
    taken = []
    for _ in range(_TURNS):
        since = process_time()
        step()
        taken.append(process_time() - since)
    return min(taken) * 1e3


def peak(step: Step) -> float:
    """Return the megabytes that a step takes at its peak, seen in a child of this process."""
    forked = multiprocessing.get_context("fork")
    found, told = forked.Pipe(duplex=False)

    def measured() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kept = step()
        told.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
        del kept

    child = forked.Process(target=measured)
    child.start()
    megabytes: float = found.recv()
    child.join()
    return megabytes


def of_headers(headers: dict[str, Any]) -> tuple[Step, Step]:
    """Return decoding a frame of headers, and making the dead letter of what was decoded."""
    encoded = frame.marshal(ContentHeader(properties=Basic.Properties(headers=headers)), 1)
    assert len(encoded) <= _FRAME, len(encoded)
    message = received(encoded)
    return lambda: frame.unmarshal(encoded), lambda: copies.dead_letter(
        message, _REFUSAL, token_header="authorization", frame_max=_FRAME
    )


def of_body(model: type[BaseModel], body: bytes) -> tuple[Step, Step]:
    """Return decoding a body, and reading it as a model."""
    reader, message = BodyReader(model), received(frame.marshal(ContentHeader(), 1), body)

    def read() -> object:
        try:
            return reader.read(message)
        except BadMessage as refused:
            return refused

    with suppress(BadMessage):  # what is made once
        reader.read(received(frame.marshal(ContentHeader(), 1)))
    return lambda: json.loads(body), read


def main() -> None:
    """Print both tables."""
    print(f"{'headers':30} {'decoded':>9} {'copied':>9}")
    for name, headers in HEADERS.items():
        decoded, copied = map(quickest, of_headers(headers))
        print(f"{name:30} {decoded:6.1f} ms {copied:6.1f} ms {copied / decoded:7.1f} x")
    print(f"\n{'bodies':30} {'decoded':>18} {'read':>18}")
    for name, (model, body) in BODIES.items():
        steps = of_body(model, body)
        (before, after), (decoded, read) = map(peak, steps), map(quickest, steps)
        print(
            f"{name:30} {decoded:6.1f} ms {before:5.0f} MB {read:6.1f} ms {after:5.0f} MB "
            f"{read / max(decoded, 0.001):7.1f} x"
        )


if __name__ == "__main__":
    main()
