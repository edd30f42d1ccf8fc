"""The messages that every contestant gets: one order as JSON, and the token in a header.

taskiq reads nothing but an envelope of its own, so its messages carry the same order as the task's
argument, and the same token as a label next to the header.
"""

import json
from collections.abc import Callable
from typing import Any

from pamqp.commands import Basic
from pydantic import BaseModel

HEADER = "authorization"
TASK = "bench:place_order"


class Order(BaseModel):
    """The body: what a shop's message looks like."""

    id: int
    item: str
    quantity: int
    note: str


ORDER = Order(id=4711, item="a teapot, white", quantity=2, note="leave it with the neighbours")
BODY = ORDER.model_dump_json().encode()

Writer = Callable[[str], tuple[bytes, Basic.Properties]]
"""Returns body and properties of the message that carries a token."""


def plain(token: str) -> tuple[bytes, Basic.Properties]:
    """Write a message as anybody would."""
    return BODY, _properties(token)


def enveloped(token: str) -> tuple[bytes, Basic.Properties]:
    """Write the same message as taskiq's own broker would, labels in the body."""
    envelope = {
        "task_id": "6f2b8c1e5d3a4f70a1b2c3d4e5f60718",
        "task_name": TASK,
        "labels": {HEADER: f"Bearer {token}"},
        "labels_types": {HEADER: 3},
        "args": [],
        "kwargs": {"order": ORDER.model_dump()},
    }
    properties = _properties(token, task_id=envelope["task_id"], task_name=TASK)
    return json.dumps(envelope).encode(), properties


def _properties(token: str, **more: Any) -> Basic.Properties:
    return Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id="6f2b8c1e5d3a4f70a1b2c3d4e5f60718",
        headers={HEADER: f"Bearer {token}", **more},
    )
