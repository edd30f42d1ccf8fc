"""Groups of errors are looked into: what they hold decides, however deep it lies."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth._amqp.publishing.publisher import raise_if_ending
from busauth.errors import held_by

_LEAVES = st.builds(LookupError, st.integers())
_GROUPS = st.recursive(
    _LEAVES,
    lambda inner: st.builds(lambda held: ExceptionGroup("", held), st.lists(inner, min_size=1)),
)


def _flat(error: Exception) -> list[Exception]:
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _flat(each)]


@given(error=_GROUPS)
def test_all_that_a_group_holds_is_found_in_order(error: Exception) -> None:
    """Nothing in it is left out, and no group is among it."""
    assert list(held_by(error)) == _flat(error)


@given(group=_GROUPS, ending=st.sampled_from([KeyboardInterrupt(), SystemExit(1), GeneratorExit()]))
def test_what_ends_a_process_is_found_in_a_group(group: Exception, ending: BaseException) -> None:
    """It is raised by itself, as in a group nobody would heed it."""
    with pytest.raises(type(ending)) as caught:
        raise_if_ending(BaseExceptionGroup("", [group, BaseExceptionGroup("", [ending])]))
    assert caught.value is ending
    raise_if_ending(group)


def test_a_very_deep_group_is_looked_into() -> None:
    """A group that is nested deeper than a stack is no error by itself."""
    error: Exception = LookupError()
    for _ in range(10_000):
        error = ExceptionGroup("", [error])
    assert [type(each) for each in held_by(error)] == [LookupError]
    while isinstance(error, ExceptionGroup):  # taken apart by hand: its own end would recurse
        (error,) = error.exceptions


async def test_a_cancellation_in_a_group_ends_the_task_that_was_cancelled() -> None:
    """Only the task's own cancellation does; that of something awaited is a failure."""
    group = BaseExceptionGroup("", [LookupError(), asyncio.CancelledError()])
    raise_if_ending(group)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        raise_if_ending(group)
    task.uncancel()
