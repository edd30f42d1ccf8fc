"""How a handler is called, worked out once from its annotations."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, update_wrapper, wraps
from typing import Annotated, Any, Literal, NamedTuple, Optional
from unittest.mock import Mock

import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.message import IncomingMessage
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import TypeAliasType, TypedDict

from busauth._amqp.handling.plan import compile_plan
from busauth._callables import name_of
from busauth.caller import Caller, Late
from busauth.errors import BadMessage
from busauth.messages import Proven
from tests.unit import late_imports
from tests.unit.support import caller


class Order(BaseModel):
    """A typed body."""

    model_config = ConfigDict(extra="forbid")

    id: int
    note: str = Field(default="", max_length=10)
    lines: list[dict[str, int]] = []


class Other(BaseModel):
    """Another typed body."""


class Left(BaseModel):
    """One of two."""

    kind: Literal["left"] = "left"


class Right(BaseModel):
    """The other."""

    kind: Literal["right"] = "right"


def message(
    body: bytes = b'{"id": 1}', encoding: str | None = None, kind: str | None = None
) -> AbstractIncomingMessage:
    made = Mock(spec=IncomingMessage)
    made.body, made.content_encoding, made.content_type = body, encoding, kind
    return made


ALICE = caller()
MESSAGE = message()


class Service:
    """A handler may be a method."""

    async def handle(self, order: Order, who: Caller) -> None:
        """Do nothing."""


async def everything(caller: Caller, message: AbstractIncomingMessage, body: Order) -> None:
    """Do nothing."""


async def swapped(message: Caller, body: AbstractIncomingMessage, caller: Order) -> None:
    """Names that mislead."""


async def keyword_only(*, a: Order, b: Caller) -> None:
    """Do nothing."""


async def annotated(a: Annotated[Order, "x"], b: Annotated[Caller, "y"]) -> None:
    """Do nothing."""


async def concrete(a: IncomingMessage) -> None:
    """Do nothing."""


async def defaults(a: Order, b: Other = Other(), c: int = 3, *, d: str = "x") -> None:  # noqa: B008
    """Do nothing."""


async def with_default_caller(a: Caller = ALICE) -> None:
    """Do nothing."""


async def nothing() -> None:
    """Do nothing."""


class Packing:
    """An object may be a handler."""

    async def __call__(self, order: Order, who: Caller) -> None:
        """Ship it."""


@dataclass(frozen=True, slots=True)
class Shipper:
    """So may a dataclass, with what it needs."""

    stock: int

    async def __call__(self, *, order: Order) -> None:
        """Ship it."""


class Wrapping:
    """An object that stands for the function that it calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.function = function

    async def __call__(self, *given: Any, **named: Any) -> None:
        await self.function(*given, **named)


async def with_tools(database: str, order: Order, /, who: Caller, *, retries: int = 3) -> None:
    """Bind the first two."""


async def with_named_tools(order: Order, database: str, who: Caller) -> None:
    """Bind the second."""


