"""An error told again for tools that read `exc_info`: kind, words, frames, causes, and no values.

Sentry, structlog and their like take the exception of a log record apart: its arguments, its notes,
and the locals of every frame, where a raw token is. What they get here is a copy that never ran: an
exception of the same name, words without tokens, and frames with a file, a function and a line.

Whatever an error is like, it is told: its own code may fail, and then that part of it is left out;
causes, members and frames may be without end, or lead back, and then some of them are told.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType, FunctionType, TracebackType

from busauth._redaction import bounded

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_DEEPEST, _FRAMES, _MEMBERS = 10, 100, 10
"""Causes above each other, frames of one error, members of one group and notes of one error."""

_ERRORS = 50
"""Errors in all, however they hang together."""

_UNTOLD = "an error that cannot be told"


def retold(error: BaseException) -> ExcInfo:
    """Return an error as logging's `exc_info`: nothing in it leads to a value of the program's.

    It never fails, and what it costs has a bound.
    """
    copy = _Copying().copy(error, _DEEPEST)
    return type(copy), copy, copy.__traceback__


def words_of(error: BaseException) -> str:
    """Return what an error says, and nothing where that fails: its words may be its own code."""
    return _text(error)


class _Copying:
    """The copy of one error, with so many others in it at most."""

    def __init__(self) -> None:
        self._left = _ERRORS

    def copy(self, error: BaseException, depth: int) -> BaseException:
        self._left -= 1
        try:
            return self._copied(error, depth)
        except KeyboardInterrupt:  # the user's, and not the error's
            raise
        except BaseException:  # what an error's own code raises, of whatever kind
            return Exception(_UNTOLD)

    def _copied(self, error: BaseException, depth: int) -> BaseException:
        copy = self._made(error, depth).with_traceback(_traceback(error.__traceback__))
        notes = getattr(error, "__notes__", ())
        for note in notes[:_MEMBERS] if isinstance(notes, list | tuple) else ():
            copy.add_note(bounded(_text(note)))
        cause, context = error.__cause__, error.__context__
        if cause is not None and self._goes_on(depth):
            copy.__cause__ = self.copy(cause, depth - 1)
        elif context is not None and not error.__suppress_context__ and self._goes_on(depth):
            copy.__context__ = self.copy(context, depth - 1)
        copy.__suppress_context__ = bool(error.__suppress_context__)
        return copy

    def _goes_on(self, depth: int) -> bool:
        return depth > 0 and self._left > 0

    def _made(self, error: BaseException, depth: int) -> BaseException:
        """Make an exception of the same name, whose class takes nothing but its words."""
        if isinstance(error, BaseExceptionGroup) and self._goes_on(depth):
            words = bounded(error.message)
            # The first whatever is left, as a group has one member at least.
            members = [
                self.copy(each, depth - 1)
                for number, each in enumerate(error.exceptions[:_MEMBERS])
                if not number or self._left > 0
            ]
            return BaseExceptionGroup(words, members)
        kind = type(error)
        try:
            copied = _named(kind.__module__, kind.__qualname__, kind.__name__)
        except Exception:  # a name that no class can have, or that is no text
            copied = Exception
        return copied(bounded(_text(error)))


@lru_cache(200)  # a class costs more than all else here
def _named(module: str, qualname: str, name: str) -> type[Exception]:
    members = {"__module__": bounded(module), "__qualname__": bounded(qualname)}
    return type(bounded(name), (Exception,), members)


def _text(value: object) -> str:
    try:
        return str(value)
    except KeyboardInterrupt:
        raise
    except BaseException:  # as in `copy`
        return ""


def _traceback(found: TracebackType | None) -> TracebackType | None:
    """Return the same places, the outermost first; of endless recursion, its beginning."""
    copy = None
    for each in reversed(list(islice(_places(found), _FRAMES))):
        code, said = each.tb_frame.f_code, each.tb_frame.f_globals.get("__name__")
        place = _code(code.co_filename, code.co_name, code.co_qualname)
        called = FunctionType(place, {"__name__": _text(said), "__file__": code.co_filename})
        # That of a generator which never began: it has no locals, and nobody called it.
        empty: FrameType = called().gi_frame
        copy = TracebackType(copy, empty, -1, each.tb_lineno or 0)
    return copy


def _places(found: TracebackType | None) -> Iterator[TracebackType]:
    while found is not None:
        yield found
        found = found.tb_next


@lru_cache(1000)  # an error that comes again and again comes from the same places
def _code(filename: str, name: str, qualname: str) -> CodeType:
    return _never.__code__.replace(co_filename=filename, co_name=name, co_qualname=qualname)


def _never() -> Iterator[None]:
    yield
