"""What is no model is published by the same rule: it comes back equal, or is refused."""

import math
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    SecretStr,
    StringConstraints,
    with_config,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from busauth._amqp.handling.bodies import BodyReader
from busauth._amqp.handling.writing import BodyWriter, writer_of
from busauth._amqp.publishing.outbox import as_message
from busauth.errors import ConfigurationError, PublishError
from tests.unit.test_writing import NOW, SCALARS

T = TypeVar("T")


class Order(BaseModel):
    """A model."""

    id: int


class Rush(Order):
    """More than its base."""

    by: str = "noon"


@dataclass
class Point:
    """A dataclass, which holds whatever it is given."""

    x: int
    y: float = 0.0


@dataclass
class Deep(Point):
    """More than its base."""

    z: int = 0


@dataclass
class Box(Generic[T]):
    """A generic dataclass."""

    inside: T


@dataclass
class Crate(Box[int]):
    """More than its base."""

    mark: str = ""


@dataclass(eq=False)
class Alone:
    """A dataclass that equals nothing but itself."""

    point: Point
    note: str | None = None


@dataclass
class Hidden:
    """A dataclass with a field that nobody can give it."""

    id: int
    seen: bool = field(default=False, init=False)


@dataclass
class Limited:
    """A dataclass with limits, to which nobody holds what it is given."""

    count: PositiveInt
    name: Annotated[str, StringConstraints(strip_whitespace=True)] = ""


@with_config(ConfigDict(str_to_upper=True))
@dataclass
class Configured:
    """A dataclass whose texts are changed as they are read."""

    name: str


@pydantic_dataclass
class Checked:
    """A dataclass that was held to its limits as it was made."""

    count: PositiveInt


class Defaults(BaseModel):
    """A model with a default that it would not take from anybody."""

    count: PositiveInt | None = 0


class Fitting(BaseModel):
    """A model with a default that is within its limits."""

    count: PositiveInt | None = 1
    name: Annotated[str, StringConstraints(strip_whitespace=True)] = ""


class Holding(BaseModel):
    """A model, which takes a dataclass as it is."""

    limited: Limited


class Place(TypedDict):
    """A typed dict."""

    name: str
    at: NotRequired[Point]


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: Order


class Left(BaseModel):
    """One of two."""

    kind: Literal["left"] = "left"


class Right(BaseModel):
    """The other."""

    kind: Literal["right"] = "right"


Tagged = Annotated[Left | Right, Field(discriminator="kind")]
LOOSE: Any = "not a number"


def sent(body: Any, hint: Any = None) -> bytes:
    return as_message(body, NOW, hint).body


def came_back(body: Any, hint: Any = None) -> Any:
    content = sent(body, hint)
    said = {"body": content, "content_encoding": None, "content_type": None}
    return BodyReader(type(body) if hint is None else hint).read(Mock(**said))


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (Point(1), None),
        (Deep(1, z=2), None),
        (Alone(Point(1)), None),
        (Hidden(1), None),
        (Pair(1, Order(id=2)), None),
        ({"name": "a"}, Place),
        ({"name": "a", "at": Point(1)}, Place),
        ([Order(id=1)], list[Order]),
        ([], list[Order]),
        ({"a": Point(1)}, dict[str, Point]),
        ({1: "a"}, dict[int, str]),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        (Order(id=1), Order | list[Order]),
        ([Order(id=1)], Order | list[Order]),
        (Point(1), Order | Point),
        (None, Point | None),
        (Left(), Tagged),
        ([Left(), Right()], list[Tagged]),
        ([Decimal("1.5")], list[Decimal]),
        ([datetime(2020, 1, 1, tzinfo=UTC)], list[datetime]),
        (Box(1), Box[int]),
        ({"a": [1, "b", None, {"c": 1.5}]}, None),
        ([1, "a", [None]], None),
        (b"\xff", None),
        ("\N{SNOWMAN}", None),
        ("ab", Annotated[str, Field(max_length=2)]),
    ],
    ids=repr,
)
def test_what_is_published_comes_back(body: Any, hint: Any) -> None:
    """Its consumer has what was published, as which it is annotated."""
    back = came_back(body, hint)
    assert back == body or repr(back) == repr(body)