def passed_through(handler: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(handler)
    async def wrapper(*given: Any, **named: Any) -> None:
        await handler(*given, **named)

    return wrapper


BOUND = partial(with_named_tools, database="stock")
NAMED = update_wrapper(partial(with_named_tools, database="stock"), with_named_tools)


@pytest.mark.parametrize(
    ("handler", "expected", "name"),
    [
        (BOUND, {"order": Order(id=1), "who": ALICE}, "with_named_tools"),
        (NAMED, {"order": Order(id=1), "who": ALICE}, "with_named_tools"),
        (partial(with_tools, "stock", Order(id=2)), {"who": ALICE}, "with_tools"),
        (partial(BOUND, who=ALICE), {"order": Order(id=1)}, "with_named_tools"),
        (partial(partial(with_tools, "stock"), Order(id=2)), {"who": ALICE}, "with_tools"),
        (Packing(), {"order": Order(id=1), "who": ALICE}, "Packing"),
        (Packing().__call__, {"order": Order(id=1), "who": ALICE}, "Packing.__call__"),
        (partial(Packing(), who=ALICE), {"order": Order(id=1)}, "Packing"),
        (partial(Service().handle, who=ALICE), {"order": Order(id=1)}, "Service.handle"),
        (Shipper(3), {"order": Order(id=1)}, "Shipper"),
        (Wrapping(everything), {"caller": ALICE, "message": MESSAGE, "body": Order(id=1)}, "every"),
        (
            passed_through(everything),
            {"caller": ALICE, "message": MESSAGE, "body": Order(id=1)},
            "",
        ),
        (passed_through(BOUND), {"order": Order(id=1), "who": ALICE}, "passed_through"),
        (passed_through(Packing()), {"order": Order(id=1), "who": ALICE}, ""),
        (
            partial(passed_through(with_named_tools), database=""),
            {"order": Order(id=1), "who": ALICE},
            "",
        ),
    ],
)
async def test_whatever_can_be_called_is_a_handler(
    handler: Callable[..., Any], expected: dict[str, Any], name: str
) -> None:
    """Partials, methods, objects and wrappers are called with what they have not bound yet."""
    plan = compile_plan(handler)
    arguments = plan.arguments(MESSAGE, ALICE)
    assert arguments == expected
    assert name_of(handler).startswith(name)
    await plan.handler(**arguments)


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (everything, {"caller": ALICE, "message": MESSAGE, "body": Order(id=1)}),
        (swapped, {"message": ALICE, "body": MESSAGE, "caller": Order(id=1)}),
        (keyword_only, {"a": Order(id=1), "b": ALICE}),
        (annotated, {"a": Order(id=1), "b": ALICE}),
        (concrete, {"a": MESSAGE}),
        (defaults, {"a": Order(id=1)}),
        (with_default_caller, {"a": ALICE}),
        (nothing, {}),
        (Service().handle, {"order": Order(id=1), "who": ALICE}),
        (
            late_imports.resolvable,
            {"one": late_imports.Order(id=1), "two": ALICE, "three": MESSAGE},
        ),
    ],
)
def test_parameters_are_injected_by_annotation(
    handler: Callable[..., Any], expected: dict[str, Any]
) -> None:
    """What a parameter is annotated with decides what it takes; what it is called does not."""
    assert compile_plan(handler).arguments(MESSAGE, ALICE) == expected


def test_a_plan_keeps_the_bare_handler() -> None:
    """The function itself stays reachable, for tests."""
    plan = compile_plan(everything)
    assert plan.handler is everything
    assert (plan.caller, plan.message, plan.body) == ("caller", "message", "body")
    assert plan.call is everything
    assert not plan.blocks


def test_a_body_is_read_only_where_somebody_wants_it() -> None:
    """A handler without a body parameter gets messages of any content."""
    assert compile_plan(concrete).arguments(message(b"\xff"), ALICE)


def test_a_wrapped_handler_is_read_through() -> None:
    """A decorator that keeps the signature keeps the injection."""

    @wraps(keyword_only)
    async def wrapper(*args: Any, **kwargs: Any) -> None:
        await keyword_only(*args, **kwargs)

    assert compile_plan(wrapper).arguments(MESSAGE, ALICE) == {"a": Order(id=1), "b": ALICE}


def synchronous(body: Order) -> None:
    """Do nothing."""


def bound(handler: Any, *given: Any, **named: Any) -> Any:
    """Bind what may not fit."""
    return partial(handler, *given, **named)


class SyncObject:
    """An object that blocks."""

    def __call__(self, body: Order) -> None:
        """Do nothing."""


def yielding(body: Order) -> Iterator[None]:
    yield


async def generating(body: Order) -> AsyncIterator[None]:
    yield


@wraps(keyword_only)
def handed_on(*given: Any, **named: Any) -> Any:
    return keyword_only(*given, **named)


async def untyped(body) -> None:  # type: ignore[no-untyped-def]
    """Do nothing."""


async def two_bodies(first: Order, second: Other) -> None:
    """Do nothing."""


