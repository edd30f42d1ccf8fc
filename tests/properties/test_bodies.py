"""What holds for every body."""

import json
from unittest.mock import Mock

import pytest
from aio_pika.message import IncomingMessage
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from busauth._amqp.handling.plan import CallPlan, compile_plan
from busauth.errors import BadMessage
from tests.properties.strategies import few_of, json_values
from tests.unit.support import caller


class Line(BaseModel):
    """Something nested."""

    name: str
    price: float = Field(ge=0)


class Order(BaseModel):
    """A typed body."""

    model_config = ConfigDict(extra="forbid")

    id: int
    note: str | None = None
    lines: list[Line] = []
    tags: dict[str, int] = {}


async def handle(order: Order) -> None:
    """Do nothing."""


PLAN = compile_plan(handle)
ALICE = caller()

orders = few_of(
    {
        "id": json_values,
        "note": st.text() | json_values,
        "lines": st.lists(st.fixed_dictionaries({"name": st.text(), "price": json_values})),
        "tags": st.dictionaries(st.text(), st.integers()) | json_values,
        "other": json_values,
    }
).map(lambda changes: {"id": 1, **changes})
bodies = (
    st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | orders.map(lambda value: json.dumps(value).encode())
    | orders.map(lambda value: json.dumps(value).encode()[:-1])
)


def read(body: bytes, encoding: str | None, plan: CallPlan = PLAN) -> Order:
    message = Mock(spec=IncomingMessage)
    message.body, message.content_encoding = body, encoding
    found = plan.arguments(message, ALICE)["order"]
    assert isinstance(found, Order)
    return found


def check(refused: BadMessage) -> None:
    event(refused.code)
    assert refused.code in ("body.encoding", "body.not_json", "body.invalid")
    assert refused.detail.isprintable()


@given(body=bodies, encoding=st.none() | st.sampled_from(["", "utf-8", "gzip", "\n"]))
def test_any_body_is_the_model_or_a_refusal(body: bytes, encoding: str | None) -> None:
    """Whatever stands in a body, the outcome is the model or `BadMessage` with its code."""
    try:
        order = read(body, encoding)
    except BadMessage as refused:
        check(refused)
    else:
        event("accepted")
        assert Order.model_validate_json(body) == order


@given(value=st.text(min_size=6).filter(lambda text: text.isprintable()))
def test_a_wrong_value_is_never_shown(value: str) -> None:
    """What stands in the body does not come back in the evidence."""
    marked = f"<{value}>"
    with pytest.raises(BadMessage) as caught:
        read(json.dumps({"id": marked}).encode(), None)
    assert marked not in f"{caught.value!r} {caught.value} {caught.value.found}"
