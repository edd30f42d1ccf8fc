"""`busauth doctor`: look at a service and change nothing."""

import asyncio
import json
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from busauth._extras import MissingExtraError
from busauth.cli.doctor import plain
from busauth.cli.doctor.catalogue import KINDS
from busauth.cli.doctor.examination import examine
from busauth.cli.doctor.finding import Finding, Report, Severity
from busauth.cli.doctor.subject import Question, Subject, of_bus, of_settings, refused
from busauth.cli.options import AsJson, Exit
from busauth.cli.target import bus_for_report
from busauth.errors import ConfigurationError
from busauth.settings.loading import SETTINGS

_EXAMPLE = "busauth doctor shop.orders:bus --fail-on warning"

Target = Annotated[
    str | None, typer.Argument(metavar="MODULE:BUS", help="Such as shop.orders:bus.")
]
File = Annotated[
    Path | None,
    typer.Option("--settings", envvar=SETTINGS, help="The service's settings file."),
]
Look = Annotated[
    bool,
    typer.Option(
        "--look",
        help="Take the oldest message of each queue in hand for a moment; it counts as delivered.",
    ),
]
Management = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The broker's management, asked as the user of the broker's URL."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes, as of `busauth run`.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="For each look.")]
FailOn = Annotated[
    Severity, typer.Option("--fail-on", help="End with 3 for this, or what is worse.")
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="CODE", help="Tell these alone; repeatable.")
]
Skip = Annotated[
    list[str] | None, typer.Option(metavar="CODE", help="Leave these out; repeatable.")
]


def doctor(
    target: Target = None,
    *,
    settings: File = None,
    look: Look = False,
    management: Management = None,
    workers: Workers = 1,
    seconds: Seconds = 15.0,
    as_json: AsJson = False,
    fail_on: FailOn = Severity.ERROR,
    only: Only = None,
    skip: Skip = None,
) -> None:
    """Look at a service, and say what is wrong with it, why, and what to do; change nothing.

    A bus by its module, a settings file, or both: issuers and their keys, the broker, queues,
    rights, policies, files with keys. It ends with 3 where something was found that is as bad as
    --fail-on says. For example: busauth doctor shop.orders:bus --fail-on warning
    """
    if target is None and settings is None:
        raise typer.BadParameter(f"expected MODULE:BUS or --settings FILE, such as {_EXAMPLE}")
    _check_codes("--only", only or ())
    _check_codes("--skip", skip or ())
    subject, known = _subject(target, settings)
    question = Question(seconds=seconds, looks=look, management=management, workers=workers)
    report = _chosen(asyncio.run(examine(subject, question, known)), only or KINDS, skip or ())
    _show(report, as_json=as_json)
    raise typer.Exit(Exit.STAYS if report.at_least(fail_on) else Exit.DONE)


def _check_codes(option: str, codes: Collection[str]) -> None:
    for unknown in (code for code in codes if code not in KINDS):
        raise typer.BadParameter(f"{option} {unknown}: no such code; docs/doctor.md has them all")


def _subject(target: str | None, path: Path | None) -> tuple[Subject, tuple[Finding, ...]]:
    """Return what is to be looked at, and what is wrong with it already."""
    if target is None:
        return of_settings(path)
    if path is not None:
        os.environ[SETTINGS] = str(path)  # for the bus's module
    of_file, known = (Subject(), ()) if path is None else of_settings(path)
    try:
        bus = bus_for_report(target, MissingExtraError)
    except (ConfigurationError, ConnectionError, MissingExtraError) as error:
        told = {each.found for each in known}
        more = (each for each in refused(error, target) if each.found not in told)
        return of_file, (*known, *more)
    # What a file alone is refused for, a module may have made good with parts of its own.
    return of_bus(bus, of_file.settings, path), known if of_file.settings is None else ()


def _chosen(report: Report, only: Collection[str], skip: Collection[str]) -> Report:
    kept = (each for each in report.findings if each.kind.code in only)
    return replace(report, findings=tuple(each for each in kept if each.kind.code not in skip))


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        document = {
            "findings": [each.as_json() for each in report.findings],
            "unseen": report.unseen,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    try:
        from rich.console import Console  # noqa: PLC0415 -- an extra brings it
    except ModuleNotFoundError:
        _plainly(report)
        return
    console = Console(highlight=False)
    if not console.is_terminal:  # what goes to a file or a search stands on one line
        _plainly(report)
        return
    from busauth.cli.doctor.coloured import show  # noqa: PLC0415 -- as above

    show(report, console)


def _plainly(report: Report) -> None:
    for line in plain.lines(report):
        typer.echo(line)
