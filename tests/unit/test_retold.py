"""Errors for tools that read `exc_info`: kind, words, frames and causes, and no value."""

import asyncio
import gc
import logging
import traceback
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth._redaction import REDACTED, redacted_traceback
from busauth._retold import _DEEPEST, _ERRORS, _places, retold
from busauth.audit import LOGGER
from tests.unit.support import Signer, token

RAW = token(Signer("ES256"))


class OrderError(Exception):
    """A handler's own, with what it was made of."""

    def __init__(self, order: int, given: str) -> None:
        super().__init__(order, given)
        self.given = given


def failing(given: str) -> None:
    secret = given
    try:
        int(secret)
    except ValueError as error:
        error.add_note(f"seen {secret}")
        raise OrderError(5, secret) from error


def caught(given: str = RAW) -> BaseException:
    with pytest.raises(OrderError) as found:
        failing(given)
    return found.value


def reachable(found: object) -> list[Any]:
    """Return all that hangs on an object, but for what every program shares."""
    shared = (type, ModuleType, FunctionType)
    seen: dict[int, Any] = {}
    todo = [found]
    while todo:
        each = todo.pop()
        if id(each) not in seen and not isinstance(each, shared):
            seen[id(each)] = each
            todo += gc.get_referents(each)
    return list(seen.values())


def test_what_a_tool_gets_leads_to_no_token() -> None:
    """Whatever a tool follows (arguments, notes, frames, locals, causes) leads elsewhere."""
    error = caught()
    told = retold(error)
    assert any(each is RAW for each in reachable(error))
    assert not any(isinstance(each, str) and RAW in each for each in reachable(told))
    for frame in (each for each in reachable(told) if isinstance(each, FrameType)):
        assert frame.f_locals == {}
        assert frame.f_back is None
        assert frame.f_globals.keys() <= {"__name__", "__file__"}


def test_it_reads_like_the_error_itself() -> None:
    """A formatter writes the same lines, but for the token: kind, file, line, function, cause."""
    error = caught()
    kind, told, place = retold(error)
    assert (kind.__name__, kind.__module__) == ("OrderError", __name__)
    lines = [line for line in redacted_traceback(error).splitlines() if "^" not in line]
    assert "".join(traceback.format_exception(kind, told, place)).splitlines() == lines
    assert REDACTED in str(told)


def test_a_log_record_has_it_and_its_text() -> None:
    """A handler of logging's own writes the traceback below the message."""
    entry = logging.LogRecord("busauth", logging.ERROR, "x", 1, "failed", (), retold(caught()))
    shown = logging.Formatter().format(entry)
    assert shown.startswith("failed\nTraceback (most recent call last):\n")
    assert f"{__name__}.OrderError: (5, '{REDACTED}')" in shown
    assert RAW[:20] not in shown


def test_a_group_keeps_its_members() -> None:
    """Each member of an exception group is told again, and of many some."""
    group = BaseExceptionGroup(f"two {RAW}", [caught(), *(ValueError(RAW) for _ in range(50))])
    _, told, _ = retold(group)
    assert isinstance(told, ExceptionGroup)
    assert len(told.exceptions) == 10
    assert not any(isinstance(each, str) and RAW in each for each in reachable(told))


class Silent(Exception):  # noqa: N818 -- named for what it does
    """An error whose words fail."""

    def __str__(self) -> str:
        raise RuntimeError


def recursive() -> None:
    recursive()


def test_whatever_an_error_is_like_it_is_told() -> None:
    """Endless recursion, long chains, words that fail or are long: all is bounded."""
    with pytest.raises(RecursionError) as deep:
        recursive()
    place, count = retold(deep.value)[2], 0
    while place is not None:
        place, count = place.tb_next, count + 1
    assert count == 100
    chain: BaseException = ValueError("first")
    for _ in range(1000):
        after = ValueError("next")
        after.__cause__, chain = chain, after
    assert len(reachable(retold(chain)[1])) < 1000
    assert str(retold(Silent())[1]) == ""
    assert len(str(retold(ValueError("x" * 10**6))[1])) < 20_000
    circular = ValueError("circular")
    circular.__context__ = OSError("other")
    circular.__context__.__context__ = circular
    assert retold(circular)[1].__context__ is not None


class Unsaid:
    """A note whose words fail."""

    def __str__(self) -> str:
        raise LookupError


