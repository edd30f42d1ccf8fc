"""All looks at a service, each for so long and no longer: what one cannot see hides no other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial

from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.keys.key import StaticKeys
from busauth._tokens.verifier import Verifier
from busauth.cli.doctor.catalogue import Findings
from busauth.cli.doctor.finding import Finding, Report, told
from busauth.cli.doctor.looks import broker, issuers, management, secrets, service, surroundings
from busauth.cli.doctor.subject import Question, Subject

Looking = Callable[[Findings], Awaitable[None]]


async def examine(subject: Subject, question: Question, known: Iterable[Finding] = ()) -> Report:
    """Return all that is found.

    Args:
        subject: the service.
        question: how to look.
        known: what was found before there was a service.
    """
    looks: list[tuple[str, Looking]] = [
        ("the configuration", partial(_at_once, subject, question)),
        ("the broker", partial(broker.look, subject, question)),
        ("the management", partial(management.look, subject, question)),
        *(
            (each.issuer, partial(issuers.look, each, subject.clock))
            for each in _verifiers(subject)
        ),
    ]
    findings = Findings(known)
    await asyncio.gather(*(_within(*look, question.seconds, findings) for look in looks))
    ordered = sorted(
        dict.fromkeys(findings), key=lambda it: (it.kind.severity.rank, it.kind.code, it.where)
    )
    return Report(tuple(ordered), tuple(_unseen(subject, question)))


async def _at_once(subject: Subject, question: Question, findings: Findings) -> None:
    for look in (surroundings.look, secrets.look, service.look):
        findings += look(subject, question)


async def _within(what: str, look: Looking, seconds: float, findings: Findings) -> None:
    """Look, and tell where that did not come to its end."""
    try:
        async with asyncio.timeout(seconds):
            await look(findings)
    except TimeoutError:
        findings.add("look-unfinished", what, f"not done after {seconds:g} s")
    except Exception as error:  # whatever a look meets, the others go on
        findings.add("look-unfinished", what, f"{type(error).__name__}: {told(error)}")


def _verifiers(subject: Subject) -> Iterator[Verifier]:
    for each in () if subject.guard is None else subject.guard.verifiers:
        if isinstance(each, Verifier):
            yield each


def _unseen(subject: Subject, question: Question) -> Iterator[str]:
    """Tell what nobody has looked at, and how it would be."""
    if subject.guard is None:
        yield "issuers, policies, queues: no guard can be made of what is said"
        return
    if not subject.is_whole:
        yield "handlers, and what they demand: only their module knows (MODULE:BUS)"
    for each in subject.guard.verifiers:
        if not isinstance(each, Verifier):
            yield f"{getattr(each, 'issuer', each)}: is asked about each token, and was not asked"
        elif not isinstance(each.keys, JWKS | StaticKeys):
            yield f"{each.issuer}: its keys come from somewhere of your own"
    if subject.url is None:
        yield "the broker: none is named ([bus] url)"
        return
    yield from _unseen_there(question)


def _unseen_there(question: Question) -> Iterator[str]:
    if not question.looks:
        yield "how old the oldest messages are: --look takes one of each queue in hand"
    if question.management is None:
        yield "policies and feature flags of the broker's: --management URL asks for them"
