"""The caller, and the lease under which a handler acts for them."""

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from busauth.caller import (
    Caller,
    Late,
    Lease,
    acting,
    as_nobody,
    caller_in_scope,
    current_lease,
    lease_for,
    read_only,
)
from busauth.errors import CallerError
from tests.unit.support import NOW, caller, token

RAW = token()


def with_lease() -> Caller:
    return caller(claims=read_only({"nested": {"list": [1, {"a": 2}]}}), _lease=Lease(RAW))


def test_a_caller_hands_out_its_token() -> None:
    """Inside the handler the raw token can be sent on."""
    assert with_lease().bearer() == RAW


def test_a_caller_without_a_lease_has_no_token() -> None:
    """A caller that was made for a test carries nothing."""
    with pytest.raises(CallerError, match="no token"):
        caller().bearer()


def test_an_ended_lease_hands_out_nothing() -> None:
    """Once ended, always ended, for the first reason; the token is forgotten."""
    lease = Lease(RAW)
    lease.end("the first reason")
    lease.end("another")
    with pytest.raises(CallerError, match="the first reason"):
        lease.token()
    assert RAW not in str(lease._token)


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(repr, id="repr"),
        pytest.param(str, id="str"),
        pytest.param(lambda one: f"{one!r:}", id="format"),
        pytest.param(lambda one: repr(asdict(one)), id="asdict"),
        pytest.param(lambda one: repr(copy.deepcopy(one)), id="deepcopy"),
        pytest.param(lambda one: repr(asdict(copy.deepcopy(one))), id="both"),
        pytest.param(lambda one: repr([one, {"caller": one}]), id="containers"),
        pytest.param(lambda one: repr(replace(one, subject="bob")), id="replace"),
        pytest.param(lambda one: repr(one._lease), id="lease"),
    ],
)
def test_no_rendering_of_a_caller_shows_the_token(shown: Callable[[Caller], str]) -> None:
    """Whichever way a caller is printed or taken apart, the token is not in it."""
    text = shown(with_lease())
    assert "Lease" in text or "alice" in text or "bob" in text
    for part in RAW.split("."):
        assert part not in text


def test_a_token_cannot_be_pickled_or_copied() -> None:
    """A lease stays in its process, and there is one of it."""
    lease = Lease(RAW)
    for attempt in (pickle.dumps, copy.copy, json.dumps):
        with pytest.raises(TypeError):
            attempt(lease)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(with_lease())
    assert copy.deepcopy(lease) is lease
    assert RAW not in repr(lease)


def test_a_caller_without_a_lease_can_be_pickled() -> None:
    """An identity without a token may travel between processes."""
    original = replace(with_lease(), _lease=None)
    again = pickle.loads(pickle.dumps(original))
    assert again == original
    assert again.claims == original.claims


def test_claims_are_read_only_on_every_level() -> None:
    """What handlers share nobody can change."""
    claims = with_lease().claims
    with pytest.raises(TypeError):
        claims["new"] = 1  # type: ignore[index]  # that is the point
    with pytest.raises(TypeError):
        claims["nested"]["list"] = []
    with pytest.raises(TypeError):
        claims["nested"]["list"][1]["a"] = 3
    with pytest.raises(TypeError):
        del claims["nested"]  # type: ignore[attr-defined]  # that is the point
    assert claims["nested"]["list"] == (1, {"a": 2})
    assert dict(claims["nested"]) == {"list": (1, {"a": 2})}
    assert (len(claims), list(claims), "nested" in claims) == (1, ["nested"], True)


def test_a_deep_copy_is_as_read_only_as_the_original() -> None:
    """Copying is no way around."""
    claims = copy.deepcopy(with_lease()).claims
    with pytest.raises(TypeError):
        claims["nested"]["list"] = []


def test_a_caller_is_frozen() -> None:
    """An identity does not change."""
    with pytest.raises(FrozenInstanceError):
        caller().subject = "mallory"  # type: ignore[misc]  # that is the point


def test_callers_are_equal_by_identity_not_by_lease() -> None:
    """Two verifications of one token are the same caller."""
    assert with_lease() == caller()
    assert hash(with_lease()) == hash(caller())
    assert caller(subject="bob") != caller()


def test_a_restricted_callers_token_cannot_be_sent_on() -> None:
    """Sending on a token with more authority than was left would give it back."""
    restricted = caller(late=Late(NOW, 60, "Restrict", NOW + 90, restricted=True))
    with pytest.raises(CallerError, match="less authority"):
        lease_for(restricted, RAW).token()
    for usual in (caller(), caller(late=Late(NOW, 60, "Grace", NOW + 90))):
        assert lease_for(usual, RAW, hop=2).token() == RAW