async def two_callers(first: Caller, second: Caller) -> None:
    """Do nothing."""


async def a_number(body: int) -> None:
    """Do nothing."""


async def anything(body: Any) -> None:
    """Do nothing."""


async def several_callers(body: list[Caller]) -> None:
    """Do nothing."""


async def how_late(late: Late) -> None:
    """Do nothing."""


async def a_proof_or_a_body(body: Proven | Order) -> None:
    """Do nothing."""


async def text_or_json(body: str | Order) -> None:
    """Do nothing."""


async def unmakeable(body: list[Service]) -> None:
    """Do nothing."""


async def caller_or_nobody(who: Caller | None) -> None:
    """Do nothing."""


async def optional_caller(who: Optional[Caller]) -> None:  # noqa: UP045 -- as some write it
    """Do nothing."""


async def body_alone(order: Order) -> None:
    """Do nothing."""


async def caller_or_body(who: Caller | Order) -> None:
    """Do nothing."""


async def caller_or_default(who: Caller | None = None) -> None:
    """Do nothing."""


async def caller_or_another(who: Annotated[Caller | Order, "z"] = ALICE) -> None:
    """Do nothing."""


async def proof_or_text(proven: Proven | str = "") -> None:
    """Do nothing."""


async def late_or_default(late: Late | None = None) -> None:
    """Do nothing."""


async def message_or_default(raw: IncomingMessage | None = None) -> None:
    """Do nothing."""


async def body_or_default(order: Order | None = None) -> None:
    """Do nothing."""


async def unsaid_default(who: Caller, order: Order = None) -> None:  # type: ignore[assignment]
    """Do nothing."""


async def tools(
    order: Order,
    other: Other | None = None,
    make: Callable[[Order], Caller | None] | None = None,
) -> None:
    """Do nothing."""


async def settings(other: Other = Other(), note: str | None = None) -> None:  # noqa: B008
    """Do nothing."""


async def many(*bodies: Order) -> None:
    """Do nothing."""


async def any_keywords(**bodies: Caller) -> None:
    """Do nothing."""


async def positional(body: Order, /) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("handler", "advice"),
    [
        (caller_or_another, "expected Caller or `Caller | None`, without a default"),
        (proof_or_text, "expected `Proven | None`, without a default"),
        (late_or_default, "expected a Caller, which has it"),
        (message_or_default, "expected IncomingMessage alone, without a default"),
        (body_or_default, "'order' would be None with each message"),
        (unsaid_default, "leave out the default where it is the body"),
        (untyped, "parameter 'body' cannot be injected; annotate it as Caller"),
        (two_bodies, "first and second are both its body; expected one: bind the other"),
        (two_callers, "first and second are both its caller"),
        (a_number, "or give it a default"),
        (anything, "or as what the body is (a pydantic model, a dataclass"),
        (several_callers, "'body' cannot be injected; annotate it as Caller"),
        (how_late, "'late' cannot be injected; annotate it as Caller"),
        (a_proof_or_a_body, "'body' cannot be injected; annotate it as Caller"),
        (text_or_json, "'body' cannot be injected; annotate it as Caller"),
        (unmakeable, "'body' cannot be injected: list[Service]: pydantic can make no body of it"),
        (caller_or_body, "'who' is annotated as Caller | Order: expected Caller, or `Caller |"),
        (many, "'bodies' cannot be injected"),
        (any_keywords, "'bodies' cannot be injected"),
        (positional, "'body' cannot be injected"),
        (
            late_imports.unresolvable,
            "(name 'Missing' is not defined); import what it names at run time",
        ),
        (Mock(spec=[]), "cannot be injected"),
        (Service, "a class, expected an instance of it"),
        (5, "cannot be called"),
        (generating, "a generator, which runs nothing when it is called"),
        (yielding, "a generator, which runs nothing when it is called"),
        (handed_on, "a wrapper that is not async around a function that is"),
        (bound(handed_on), "a wrapper that is not async around a function that is"),
        (bound(keyword_only, c="secret"), "binds no more than there is"),
        (bound(everything, 1, 2, 3, 4), "its parameters cannot be told"),
    ],
)
def test_what_cannot_be_injected_is_told_at_decoration(
    handler: Callable[..., Any], advice: str
) -> None:
    """The error names the handler, the parameter and what to change."""
    with pytest.raises(TypeError) as caught:
        compile_plan(handler)
    assert advice in str(caught.value)
    assert str(caught.value).startswith(f"{name_of(handler)}: ")


