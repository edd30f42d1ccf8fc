"""What a door hands out says where it is to be had: users see doors, not the rooms behind them."""

from collections.abc import Mapping
from types import FunctionType
from typing import Any


def hand_out(door: str, names: Mapping[str, Any]) -> None:
    """Show a door as the module of the classes and functions in its `__all__`.

    The first door that hands something out is the one that is shown.

    Args:
        door: the public module's name.
        names: its globals.
    """
    for name in names["__all__"]:
        given = names.get(name)  # None: another door's, which is opened when it is asked for
        if isinstance(given, (type, FunctionType)) and _is_behind(door, given.__module__):
            given.__module__ = door


def _is_behind(door: str, module: str) -> bool:
    """Return whether a module is a room, or lies in the door's own folder."""
    return "._" in module or (door.count(".") > 0 and module.startswith(f"{door}."))
