"""What users need comes out of doors, and what comes out of a door says so."""

import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import busauth

ROOT = Path(__file__).parents[2]
DOORS = [
    importlib.import_module(f"busauth{door}")
    for door in (
        *("", ".tokens", ".messages", ".expiry", ".revocation", ".letters", ".settings"),
        *(".sinks", ".delegation"),
        *(".testing", ".integrations.fastapi", ".integrations.httpx", ".integrations.redis"),
        *(".integrations.otel", ".integrations.set_push", ".integrations.starlette"),
        *(".integrations.threads", ".integrations.desk", ".integrations.console"),
        *(".audit", ".caller", ".clock", ".errors"),
    )
]
IMPORT = re.compile(r"^\s*(?:from|import) (busauth[\w.]*)", re.MULTILINE)
PRIVATE = re.compile(r"\._(?!_)")


def handed_out(door: ModuleType) -> list[Any]:
    """Return what a door hands out; a plain module, all that it defines and does not hide."""
    if hasattr(door, "__all__"):
        return [getattr(door, name) for name in door.__all__]
    own = vars(door).items()
    return [
        each
        for name, each in own
        if not name.startswith("_") and getattr(each, "__module__", None) == door.__name__
    ]


PUBLIC = {
    id(each): each
    for door in DOORS
    for each in handed_out(door)
    if isinstance(each, type | FunctionType)
}


def types_in(hint: Any) -> Iterator[type]:
    """Yield busauth's own classes in an annotation."""
    if isinstance(hint, list | tuple):
        for part in hint:
            yield from types_in(part)
        return
    if isinstance(hint, typing.TypeVar):
        yield from types_in(hint.__bound__)
    for part in typing.get_args(hint):
        yield from types_in(part)
    found = typing.get_origin(hint) or hint
    if isinstance(found, type) and found.__module__.split(".")[0] == "busauth":
        yield found


def signatures(public: Any) -> Iterator[Any]:
    """Yield what a user calls or reads of a public name: itself, its methods, its properties."""
    yield public
    if not isinstance(public, type):
        return
    for name, member in list(vars(public).items()):  # options are built while they are looked at
        called = member.fget if isinstance(member, property) else member
        called = getattr(called, "__func__", called)
        if inspect.isfunction(called) and _is_a_users(public, name) and not _is_pydantics(called):
            yield called


def _is_pydantics(called: FunctionType) -> bool:
    """Return whether pydantic has added it: what it calls where a model has a private attribute."""
    return called.__module__.startswith("pydantic.")


def _is_a_users(public: type, name: str) -> bool:
    if name == "__init__":
        return _is_made_by_users(public)
    return name in ("__call__", "__aenter__") or not name.startswith("_")


def _is_made_by_users(public: type) -> bool:
    """Return whether its docstring tells what it takes: what only busauth makes tells nothing."""
    return "Args:" in (public.__doc__ or "")


def test_every_type_in_a_public_signature_comes_out_of_a_door() -> None:
    """Who calls what is public can name what goes in and what comes out."""
    missing = {
        f"{found.__module__}.{found.__qualname__} (in {public.__qualname__})"
        for public in PUBLIC.values()
        for called in signatures(public)
        for name, hint in typing.get_type_hints(called).items()
        if not name.startswith("_")
        for found in types_in(hint)
        if id(found) not in PUBLIC
    }
    assert sorted(missing) == []


def test_what_a_door_hands_out_says_so() -> None:
    """A class's or a function's module, as tools show it, is one that users import from."""
    doors = {door.__name__ for door in DOORS}
    shown = {each.__module__ for each in PUBLIC.values()}
    assert {module for module in shown if PRIVATE.search(module)} == set()
    assert {module for module in shown if module.startswith("busauth")} - doors == set()


def test_the_root_is_for_an_ordinary_day() -> None:
    """It has at most fifty names, each once, and no door bears one of them."""
    assert len(busauth.__all__) == len(set(busauth.__all__)) <= 50
    doors = {module.name for module in pkgutil.iter_modules(busauth.__path__)}
    assert doors.isdisjoint(busauth.__all__)


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "workers").rglob("*.py")],
    ids=lambda page: page.name,
)
def test_nobody_outside_goes_past_a_door(page: Path) -> None:
    """Documents and the example shop import as users do."""
    doors = {door.__name__ for door in DOORS}
    assert set(IMPORT.findall(page.read_text())) <= doors


def test_the_readme_says_where_names_come_from() -> None:
    """What is not the root's, the section that names it imports, or says of which door it is."""
    untold = set[tuple[str, str]]()
    for section in re.split(
        r"^#{2,3} ", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE
    ):
        prose = re.sub(r"^```.*?^```", "", section, flags=re.MULTILINE | re.DOTALL)
        spans = (
            span for span in re.findall(r"`([^`]+)`", prose) if not span.startswith("busauth ")
        )
        named = {word for span in spans for word in re.findall(r"\w+", span)}
        for door in DOORS[1:]:
            names = named & set(getattr(door, "__all__", ())) - set(busauth.__all__)
            if door.__name__ not in section:
                untold |= {(name, door.__name__) for name in names}
    assert untold == set()


def test_no_folder_is_wide() -> None:
    """A room has at most twelve modules, the root sixteen besides its doors."""
    for folder in (ROOT / "busauth").rglob("*"):
        if folder.is_dir() and folder.name != "__pycache__":
            assert len(list(folder.glob("*.py"))) <= 12, folder
    doors = {f"{door.__name__.split('.')[1]}.py" for door in DOORS if "." in door.__name__}
    assert len({path.name for path in (ROOT / "busauth").glob("*.py")} - doors) <= 16