class Ending(Exception):  # noqa: N818 -- named for what it does
    """An error whose words end a task, and whose cause cannot be asked for."""

    def __str__(self) -> str:
        raise asyncio.CancelledError

    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise GeneratorExit


Nameless = type("Nameless", (Exception,), {"__module__": 5})


class Counted(ValueError):  # noqa: N818 -- named for what it does
    """An error that counts how often it is looked at."""

    looks = 0

    def __str__(self) -> str:
        Counted.looks += 1
        return f"counted {RAW}"


kinds = st.sampled_from([Counted, OrderError, Silent, Ending, Nameless])
notes = (
    st.none()
    | st.integers()
    | st.just({"a": 1})
    | st.lists(st.builds(Unsaid) | st.integers() | st.just(RAW), max_size=20)
)


def made_of(kind: type[Exception], some: list[Exception]) -> Exception:
    if kind is OrderError:
        return OrderError(1, RAW)
    return ExceptionGroup(RAW, some) if kind is ExceptionGroup else kind(RAW)


@st.composite
def odd_errors(draw: st.DrawFn) -> BaseException:
    """Errors with causes, contexts, members and notes, which may lead back to each other."""
    made: list[Exception] = [Counted()]
    for _ in range(draw(st.integers(0, 8))):
        some = draw(st.lists(st.sampled_from(made), min_size=1, max_size=12))
        kind = draw(st.just(ExceptionGroup) | kinds)
        error = made_of(kind, some)
        if kind is not Ending:
            error.__cause__ = draw(st.none() | st.sampled_from(made))
        error.__context__ = draw(st.none() | st.sampled_from(made))
        error.__notes__ = draw(notes)  # type: ignore[arg-type]  # odd
        error.__suppress_context__ = draw(st.booleans())
        made.append(error)
        before = draw(st.sampled_from(made))
        before.__context__ = draw(st.sampled_from(made))
    return made[-1]


@given(error=odd_errors())
def test_however_odd_an_error_is_it_is_told_at_a_price(error: BaseException) -> None:
    """Nothing of it fails, no more than some of it is looked at, and nothing leads to a token."""
    Counted.looks = 0
    _, told, _ = retold(error)
    assert Counted.looks <= _ERRORS + _DEEPEST
    found = reachable(told)
    assert sum(isinstance(each, BaseException) for each in found) <= _ERRORS + _DEEPEST
    assert not any(isinstance(each, str) and RAW in each for each in found)
    assert traceback.format_exception(told)


def test_a_tree_of_groups_costs_no_more_than_some_of_it() -> None:
    """Ten in each of ten levels are not a million."""
    error: Exception = Counted()
    for _ in range(10):
        error = ExceptionGroup("g", [error] * 10)
    Counted.looks = 0
    retold(error)
    assert Counted.looks <= _ERRORS + _DEEPEST


def _no_lines(code: CodeType) -> bytes:
    """A location table whose entries, for eight code units each, all say "no location".

    An empty table will not do: CPython reads past its end when it looks for a line.
    """
    return bytes([0b1_1111_111]) * -(-len(code.co_code) // 16)


def test_a_place_without_a_line() -> None:
    """Code that was generated has none: the error is told all the same."""
    with pytest.raises(RecursionError) as found:
        exec(recursive.__code__.replace(co_linetable=_no_lines(recursive.__code__)))
    places = [each.tb_lineno for each in _places(found.value.__traceback__)]
    assert None in places
    assert "RecursionError" in "".join(traceback.format_exception(retold(found.value)[1]))


def test_a_log_that_fails_changes_nothing() -> None:
    """What a user's filter or handler raises goes no further, and lines name who wrote them."""
    log, seen = logging.getLogger("busauth"), []

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.funcName)
            raise LookupError

    handler = Failing()
    log.addHandler(handler)
    try:
        LOGGER.error("x", exc_info=retold(caught()))
    finally:
        log.removeHandler(handler)
    assert seen == ["test_a_log_that_fails_changes_nothing"]


@given(words=st.text(max_size=50), before=st.text(max_size=5))
def test_words_are_those_of_the_error(words: str, before: str) -> None:
    """What has no token in it is told as it is."""
    assert str(retold(ValueError(f"{before} {words}"))[1]) == f"{before} {words}"