@pytest.mark.parametrize("handler", [caller_or_nobody, optional_caller, caller_or_default])
def test_nobody_is_taken_where_that_is_said(handler: Callable[..., Any]) -> None:
    """`Caller | None`, however it is written, takes a caller, and nobody in shadow."""
    plan = compile_plan(handler)
    assert plan.takes_nobody
    assert plan.arguments(MESSAGE, ALICE) == {"who": ALICE}
    assert plan.arguments(MESSAGE, None) == {"who": None}


def test_who_takes_a_caller_is_never_called_without_one() -> None:
    """A handler without a parameter for one does, and one that demands it does not."""

    async def of_a_publisher(proven: Proven) -> None: ...

    async def of_either(proven: Proven | None) -> None: ...

    assert not compile_plan(keyword_only).takes_nobody
    assert not compile_plan(of_a_publisher).takes_nobody
    assert compile_plan(of_either).takes_nobody
    assert compile_plan(body_alone).takes_nobody


@pytest.mark.parametrize(
    "handler", [synchronous, SyncObject(), SyncObject().__call__, partial(synchronous)]
)
def test_what_blocks_is_a_handler(handler: Callable[..., Any]) -> None:
    """A plain function is told from an async one, and takes the same."""
    plan = compile_plan(handler)
    assert plan.blocks
    assert plan.arguments(MESSAGE, ALICE) == {"body": Order(id=1)}


@dataclass
class Point:
    """A dataclass."""

    x: int
    y: int = 0


class Place(TypedDict):
    """A typed dict."""

    name: str
    at: Point


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: int


Lines = TypeAliasType("Lines", list[Order])
Tagged = Annotated[Left | Right, Field(discriminator="kind")]


def taking(hint: Any) -> Callable[..., Any]:
    """A handler whose parameter is annotated so."""

    async def handler(body: Any) -> None:
        """Do nothing."""

    handler.__annotations__["body"] = hint
    return handler


def read_as(hint: Any, body: bytes, **said: str) -> Any:
    return compile_plan(taking(hint)).arguments(message(body, **said), ALICE)["body"]


@pytest.mark.parametrize(
    ("hint", "body", "expected"),
    [
        (Point, b'{"x": 1}', Point(1)),
        (Place, b'{"name": "a", "at": {"x": 1, "y": 2}}', {"name": "a", "at": Point(1, 2)}),
        (Pair, b"[1, 2]", Pair(1, 2)),
        (list[Order], b'[{"id": 1}, {"id": 2}]', [Order(id=1), Order(id=2)]),
        (dict[str, Point], b'{"a": {"x": 1}}', {"a": Point(1)}),
        (dict, b'{"a": [1]}', {"a": [1]}),
        (tuple[int, ...], b"[1, 2]", (1, 2)),
        (Mapping[str, int], b'{"a": 1}', {"a": 1}),
        (Order | list[Order], b'[{"id": 1}]', [Order(id=1)]),
        (Point | None, b"null", None),
        (Tagged, b'{"kind": "right"}', Right()),
        (list[Tagged], b'[{"kind": "left"}]', [Left()]),
        (Lines, b'[{"id": 1}]', [Order(id=1)]),
        (Annotated[list[int], Field(max_length=2)], b"[1]", [1]),
        (bytes, b"\xff{", b"\xff{"),
        (str, "\N{SNOWMAN}".encode(), "\N{SNOWMAN}"),
        (Annotated[str, Field(max_length=2)], b"ab", "ab"),
    ],
    ids=str,
)
def test_a_body_is_what_it_is_annotated_as(hint: Any, body: bytes, expected: Any) -> None:
    """Whatever pydantic reads JSON as; bytes and text are the body itself."""
    assert read_as(hint, body) == expected


