"""`busauth shadow`: what strict would have refused, and who is in shadow."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from busauth import EventKind
from busauth.cli import app
from busauth.cli.shadow.reading import decided_in
from busauth.cli.shadow.report import Report
from tests.unit.support import NOW, forget_settings


def run(*given: str, **more: Any) -> Result:
    return CliRunner().invoke(app, ["shadow", *given], **more)


def event(kind: str = "shadowed", **said: Any) -> bytes:
    known = {"kind": kind, "queue": "orders", "at": NOW, "code": "header.missing"}
    return json.dumps({**known, **said}).encode() + b"\n"


def test_a_report_counts_by_queue_sender_and_code(tmp_path: Path) -> None:
    """Older parts are read as well and once, other lines are passed over, and 3 says refusals."""
    file = tmp_path / "audit.jsonl"
    file.write_bytes(event(sender="said a", at=NOW + 9) + event("accepted") + b'{"kind": "shad')
    file.with_name("audit.jsonl.1").write_bytes(event(sender="said a", message_id="m") + b"words\n")
    with gzip.open(tmp_path / "audit.jsonl.2.gz", "wb") as older:
        older.write(event(sender="said b", code="token.expired") + event("status") + b"[" * 300_000)
    found = run("report", "--json", *map(str, sorted(tmp_path.iterdir())))
    assert found.exit_code == 3
    told = json.loads(found.stdout)
    assert told["queues"] == [{"queue": "orders", "refused": 3, "accepted": 1}]
    first, second = told["groups"]
    assert (first["sender"], first["count"], first["message_id"]) == ("said a", 2, "m")
    assert (first["first"], first["last"]) == ("2025-06-15T15:06:40Z", "2025-06-15T15:06:49Z")
    assert (second["code"], second["count"]) == ("token.expired", 1)
    shown = run("report", str(file)).stdout
    assert "orders: strict would refuse 3 of 4 (75.0%)" in shown


def test_nothing_to_refuse_is_0_and_no_decision_is_no_proof(tmp_path: Path) -> None:
    """What was accepted alone says that strict may begin; an empty file says nothing."""
    accepted = run("report", "-", input=event("accepted-late"))
    assert (accepted.exit_code, "Strict would refuse nothing." in accepted.stdout) == (0, True)
    empty = tmp_path / "empty"
    empty.touch()
    for found in (
        run("report", str(empty)),
        run("report", str(tmp_path / "none")),
        run("report", "--since", "1h", "-", input=event()),
    ):
        assert (found.exit_code, found.stdout) == (1, "")


def test_an_older_part_that_is_broken_ends_with_a_sentence(tmp_path: Path) -> None:
    """What gzip has cut off or bent is told, not a traceback; half a record proves nothing."""
    (tmp_path / "audit.jsonl").write_bytes(event())
    whole = bytearray(gzip.compress(b"".join(event(message_id=str(n)) for n in range(100))))
    whole[12] ^= 0xFF
    for broken in (whole, whole[:-20], b"no gzip"):
        (tmp_path / "audit.jsonl.1.gz").write_bytes(broken)
        told = run("report", str(tmp_path / "audit.jsonl"))
        assert (told.exit_code, told.stdout) == (1, ""), told.output
        assert "cannot be read" in told.stderr


def test_a_file_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    """As every other command tells it, without a number of the system's."""
    missing = tmp_path / "audit.jsonl"
    told = CliRunner().invoke(app, ["shadow", "report", str(missing)])
    said = f"busauth: {missing}: cannot be read: No such file or directory\n"
    assert (told.exit_code, told.stderr) == (1, said)


def test_a_report_begins_when_it_is_told_to() -> None:
    """A span ends now; an instant has an offset, and anything else is no time."""
    events = event(at=NOW) + event("accepted", at=NOW + 10)
    later = datetime.fromtimestamp(NOW + 5, UTC).isoformat()
    assert run("report", "--since", later, "-", input=events).exit_code == 0
    assert run("report", "--since", "2025-06-15", "-", input=events).exit_code == 2


def test_a_flood_of_senders_has_a_bound() -> None:
    """Who makes up names fills no memory: beyond a bound all are others, and counted."""
    made = [decided_in(event(sender=f"said {each}")) for each in range(10_010)]
    told = Report(each for each in made if each is not None)
    assert told.refused == 10_010
    assert len(told.groups()) == 10_001
    assert told.groups()[0].sender == "(others)"


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        NOW,
        1e300,
        float("nan"),
        float("inf"),
        2**70,
        10**400,
        "",
        "q",
        "\x1b[2J",
        "\ud800",
        [],
    ]
)


@given(
    st.binary(max_size=60)
    | st.fixed_dictionaries(
        {"kind": st.sampled_from([*EventKind, "x", 1, None])},
        optional=dict.fromkeys(("queue", "at", "code", "sender", "message_id"), ODD),
    ).map(lambda said: json.dumps(said).encode())
)
def test_whatever_a_line_is_it_is_read_or_passed_over(line: bytes) -> None:
    """No line ends the report, and what is taken of one can be shown."""
    found = decided_in(line)
    if found is not None:
        told = Report([found])
        assert told.refused + told.accepted == 1
        assert json.dumps(told.as_json()).isascii()


@pytest.mark.parametrize(
    ("days", "code", "told"),
    [(1, 3, "in shadow"), (-1, 0, "ended"), (91, 1, "91 days ahead: expected at most 90")],
)
def test_a_status_says_until_when(
    days: int, code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 says that a consumer is in shadow now; an end that is too far ahead is no setting."""
    forget_settings(monkeypatch)
    until = datetime.now(UTC) + timedelta(days=days, minutes=1)
    file = tmp_path / "busauth.toml"
    file.write_text(f'[consumers."orders.placed".shadow]\nuntil = {until.isoformat()}\n')
    found = run("status", "--settings", str(file))
    assert found.exit_code == code
    assert told in found.output
    if code != 1:
        (row,) = json.loads(run("status", "--json", "--settings", str(file)).stdout)["consumers"]
        assert (row["queue"], row["state"]) == ("orders.placed", told)


def test_a_status_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and ends with 0."""
    forget_settings(monkeypatch)
    file = tmp_path / "busauth.toml"
    file.touch()
    found = run("status", "--settings", str(file))
    assert (found.exit_code, found.stdout) == (0, "No consumer is in shadow.\n")
