"""What judging a body costs: as much as decoding it, however wrong it is."""

from typing import Any, Self
from unittest.mock import Mock

import pytest
from aio_pika.message import IncomingMessage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    RootModel,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from busauth._amqp.handling.bodies import BodyReader
from busauth.errors import BadMessage, Deferred, Forbidden


class Line(BaseModel):
    """Something nested, which brings a validator of its own along."""

    amounts: list[int]
    type: str = "line"


class Order(BaseModel):
    """Every kind of container, in every kind of place."""

    ids: list[int] = []
    lines: list[Line] = []
    by_name: dict[str, Line] = {}
    pairs: tuple[int, ...] = ()
    names: set[int] | frozenset[str] = set()
    either: list[int | Line | dict[str, int]] = []
    maybe: list[list[int]] | None = None
    type: list[int] = []
    items_schema: list[int] = []


class Strict(BaseModel):
    """A body that takes nothing else."""

    model_config = ConfigDict(extra="forbid")


class Tree(BaseModel):
    """A model that holds itself."""

    children: list["Tree"] = []
    weights: dict[str, int] = {}


Numbers = RootModel[list[int]]
MANY = 2000
SECRET = "the sender's own words"


def message(body: bytes) -> IncomingMessage:
    made: IncomingMessage = Mock(spec=IncomingMessage, body=body, content_encoding=None)
    return made


def wrong(field: str, item: str, opening: str = "[", closing: str = "]") -> bytes:
    items = ",".join([item] * MANY)
    return f'{{"{field}":{opening}{items}{closing}}}'.encode()


def members(value: str) -> str:
    return ",".join(f'"{number}":{value}' for number in range(MANY))


@pytest.mark.parametrize(
    ("model", "body", "errors"),
    [
        (Order, wrong("ids", "null"), 1),
        (Order, wrong("lines", '{"amounts":[null,null,null]}'), 1),
        (Order, wrong("pairs", "null"), 1),
        (Order, wrong("names", "null"), 2),
        (Order, wrong("either", '"x"'), 3),
        (Order, wrong("maybe", "[null,null]"), 1),
        (Order, wrong("type", "null"), 1),
        (Order, wrong("items_schema", "null"), 1),
        (Order, f'{{"by_name":{{{members("{}")}}}}}'.encode(), 1),
        (Tree, wrong("children", '{"weights":{"a":null,"b":null}}'), 1),
        (Numbers, f"[{','.join(['null'] * MANY)}]".encode(), 1),
    ],
)
def test_lists_and_tables_stop_at_their_first_error(
    model: type[BaseModel], body: bytes, errors: int
) -> None:
    """How many errors are looked for is a matter of the model, and not of the body's size."""
    with pytest.raises(ValidationError) as caught:
        BodyReader(model)._validate(body)
    assert caught.value.error_count() == errors


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"ids":[1,"2"],"lines":[{"amounts":[3]}],"by_name":{"a":{"amounts":[]}},"pairs":[4]}',
        b'{"names":["a"],"either":[1,{"amounts":[1]},{"a":1}],"maybe":[[1]],"type":[5]}',
    ],
)
def test_what_stops_early_takes_the_same(body: bytes) -> None:
    """A body that fits becomes what the model itself would make of it."""
    assert BodyReader(Order).read(message(body)) == Order.model_validate_json(body)


def test_of_many_errors_none_is_told_by_itself() -> None:
    """Where there are more than twenty errors their number is told, and nothing made for each."""
    with pytest.raises(BadMessage) as caught:
        BodyReader(Strict).read(message(f"{{{members('1')}}}".encode()))
    assert caught.value.found == f"{MANY} errors"


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_few_errors_are_told(count: int) -> None:
    """Up to twenty, the first three are named."""
    fields: dict[str, Any] = {f"f{number}": (int, ...) for number in range(count)}
    with pytest.raises(BadMessage) as caught:
        BodyReader(create_model("Wide", **fields)).read(message(b"{}"))
    assert caught.value.found == "; ".join(f"f{n}: missing" for n in range(min(3, count)))