@pytest.mark.parametrize(
    ("hint", "body", "code", "expected", "found"),
    [
        (Point, b"{}", "body.invalid", "Point", "x: missing"),
        (Place, b'{"name": "a", "at": {}}', "body.invalid", "Place", "at.x: missing"),
        (list[Order], b'[{"id": "x"}]', "body.invalid", "list[Order]", "0.id: int_parsing"),
        (dict[str, int], b'{"4111": "x"}', "body.invalid", "dict[str, int]", "*: int_parsing"),
        (Annotated[list[int], Field(max_length=1)], b"[1, 2]", "body.invalid", "list[int]", None),
        (
            Annotated[str, Field(max_length=1)],
            b"ab",
            "body.invalid",
            "str",
            "body: string_too_long",
        ),
        (Point | None, b"{", "body.not_json", "Point | None", "a body that is not JSON"),
        (str, b"\xff", "body.encoding", "text in UTF-8", "bytes that are no UTF-8"),
    ],
    ids=str,
)
def test_a_body_that_does_not_fit_is_refused(
    hint: Any, body: bytes, code: str, expected: str, found: str | None
) -> None:
    """The evidence is as of a model: places and kinds of problems, in names that are fields'."""
    with pytest.raises(BadMessage) as caught:
        read_as(hint, body)
    assert (caught.value.code, caught.value.expected) == (code, expected)
    assert found in (None, caught.value.found)


@pytest.mark.parametrize(
    ("hint", "said", "fits"),
    [
        (str, {"kind": "application/json"}, True),
        (str, {"kind": 'text/plain; charset="UTF-8"'}, True),
        (str, {"kind": "text/plain; charset=latin-1"}, False),
        (str, {"encoding": "gzip"}, False),
        (bytes, {"kind": "text/plain; charset=latin-1", "encoding": "gzip"}, True),
        (list[int], {"kind": "text/plain; charset=latin-1"}, True),
    ],
)
def test_what_a_sender_says_of_a_body(hint: Any, said: dict[str, str], fits: bool) -> None:
    """Text that says to be in another encoding is refused; bytes are taken whatever they are."""
    if fits:
        assert read_as(hint, b"[]", **said) in ("[]", b"[]", [])
    else:
        with pytest.raises(BadMessage) as caught:
            read_as(hint, b"[]", **said)
        assert caught.value.code == "body.encoding"


def refused(body: bytes, encoding: str | None = None) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        compile_plan(keyword_only).arguments(message(body, encoding), ALICE)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("encoding", [None, "", "utf-8", "UTF-8", "utf8", "identity"])
def test_json_in_utf_8_is_read(encoding: str | None) -> None:
    """An encoding that changes nothing is no obstacle."""
    assert compile_plan(keyword_only).arguments(message(encoding=encoding), ALICE)


@pytest.mark.parametrize("encoding", ["gzip", "utf-16", "latin-1", "x", "utf-8, gzip"])
def test_other_encodings_are_refused(encoding: str) -> None:
    """A compressed body is not guessed at."""
    found = refused(b'{"id": 1}', encoding)
    assert (found.code, found.found) == ("body.encoding", encoding)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"hello",
        b"\xff\xfe",
        b'{"id": 1} x',
        b"<order/>",
        b"[" * 100_000,
        b'{"id":' * 50_000,
        b"\x00",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    """What does not parse is told without a word of it."""
    found = refused(body)
    assert (found.code, found.expected) == ("body.not_json", "Order")
    assert found.found == "a body that is not JSON"


SECRET = "4111-1111-1111-1111"


