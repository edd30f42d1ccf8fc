"""What a service stands in: variables, and the versions of what it is made with."""

import re
from collections.abc import Iterator

from busauth.cli.doctor.catalogue import finding
from busauth.cli.doctor.finding import Finding
from busauth.cli.doctor.subject import Question, Subject
from busauth.settings.loading import unknown_variables

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9][0-9.]*)([^;]*)(;?)")


def look(_subject: Subject, question: Question) -> Iterator[Finding]:
    """Yield what is said in vain, and what is too old."""
    for name, meant in unknown_variables(question.environment):
        found = f"no setting of busauth's{f'; was {meant} meant?' if meant else ''}"
        yield finding("variable-unknown", name, found)
    yield from _old(question)


def _old(question: Question) -> Iterator[Finding]:
    """Compare what is asked for at all times, and of extras what is there."""
    for asked in question.requires:
        read = _REQUIREMENT.match(asked)
        if read is None:
            continue
        name, least = read[1], read[2]
        found = question.installed(name)
        if found is not None and _numbers(found) < _numbers(least):
            yield finding("library-old", name, f"{found} is installed, {least} is asked for")


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers; what stands behind them makes it older or newer by nothing."""
    read = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(each) for each in read[0].split(".")) if read else ()
