"""A case that is named with ``-k one-two-3`` is carried out by itself."""

import re

import pytest

_CASE = re.compile(r"(\w+)-(\w+)-(\d+)", re.ASCII)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    named = _CASE.findall(metafunc.config.option.keyword)
    cases = [(*names, int(number)) for *names, number in named if set(names) <= _names(metafunc)]
    metafunc.parametrize("case", cases, ids=["-".join(map(str, case)) for case in cases])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what carries out a named case where none is named."""
    items[:] = [item for item in items if "NOTSET" not in item.name]


def _names(metafunc: pytest.Metafunc) -> frozenset[str]:
    return frozenset(metafunc.module.NAMES)