@pytest.mark.parametrize(
    ("body", "evidence"),
    [
        (b"{}", "id: missing"),
        (b"[]", "body: model_type"),
        (b"null", "body: model_type"),
        (f'"{SECRET}"'.encode(), "body: model_type"),
        (f'{{"id": "{SECRET}"}}'.encode(), "id: int_parsing"),
        (b'{"id": 1.5}', "id: int_from_float"),
        (b'{"id": NaN}', "id: finite_number"),
        (f'{{"id": 1, "note": "{SECRET}"}}'.encode(), "note: string_too_long"),
        (f'{{"id": 1, "lines": [{{"a": "{SECRET}"}}]}}'.encode(), "lines.0.*: int_parsing"),
        (b'{"note": 5, "lines": 5}', "id: missing; note: string_type; lines: list_type"),
    ],
)
def test_a_body_that_is_not_the_model_is_refused(body: bytes, evidence: str) -> None:
    """The evidence says where and what kind of problem, and nothing of what stands there."""
    found = refused(body)
    assert (found.code, found.expected, found.found) == ("body.invalid", "Order", evidence)
    assert SECRET not in f"{found!r} {found}"
    assert found.__cause__ is None


def test_only_the_first_problems_are_told() -> None:
    """However wrong a body is, its evidence is short."""
    found = refused(b'{"id": "x", "note": 5, "lines": 5, "more": 1, "yet": 2}')
    assert found.found is not None
    assert found.found.count(";") == 2


def too_deep(value: object) -> object:
    return too_deep(value)


class Endless(BaseModel):
    """A body whose own validator goes too deep."""

    @model_validator(mode="before")
    @classmethod
    def descend(cls, value: Any) -> Any:
        return too_deep(value)


async def endless(body: Endless) -> None:
    """Do nothing."""


def test_a_body_that_is_too_deep_is_refused() -> None:
    """Running out of stack while a body is read is the body's fault."""
    with pytest.raises(BadMessage) as caught:
        compile_plan(endless).arguments(MESSAGE, ALICE)
    assert (caught.value.code, caught.value.found) == ("body.not_json", "too deep")


def test_a_validators_own_message_is_not_told() -> None:
    """What a user's validator says about a value stays inside."""

    class Strict(BaseModel):
        card: str

        @field_validator("card")
        @classmethod
        def refuse(cls, value: str, info: ValidationInfo) -> str:
            raise ValueError(f"bad card {value}")

    async def pay(card: Strict) -> None:
        """Do nothing."""

    pay.__annotations__ = {"card": Strict, "return": None}
    with pytest.raises(BadMessage) as caught:
        compile_plan(pay).arguments(message(f'{{"card": "{SECRET}"}}'.encode()), ALICE)
    assert caught.value.found == "card: value_error"
    assert SECRET not in repr(caught.value)


class Basket(BaseModel):
    """A model whose members a sender names."""

    model_config = ConfigDict(extra="forbid")

    prices: dict[str, int]


async def takes_basket(basket: Basket) -> None:
    """Take one."""


async def takes_anything(body: BaseModel) -> None:
    """Take what no message can be validated as."""


def test_member_names_of_the_body_are_not_evidence() -> None:
    """What a sender calls its members is data, and stays in the body."""
    body = b'{"prices": {"alice@example.com": "x"}, "4111-1111-1111-1111": 1}'
    with pytest.raises(BadMessage) as caught:
        compile_plan(takes_basket).arguments(message(body), ALICE)
    assert caught.value.found == "prices.*: int_parsing; *: extra_forbidden"


def test_a_body_of_no_particular_model_is_told_at_decoration() -> None:
    """Plain BaseModel cannot be validated."""
    with pytest.raises(TypeError, match="cannot be injected"):
        compile_plan(takes_anything)


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (tools, {"order": Order(id=1)}),
        (settings, {}),
        (partial(body_or_default, order=None), {}),
        (partial(caller_or_default, who=None), {}),
    ],
)
def test_a_dependency_keeps_its_default(
    handler: Callable[..., Any], expected: dict[str, Any]
) -> None:
    """What is bound, or stands beside the body, or has a default of its own is left alone."""
    assert compile_plan(handler).arguments(MESSAGE, ALICE) == expected
