"""What a user hands in to be called: functions, methods, partials, and objects with `__call__`.

One reading for all of them: is it async, what is it called, which parameters are left, and what are
they annotated with.
"""

import inspect
import typing
from collections.abc import Callable, Iterator
from functools import partial
from inspect import Parameter
from typing import Any, TypeVar

T = TypeVar("T")

_PURE = "_busauth_pure"
_DEEPEST = 100
"""Partials and wrappers around each other that are looked into."""


def pure(called: T) -> T:
    """Say of a policy or a check of yours that it has no effects: it changes nothing, asks nobody.

    So it is run as well where somebody only looks at what would be decided: `Bus.foresee`, and the
    commands that plan and explain. Use it as a decorator: of a function, or of a policy's class.
    A wrapper around such a function, and a class that inherits from such a class, say so themselves
    or are not run there.

    Raises:
        TypeError: nothing can be said of it: it is no function and no class of yours.
    """
    try:
        setattr(called, _PURE, called)
    except AttributeError:
        raise TypeError(
            f"{name_of(called)}: expected a function or a class of yours, or a partial of one"
        ) from None
    return called


def is_pure(called: object) -> bool:
    """Return whether it says so itself: nothing that stands around it is meant."""
    inner = _without_partials(called)
    inner = getattr(inner, "__func__", inner)  # a method's mark is its function's
    marked = getattr(inner, _PURE, None)
    return marked is not None and (marked is inner or marked is type(inner))


def is_async(called: object) -> bool:
    """Return whether a call of it returns a coroutine.

    A plain function around an async one is none: whether it hands the coroutine on cannot be seen.
    """
    return inspect.iscoroutinefunction(_function(called))


def yields(called: object) -> bool:
    """Return whether a call of it returns a generator, async or not, and runs nothing."""
    function = _function(called)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def wraps_async(called: object) -> bool:
    """Return whether it stands in front of something async, however far behind."""
    return any(map(is_async, _layers(called)))


def name_of(called: object) -> str:
    """Return what to call it in a sentence; of an object, the name of its class."""
    inner = _without_partials(called)
    name = getattr(inner, "__qualname__", None)
    return name if isinstance(name, str) else type(inner).__qualname__


def short_name_of(called: object) -> str:
    """Return that name without the class or function that it is defined in."""
    return name_of(called).rpartition(".")[2]


def documentation_of(called: object) -> str | None:
    """Return its docstring; a partial has that of the class `partial` otherwise."""
    return inspect.getdoc(_without_partials(called))


def parameters_of(called: Callable[..., Any]) -> list[Parameter]:
    """Return the parameters that are left to give: what a partial has bound is given already.

    Raises:
        TypeError, ValueError: it has no signature that can be read, or binds what is not there.
    """
    if isinstance(called, partial):  # anew, as one may say that it wraps what it calls
        called = partial(called.func, *called.args, **called.keywords)
    # `inspect` leaves a keyword that is bound among the parameters, as it could be given again.
    bound = {
        name for each in _layers(called) if isinstance(each, partial) for name in each.keywords
    }
    parameters = inspect.signature(called).parameters.values()
    return [each for each in parameters if each.name not in bound]


def hints_of(called: object) -> dict[str, Any]:
    """Return its annotations, resolved; an outer layer's count above those of what it wraps.

    What is said beside a type (`Annotated`) stays there.

    Raises:
        NameError, AttributeError, SyntaxError, TypeError: one cannot be resolved.
    """
    found: dict[str, Any] = {}
    for layer in reversed(list(_layers(called))):
        found.update(typing.get_type_hints(_function(layer), include_extras=True))
    return found


def _layers(called: object) -> Iterator[object]:
    """Yield it, and what it stands in front of, from the outside in."""
    for _ in range(_DEEPEST):  # one that says that it wraps itself has no end
        yield called
        inner = called.func if isinstance(called, partial) else getattr(called, "__wrapped__", None)
        if inner is None:
            return
        called = inner


def _without_partials(called: object) -> object:
    while isinstance(called, partial):
        called = called.func
    return called


def _function(called: object) -> object:
    """Return what runs: a function or a method as it is, of an object its `__call__`."""
    called = _without_partials(called)
    if inspect.isroutine(called) or isinstance(called, type):
        return called
    return getattr(called, "__call__", called)  # noqa: B004 -- it is read, and not asked for
