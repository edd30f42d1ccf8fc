"""Who acts for whom is told wherever a caller is, by one function."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from busauth import Event, EventKind
from busauth._sinks.json_lines import json_of
from busauth.audit import log_event, told_acting
from busauth.caller import acting_for
from busauth.cli.dev.rows import decided
from busauth.cli.looking.inspecting import inspected_of, lines_of
from busauth.delegation import Actor
from busauth.integrations.console import LetterSeen
from busauth.integrations.otel import AuditLogs
from busauth.sinks import Pseudonyms
from busauth.testing import Issuer
from tests.unit.support import NOW, caller

ISSUER, OTHER = "https://idp.example", "https://agents.example"
CHAIN = (Actor("agent-x", OTHER, "c-1"), Actor("bob"))


def event(**said: object) -> Event:
    known = {"issuer": ISSUER, "subject": "ann", "detail": "got actor agent-x, for ann", **said}
    return Event(kind=EventKind.REFUSED, queue="q", at=NOW, **known)  # type: ignore[arg-type]


def test_one_sentence_says_who_acts() -> None:
    """Alone, a caller is said by name; else who acts, for whom, and through how many."""
    assert acting_for(None, "ann") == "ann"
    assert acting_for("agent-x", "ann") == "agent-x for ann"
    assert told_acting(caller()) == "alice"
    assert told_acting(replace(caller(), actors=CHAIN)) == "agent-x for alice, 2 in the chain"


def test_an_event_tells_the_chain_as_json() -> None:
    """The outermost actor is a field of its own; where nobody acts, there is neither."""
    assert json.loads(json_of(event(actors=CHAIN), None)) == {
        "kind": "refused",
        "queue": "q",
        "at": NOW,
        "issuer": ISSUER,
        "subject": "ann",
        "detail": "got actor agent-x, for ann",
        "actor": "agent-x",
        "actors": [{"subject": "agent-x", "issuer": OTHER, "client": "c-1"}, {"subject": "bob"}],
    }
    assert not {"actor", "actors"} & event().as_json().keys()


@pytest.mark.prints_tokens("an event of a test's own making")
def test_an_actor_brings_no_token_along() -> None:
    """What looks like one is left out of the chain, as out of all text."""
    token = Issuer(url=ISSUER).token("ann")
    assert event(actors=(Actor(token, token),)).as_json()["actors"] == [
        {"subject": "[token]", "issuer": "[token]"}
    ]


def test_the_log_and_the_timeline_name_the_actor(caplog: pytest.LogCaptureFixture) -> None:
    """A line of the log has it beside the subject, and a row says it in words."""
    with caplog.at_level(logging.WARNING):
        log_event(event(actors=CHAIN))
    assert "subject=ann actor=agent-x" in caplog.text
    assert decided(event(actors=CHAIN)).who == "agent-x for ann"


def test_an_actor_may_be_a_person_who_is_forgotten(tmp_path: Path) -> None:
    """Each of the chain has a pseudonym by its own issuer, in the detail as well."""
    names = Pseudonyms(tmp_path / "names")
    said = names.applied(event(actors=CHAIN).as_json())
    ann, agent, bob = (
        names.known(*each) for each in ((ISSUER, "ann"), (OTHER, "agent-x"), (ISSUER, "bob"))
    )
    assert (said["subject"], said["actor"]) == (ann, agent)
    assert [each["subject"] for each in said["actors"]] == [agent, bob]
    assert said["detail"] == f"got actor {agent}, for {ann}"
    unwritable = Pseudonyms(tmp_path / "no" / "names").applied(event(actors=CHAIN).as_json())
    assert not {"subject", "actor", "actors", "detail"} & unwritable.keys()


def test_names_within_each_other_are_each_replaced(tmp_path: Path) -> None:
    """A name that is a part of another one's, or of a pseudonym's, changes no other."""
    names = Pseudonyms(tmp_path / "names")
    said = names.applied(event(subject="p", actors=(Actor("p:x"),), detail="p:x for p").as_json())
    assert said["detail"] == f"{names.known(ISSUER, 'p:x')} for {names.known(ISSUER, 'p')}"


@pytest.mark.parametrize("subjects", [False, True])
async def test_log_records_name_actors_where_they_name_callers(subjects: bool) -> None:
    """Who acts may be a person: it is told where that was asked for."""
    kept = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    async with AuditLogs(provider, subjects=subjects) as sink:
        sink(event(actors=CHAIN))
    (record,) = kept.get_finished_logs()
    attributes = record.log_record.attributes or {}
    assert attributes.get("busauth.actor") == ("agent-x" if subjects else None)
    assert "busauth.actors" not in attributes


def test_a_token_that_is_looked_at_says_who_acts() -> None:
    """By its own word alone, as all that is told there; without an actor there is no line."""

    def acts(**claims: Any) -> Iterator[str]:
        lines = lines_of(inspected_of(Issuer(url=ISSUER).token("ann", **claims), NOW))
        return (line.strip() for line in lines if line.startswith("\nactor"))

    assert list(acts(act={"sub": "agent-x"})) == ["actor   agent-x for ann"]
    assert list(acts()) == []


def test_a_console_says_who_acted() -> None:
    """A letter's caller is shown with who acted for them, where somebody did."""
    shown = LetterSeen(id="1", source="q.dead", subject="ann", actor="agent-x")
    assert (shown.whose, replace(shown, actor=None).whose) == ("agent-x for ann", "ann")
    assert replace(shown, subject=None).whose == "agent-x for nobody known"
