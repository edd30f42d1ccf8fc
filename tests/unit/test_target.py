import sys
from pathlib import Path

import pytest
import typer

from busauth import Bus
from busauth.cli.target import bus_or_traceback, find_bus

_BUS = """
from busauth import Bus, Guard
guard = Guard(issuer="https://idp.example", audience="shop")
bus = Bus("amqp://localhost/", guard=guard, service="shop")
class here: bus = bus
def make(): return bus
number = 7
"""


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    (tmp_path / "target_shop.py").write_text(_BUS)
    (tmp_path / "target_needy.py").write_text("import target_that_is_not_there\n")
    (tmp_path / "target_unread.py").write_text("bus = (\n")
    (tmp_path / "target_early.py").write_text("from busauth import Guard\nGuard.nobody()\n")


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("target", ["target_shop:bus", "target_shop:here.bus"])
def test_found(target: str) -> None:
    """A bus is found in a module of the current folder."""
    assert isinstance(find_bus(target), Bus)


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("target_shop", "expected MODULE:BUS"),
        ("target_shop:", "expected MODULE:BUS"),
        (":bus", "expected MODULE:BUS"),
        ("target_absent:bus", "there is no module 'target_absent'"),
        ("target_absent.orders:bus", "there is no module 'target_absent'"),
        ("target_shop.orders:bus", "there is no module 'target_shop.orders'"),
        (".target_shop:bus", "expected MODULE:BUS"),
        ("target_shop:here..bus", "expected MODULE:BUS"),
        ("target_shop:buss", "has no 'buss'"),
        ("target_shop:number", "is an int: expected a busauth.Bus"),
        ("target_shop:guard", "guard is a Guard: expected a busauth.Bus; did you mean target_"),
        ("target_shop:buss", "; did you mean target_shop:bus?"),
        ("target_shop:here", "here is a class, which would have to be called"),
        ("target_shop:make", "would have to be called"),
    ],
)
def test_told(target: str, said: str) -> None:
    """What is no bus is told in a sentence: what was found, and what is expected."""
    with pytest.raises(typer.BadParameter) as told:
        find_bus(target)
    assert said in str(told.value)


@pytest.mark.usefixtures("_folder")
def test_modules_own_error() -> None:
    """A module that imports what is not there is not taken for one that is not there."""
    with pytest.raises(ModuleNotFoundError, match="target_that_is_not_there"):
        find_bus("target_needy:bus")


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("needy", 'target_needy.py", line 1', "ModuleNotFoundError: No module named 'target_that"),
        ("unread", 'target_unread.py", line 1', "SyntaxError: "),
        ("early", 'target_early.py", line 2', "AttributeError: "),
    ],
)
def test_traceback_begins_with_the_module(
    name: str, first: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who reads a traceback of theirs does not read how busauth came to import it."""
    with pytest.raises(SystemExit) as ended:
        bus_or_traceback(f"target_{name}:bus")
    told = capsys.readouterr().err
    assert ended.value.code == 1
    files = [line for line in told.splitlines() if line.startswith("  File ")]
    assert first in files[0]
    assert "importlib" not in told
    assert told.splitlines()[-1].startswith(last)


@pytest.mark.usefixtures("_folder")
def test_traceback_of_busauths_own_is_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no module of the user's is to blame, nothing is left out."""
    monkeypatch.setattr("busauth.cli.target._names", None)
    with pytest.raises(SystemExit):
        bus_or_traceback("target_absent:bus")
    assert "in _module" in capsys.readouterr().err