def test_nobody_is_in_scope_by_default() -> None:
    """Without a handler there is no caller, and the error says what to do."""
    assert not caller_in_scope()
    with pytest.raises(CallerError, match="ANONYMOUS"):
        current_lease()


def test_a_scope_ends_its_lease_whatever_happens() -> None:
    """A handler that raises leaves nothing in scope, and no usable token."""
    lease = Lease(RAW, hop=3)

    def failing() -> None:
        with acting(lease):
            assert current_lease() is lease
            assert (current_lease().token(), current_lease().hop) == (RAW, 3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert not caller_in_scope()
    with pytest.raises(CallerError, match="handler has ended"):
        lease.token()


def test_scopes_nest() -> None:
    """What was in scope before is in scope again."""
    outer, inner = Lease("outer"), Lease("inner")
    with acting(outer):
        with acting(inner):
            assert current_lease() is inner
        assert current_lease() is outer


async def test_a_task_that_outlives_its_handler_sees_that_it_ended() -> None:
    """A leftover task cannot act for somebody whose handler is done."""
    go = asyncio.Event()

    async def leftover() -> str:
        assert caller_in_scope()
        await go.wait()
        return current_lease().token()

    with acting(Lease(RAW)):
        task = asyncio.ensure_future(leftover())
        await asyncio.sleep(0)
    go.set()
    with pytest.raises(CallerError, match="handler has ended"):
        await task


async def test_tasks_do_not_see_each_others_callers() -> None:
    """Two hundred handlers that interleave each act for their own caller."""

    async def handle(name: str) -> str:
        with acting(Lease(name)):
            for _ in range(5):
                await asyncio.sleep(0)
                assert current_lease().token() == name
            return await asyncio.create_task(nested())

    async def nested() -> str:
        await asyncio.sleep(0)
        return current_lease().token()

    names = [f"caller-{number}" for number in range(200)]
    assert await asyncio.gather(*map(handle, names)) == names
    assert not caller_in_scope()


def test_a_callees_context_does_not_come_back() -> None:
    """What happens in a copied context stays there."""
    scope, callee = acting(Lease(RAW)), copy_context()
    callee.run(scope.__enter__)
    assert callee.run(caller_in_scope)
    assert not caller_in_scope()
    callee.run(scope.__exit__, None, None, None)
    assert not callee.run(caller_in_scope)


@pytest.mark.parametrize("value", [None, 1, 1.5, True, "text", (1, 2)])
def test_plain_values_are_read_only_already(value: object) -> None:
    """What cannot be changed is left as it is."""
    assert read_only(value) is value


def inherited() -> Lease | None:
    """Return what whoever is called here would publish under."""
    return current_lease() if caller_in_scope() else None


async def test_who_is_started_as_nobody_inherits_nobody() -> None:
    """Tasks, callbacks and threads that begin inside have no caller, whoever starts them."""
    loop, called = asyncio.get_running_loop(), list[Lease | None]()

    async def task() -> Lease | None:
        await asyncio.sleep(0)
        return inherited()

    async def library() -> list[asyncio.Task[Lease | None]]:
        await asyncio.sleep(0)
        return [asyncio.create_task(task()), asyncio.ensure_future(task())]

    with acting(Lease(RAW)):
        with as_nobody():
            started = [asyncio.create_task(task()), *await library()]
            loop.call_soon(lambda: called.append(inherited()))
            called.append(await asyncio.to_thread(inherited))
        assert [await each for each in started] == [None] * 3
        assert called == [None, None]


async def test_outside_of_as_nobody_nothing_changes() -> None:
    """Before, after, in children that are the handler's, and when something fails inside."""

    async def child() -> Lease | None:
        return inherited()

    lease = Lease(RAW)
    with acting(lease):
        waiting = asyncio.create_task(child())
        with pytest.raises(ValueError, match="inside"), as_nobody(), as_nobody():
            raise ValueError("inside")
        assert inherited() is lease
        assert await waiting is lease
        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(child())
        assert grouped.result() is lease
        assert lease.token() == RAW
    with as_nobody():
        assert not caller_in_scope()
    assert not caller_in_scope()


def test_as_nobody_leaves_the_rest_of_the_context() -> None:
    """A trace, for example, is inherited as ever."""
    trace: ContextVar[str] = ContextVar("trace")
    trace.set("t-1")
    with acting(Lease(RAW)), as_nobody():
        assert copy_context()[trace] == "t-1"


def test_publishing_as_nobody_says_what_to_do() -> None:
    """Nobody has no token; an identity is said out loud."""
    with acting(Lease(RAW)), as_nobody(), pytest.raises(CallerError, match="pass token="):
        current_lease()
