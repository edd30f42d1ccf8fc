"""How a look ahead is printed: a line for each stage, and the end."""

from collections.abc import Iterator, Mapping

from busauth._amqp.judging.foreseen import Foreseen, ForeseenEnd, Stage, StageState
from busauth.cli.options import Exit

_WIDE = max(len(state.value) for state in StageState)

_ENDS: Mapping[ForeseenEnd, str] = {
    ForeseenEnd.ACCEPTED: "Accepted: the handler of {queue} would run.",
    ForeseenEnd.ACCEPTED_LATE: "Accepted late, by {policy}: the handler of {queue} would run.",
    ForeseenEnd.SHADOWED: "In shadow: the handler of {queue} would run as nobody: {detail}",
    ForeseenEnd.REFUSED: "Refused, to {to}: {detail}",
    ForeseenEnd.PARKED: "Parked in {to}, until its caller is back: {detail}",
    ForeseenEnd.DISCARDED: "Discarded: {detail}",
    ForeseenEnd.RETURNED: "Back to {to}, where it was: {detail}",
    ForeseenEnd.DEFERRED: "Not now, and it would wait: {detail}",
    ForeseenEnd.UNKNOWN: "Not known: {detail}",
}


def exit_for(foreseen: Foreseen) -> Exit:
    """Return what a command ends with: done where it is accepted."""
    if foreseen.end.is_accepted:
        return Exit.DONE
    return Exit.OPEN if foreseen.end.is_open else Exit.STAYS


def lines_of(foreseen: Foreseen) -> Iterator[str]:
    """Yield what is printed."""
    for stage in foreseen.stages:
        yield _line(stage)
    yield ""
    yield end_of(foreseen)
    for each in foreseen.unasked:
        if each not in foreseen.detail:
            yield f"Not asked: {each}."


def _line(stage: Stage) -> str:
    found = stage.found or stage.asks
    expected = f" (expected {stage.expected})" if _is_telling(stage) else ""
    return f"{stage.state:<{_WIDE}}  {stage.name:<10} {found}{expected}"


def _is_telling(stage: Stage) -> bool:
    return stage.expected is not None and stage.state in (StageState.REFUSED, StageState.UNKNOWN)


def end_of(foreseen: Foreseen) -> str:
    """Return the end as a sentence."""
    return _ENDS[foreseen.end].format(
        queue=foreseen.queue,
        to=foreseen.copied_to,
        policy=foreseen.policy,
        detail=foreseen.detail,
    )
