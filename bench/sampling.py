"""Where processor time goes: the stack is looked at every few milliseconds of it.

Unlike a tracing profiler this adds nothing to small functions; what C code takes counts for the
Python function that called it.
"""

import json
import signal
import sysconfig
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

_EVERY = 0.001
"""Seconds that are asked for; many kernels count in steps of four times that."""

_ROOTS = (
    sysconfig.get_path("purelib"),
    sysconfig.get_path("stdlib"),
    str(Path(__file__).parents[1]),
)
"""Where packages lie: installed ones, Python's own, this project's."""


class Samples:
    """Counts functions on top of the stack, and anywhere on it, while inside.

    Args:
        path: where the counts are written, as JSON; empty to look at nothing.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._total = 0
        self._own: Counter[str] = Counter()
        self._with_callees: Counter[str] = Counter()

    def __enter__(self) -> None:
        if self._path:
            signal.signal(signal.SIGPROF, self._look)
            signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)

    def __exit__(self, *_: object) -> None:
        if self._path:
            signal.setitimer(signal.ITIMER_PROF, 0)
            Path(self._path).write_text(json.dumps(self._found()))

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        stack = list(dict.fromkeys(_stack(frame)))
        self._total += 1
        self._own.update(stack[:1])
        self._with_callees.update(stack)

    def _found(self) -> dict[str, Any]:
        return {"total": self._total, "own": self._own, "with callees": self._with_callees}


def _stack(frame: FrameType | None) -> list[str]:
    """Return the names of a stack's functions, the running one first."""
    names = []
    while frame is not None:
        names.append(f"{_module(frame.f_code.co_filename)}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return names


def _module(path: str) -> str:
    """Return the part of a path that tells modules apart, the package first."""
    known = next((root for root in _ROOTS if path.startswith(root)), "")
    return path.removeprefix(known).lstrip("/").removesuffix(".py")