def test_a_schema_is_made_once() -> None:
    """The names of fields are gathered at the first refusal, and at no other."""
    made = []

    class Counted(BaseModel):
        id: int

        @classmethod
        def model_json_schema(cls, *args: Any, **named: Any) -> dict[str, Any]:
            made.append(cls)
            return super().model_json_schema(*args, **named)

    reader = BodyReader(Counted)
    for _ in range(3):
        with pytest.raises(BadMessage):
            reader.read(message(b"{}"))
    assert made == [Counted]


def test_a_validation_of_the_models_own_stays() -> None:
    """Who validates JSON in a way of their own is asked, and nobody else."""

    class Own(BaseModel):
        id: int

        @classmethod
        def model_validate_json(cls, *_: Any, **__: Any) -> Self:
            return cls(id=7)

    assert BodyReader(Own).read(message(b"whatever")) == Own(id=7)


@pytest.mark.parametrize("error", [TypeError, KeyError])
def test_a_model_without_a_schema_of_its_own(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a validator that stops early cannot be made, the model's own does it all."""

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("busauth._amqp.handling.bodies.SchemaValidator", fails)
    assert BodyReader(Order).read(message(b'{"ids":[1]}')) == Order(ids=[1])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 100_000, "body.not_json"),
        (b'{"children":[' * 1000 + b"]}" * 1000, "body.not_json"),
        (b'{"weights":{"a":' + b"9" * 5000 + b"}}", "body.not_json"),
        (b'{"weights":{"a":NaN}}', "body.invalid"),
        (b'{"weights":{"a":1e400000000}}', "body.invalid"),
        (b'{"weights":{"' + b"a" * 500_000 + b'":null}}', "body.invalid"),
    ],
)
def test_extreme_bodies(body: bytes, code: str) -> None:
    """What is deep, long or no number is refused like anything else."""
    with pytest.raises(BadMessage) as caught:
        BodyReader(Tree).read(message(body))
    assert caught.value.code == code
    assert len(caught.value.detail) < 500


@given(
    raised=st.sampled_from(
        [
            TypeError,
            RuntimeError,
            OSError,
            LookupError,
            AttributeError,
            ArithmeticError,
            MemoryError,
        ]
    ),
    in_group=st.booleans(),
)
def test_whatever_a_validator_raises_is_a_verdict_about_that_body(
    raised: type[Exception], *, in_group: bool
) -> None:
    """It is told by its type, and nothing of what it says, which is the sender's."""
    error = ExceptionGroup(SECRET, [raised(SECRET)]) if in_group else raised(SECRET)

    class Failing(BaseModel):
        id: int

        @field_validator("id")
        @classmethod
        def fail(cls, _: int) -> int:
            raise error

    with pytest.raises(BadMessage) as caught:
        BodyReader(Failing).read(message(b'{"id": 1}'))
    assert caught.value.code == "body.invalid"
    assert type(error).__name__ in caught.value.detail
    assert SECRET not in caught.value.detail


@pytest.mark.parametrize("said", [Deferred("away"), Forbidden("own.code")])
def test_what_a_validator_says_in_our_words_counts(said: Exception) -> None:
    """One that puts off, or refuses with a code, is taken at its word."""

    class Saying(BaseModel):
        @model_validator(mode="before")
        @classmethod
        def say(cls, _: Any) -> Any:
            raise said

    with pytest.raises(type(said)):
        BodyReader(Saying).read(message(b"{}"))


def test_a_schema_that_fails_is_no_reason_to_fail() -> None:
    """A model whose schema cannot be told still tells where a body is wrong."""

    class Untold(BaseModel):
        id: int

        @classmethod
        def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
            raise TypeError

    with pytest.raises(BadMessage, match="id: int_parsing"):
        BodyReader(Untold).read(message(b'{"id": "x"}'))
