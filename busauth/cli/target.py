"""Which bus is meant: `module:bus`, imported from the current folder as `python -m` would."""

import importlib
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from traceback import format_exception
from types import FunctionType

import typer

from busauth._amqp.bus import Bus
from busauth._arguments import kind_of
from busauth.errors import ConfigurationError

_EXPECTED = "expected MODULE:BUS, such as shop.orders:bus"
_MOST_NAMED = 3
_IN_FRONT = frozenset({"busauth", "importlib", "_frozen_importlib", "_frozen_importlib_external"})


def bus_or_traceback(target: str, *told: type[Exception]) -> Bus:
    """Return the bus of `find_bus`, or end with the traceback of its module, from there on.

    Args:
        target: as of `find_bus`.
        told: further kinds of errors whose sentence is enough: they are raised.

    Raises:
        typer.BadParameter: as of `find_bus`.
        ConfigurationError, ConnectionError: the module raises it, and its sentence is enough.
        SystemExit: the module raises something else, which has been shown.
    """
    try:
        return find_bus(target)
    except (typer.BadParameter, ConfigurationError, ConnectionError):
        raise
    except Exception as error:  # whatever a module of a user's raises
        if isinstance(error, told):
            raise
        typer.echo("".join(format_exception(_from_module_on(error))), err=True, nl=False)
        raise SystemExit(1) from None


def bus_for_report(target: str, *told: type[Exception]) -> Bus:
    """Return the bus of `bus_or_traceback`, while standard output stays the command's own.

    Whatever its module prints as it is imported goes to standard error.
    """
    with redirect_stdout(sys.stderr):
        return bus_or_traceback(target, *told)


def _from_module_on(error: Exception) -> Exception:
    """Leave out the frames in front of the module; all are kept where it is not among them."""
    left = error.__traceback__
    while left and left.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _IN_FRONT:
        left = left.tb_next
    is_unread = isinstance(error, SyntaxError)  # of the module itself, which says where
    return error.with_traceback(left) if left or is_unread else error


def find_bus(target: str) -> Bus:
    """Import a module, and return the bus in it.

    What the module itself raises, an ImportError of a module that it imports included, is left as
    it is: its traceback says where.

    Args:
        target: ``module:attribute``; either may have dots.

    Raises:
        typer.BadParameter: there is no such module or attribute, or no bus there.
    """
    name, colon, attribute = target.partition(":")
    if not (colon and all(name.split(".")) and all(attribute.split("."))):
        raise typer.BadParameter(f"got {target!r}: {_EXPECTED}")
    module = _module(name)
    try:
        return _bus(target, _attribute(module, attribute))
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{error.message}{_meant(name, module)}") from None


def _module(name: str) -> object:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not _names(name, error.name):
            raise  # a module that this one imports
        raise typer.BadParameter(
            f"there is no module {error.name!r} to be imported from {folder}: {_EXPECTED}, "
            "run where `python -m` finds it"
        ) from None


def _names(name: str, missing: str | None) -> bool:
    """Whether what is missing is the module that was asked for, or a package that it is in."""
    return missing is not None and (name == missing or name.startswith(f"{missing}."))


def _attribute(found: object, path: str) -> object:
    for step in path.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            raise typer.BadParameter(f"{found!r} has no {step!r}: {_EXPECTED}") from None
    return found


def _bus(target: str, found: object) -> Bus:
    if isinstance(found, Bus):
        return found
    if isinstance(found, FunctionType | type):
        kind = "class" if isinstance(found, type) else "function"
        raise typer.BadParameter(
            f"{target} is a {kind}, which would have to be called: expected a Bus "
            f"at module level, such as `bus = {target.rpartition(':')[2]}()`"
        )
    raise typer.BadParameter(f"{target} is {kind_of(found)}: expected a busauth.Bus")


def _meant(name: str, module: object) -> str:
    """Say which buses a module has at its top; nothing where it has none."""
    held: Mapping[str, object] = getattr(module, "__dict__", {})
    names = [each for each, value in held.items() if isinstance(value, Bus)]
    named = " or ".join(f"{name}:{each}" for each in names[:_MOST_NAMED])
    return f"; did you mean {named}?" if named else ""
