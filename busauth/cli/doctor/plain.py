"""A report as text, for a terminal without colours, and for files."""

from collections import Counter
from collections.abc import Iterator

from busauth.cli.doctor.finding import Finding, Report, Severity


def lines(report: Report) -> Iterator[str]:
    """Yield a report line by line."""
    for each in report.findings:
        yield heading(each)
        yield from (f"    {line}" for line in details(each))
        yield ""
    yield summary(report)
    yield from (f"Not looked at: {each}." for each in report.unseen)


def heading(finding: Finding) -> str:
    """Return what a finding is, and where."""
    return f"{finding.kind.severity.upper()} {finding.kind.code}  {finding.where}"


def details(finding: Finding) -> Iterator[str]:
    """Yield what was found, why it matters, what to do, and where more is told."""
    yield finding.found
    yield f"Why: {finding.kind.why}"
    yield f"Do: {finding.kind.todo}"
    yield f"See: {finding.kind.link}"


def summary(report: Report) -> str:
    """Return how much of what was found."""
    counts = Counter(each.kind.severity for each in report.findings)
    if not counts:
        return "Nothing was found."
    return ", ".join(
        f"{counts[each]} {each}{'' if counts[each] == 1 else 's'}" for each in Severity
    )