@pytest.mark.parametrize(
    ("body", "hint", "told"),
    [
        (Point(LOOSE), None, r"Point\.x: what is written of it is refused when read"),
        (Point(1, math.nan), None, r"Point\.y: "),
        (Alone(Point(1, math.inf)), None, r"Alone\.point\.y: "),
        (Deep(1, z=2), Point, "Point: a Deep comes back as a Point"),
        (Crate(1, "top"), Box[int], r"Box\[int\]: a Crate comes back as a Box"),
        ([math.inf], list[float] | None, r"list\[float\] \| None\.0: "),
        (Rush(id=1), Order, "Order: a Rush comes back as a Order"),
        ([Rush(id=1)], list[Order], r"list\[Order\]: a Rush comes back as a Order"),
        ([Deep(1)], list[Point], r"list\[Point\]: a Deep comes back as a Point"),
        ([Order(id=1)], None, "list: a Order comes back as a dict"),
        ({"name": "a", "at": Point(1, math.nan)}, Place, r"Place\.at\.y: "),
        ({"name": "a", "more": 1}, Place, "Place: a dict comes back as another dict"),
        ({"at": Point(1)}, Place, r"Place\.name: what is written of it is refused when read"),
        ({"a": Point(LOOSE)}, dict[str, Point], r"Point\]\.\*\.x: what is written"),
        ({1: "a"}, None, "dict: a dict comes back as another dict"),
        ([(1, 2)], None, "list: a tuple comes back as a list"),
        pytest.param(  # by itself its id would be another one in each process
            *({"a": object()}, None, "dict: its value cannot be written as JSON"),
            id="an object",
        ),
        (Alone(point=Point(1), note=SecretStr("hunter2")), None, r"Alone\.note: "),  # type: ignore[arg-type]
        ((Order(id=1),), list[Order], "a tuple comes back as a list"),
        ([1], bytes, "the body bytes: got a list"),
        ("text", bytes, "the body bytes: got a str"),
        ("\ud800", None, "the body str: it would be refused when it is read: UnicodeEncodeError"),
        ("abc", Annotated[str, Field(max_length=2)], "the body str: it would be refused"),
        (Limited(0), None, r"Limited\.count: what is written of it is refused when read"),
        (Limited(1, " abc "), None, r"Limited\.name: a str comes back as another str"),
        (Holding(limited=Limited(0)), None, r"Holding\.limited\.count: "),
        (Defaults(), None, r"Defaults\.count: what is written of it is refused when read"),
        (Configured("abc"), None, r"Configured\.name: a str comes back as another str"),
        ([0], list[PositiveInt], r"0: what is written of it is refused when read: greater_than"),
        ([1, 2], Annotated[list[int], Field(max_length=1)], "refused when read: too_long"),
        ({"": 1}, dict[Annotated[str, Field(min_length=1)], int], "refused when read"),
        ([Decimal("nan")], list[Decimal], "refused when read: finite_number"),
        ([math.inf], list[FiniteFloat], "refused when read: float_type"),
        ([datetime(2020, 1, 1)], list[AwareDatetime], "refused when read: timezone_aware"),  # noqa: DTZ001
    ],
    ids=repr,
)
def test_what_would_not_come_back_is_refused(body: Any, hint: Any, told: str) -> None:
    """Publishing names the field that would be lost, and shows nothing of its value."""
    with pytest.raises(PublishError, match=told) as caught:
        sent(body, hint)
    assert not any(secret in str(caught.value) for secret in (LOOSE, "hunter2", "abc"))


@pytest.mark.parametrize("hint", [int, Any, str | Order, Left | int, BaseModel, None | Literal[1]])
def test_a_type_that_no_handler_takes_is_refused(hint: Any) -> None:
    """What cannot be a handler's body cannot be published as one."""
    with pytest.raises(ConfigurationError, match="expected a pydantic model, a dataclass"):
        sent({"id": 1}, hint)


@pytest.mark.parametrize(
    "hint", [Deep, list[Left], dict[str, Deep], Tagged, list[Tagged], Checked, list[Fitting]]
)
def test_plain_types_are_not_read_back(hint: Any) -> None:
    """What is known of a type costs its messages nothing, and is found out once."""
    writer = writer_of(hint)
    assert isinstance(writer, BodyWriter)
    assert not writer._is_to_be_read(b"{}")
    assert writer_of(hint) is writer


@given(st.sampled_from(SCALARS), st.sampled_from(["list", "dict", "union", "dataclass"]), st.data())
def test_types_come_back_or_are_refused(
    scalar: tuple[Any, st.SearchStrategy[Any]], shape: str, data: st.DataObject
) -> None:
    """Of a zoo of types each comes back equal, or publishing refuses it."""
    kind, values = scalar
    value = data.draw(values)
    made = make_dataclass("Made", [("note", kind)])
    body, hint = {
        "list": ([value, value], list.__class_getitem__(kind)),
        "dict": ({"a": value}, dict.__class_getitem__((str, kind))),
        "union": ([value], list.__class_getitem__(kind) | Point),
        "dataclass": (made(value), made),
    }[shape]
    try:
        back = came_back(body, hint)
    except PublishError:
        return
    assert back == body or repr(back) == repr(body)
