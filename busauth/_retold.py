"""An error told again for tools that read `exc_info`: kind, words, frames, causes, and no values.

Sentry, structlog and their like take the exception of a log record apart: its arguments, its notes,
and the locals of every frame, where a raw token is. What they get here is a copy that never ran: an
exception of the same name, words without tokens, and frames with a file, a function and a line.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType, FunctionType, TracebackType

from busauth._redaction import bounded

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_DEEPEST, _FRAMES, _MEMBERS = 10, 100, 10


def retold(error: BaseException) -> ExcInfo:
    """Return an error as logging's `exc_info`: nothing in it leads to a value of the program's."""
    copy = _copy(error, _DEEPEST)
    return type(copy), copy, copy.__traceback__


def _copy(error: BaseException, depth: int) -> BaseException:
    copy = _made(error, depth).with_traceback(_traceback(error.__traceback__))
    for note in getattr(error, "__notes__", ())[:_MEMBERS]:
        copy.add_note(bounded(str(note)))
    if depth and error.__cause__ is not None:
        copy.__cause__ = _copy(error.__cause__, depth - 1)
    elif depth and error.__context__ is not None and not error.__suppress_context__:
        copy.__context__ = _copy(error.__context__, depth - 1)
    copy.__suppress_context__ = error.__suppress_context__
    return copy


def _made(error: BaseException, depth: int) -> BaseException:
    """Make an exception of the same name, whose class takes nothing but its words."""
    if isinstance(error, BaseExceptionGroup):
        some = error.exceptions[: _MEMBERS if depth else 1]
        return BaseExceptionGroup(bounded(error.message), [_copy(each, depth - 1) for each in some])
    kind = type(error)
    return _named(kind.__module__, kind.__qualname__, kind.__name__)(bounded(_words(error)))


@lru_cache(200)
def _named(module: str, qualname: str, name: str) -> type[Exception]:
    return type(name, (Exception,), {"__module__": module, "__qualname__": qualname})


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _traceback(found: TracebackType | None) -> TracebackType | None:
    """Return the same places, the outermost first; of endless recursion, its beginning."""
    copy = None
    for each in reversed(list(islice(_places(found), _FRAMES))):
        copy = TracebackType(copy, _empty_frame(each.tb_frame), -1, each.tb_lineno)
    return copy


def _places(found: TracebackType | None) -> Iterator[TracebackType]:
    while found is not None:
        yield found
        found = found.tb_next


def _empty_frame(frame: FrameType) -> FrameType:
    """Return the frame of a generator that never began: it has no locals, and nobody called it."""
    code, said = frame.f_code, frame.f_globals.get("__name__")
    place = _code(code.co_filename, code.co_name, code.co_qualname)
    called = FunctionType(place, {"__name__": str(said), "__file__": code.co_filename})
    empty: FrameType = called().gi_frame
    return empty


@lru_cache(1000)
def _code(filename: str, name: str, qualname: str) -> CodeType:
    return _never.__code__.replace(co_filename=filename, co_name=name, co_qualname=qualname)


def _never() -> Iterator[None]:
    yield
