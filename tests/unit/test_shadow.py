"""What an operator says of a consumer in shadow, and what is taken of it."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from busauth import (
    ConfigurationError,
    ConsumerOptions,
    Forbidden,
    Guard,
    GuardOptions,
    NotGenuine,
    Refused,
    Untimely,
    load_settings,
    log_event,
)
from busauth._amqp.shadowing.shadow import FAMILIES, NEVER, may_be_first
from busauth._amqp.shadowing.shadows import Shadows
from busauth._decision import Discarded, Parked
from busauth.settings import Shadow
from busauth.testing import ManualClock
from tests.parties import DAY
from tests.unit.support import NOW, forget_settings

PAGE = (Path(__file__).parents[2] / "docs" / "refusals.md").read_text("utf-8")
UNTIL = datetime.fromtimestamp(NOW + DAY, UTC)


def shadow(**said: Any) -> Shadow:
    return Shadow(**{"until": UNTIL, **said})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"until": "2026-03-31"}, "expected an instant with its offset, such as 2026-12-31T00:"),
        ({"until": "2026-03-31T00:00:00"}, "expected an instant with its offset"),
        ({"until": datetime(2026, 3, 31)}, "expected an instant with its offset"),  # noqa: DTZ001
        ({"until": 1_790_000_000}, "expected an instant with its offset"),
        ({"until": "soon"}, "expected an instant with its offset"),
        ({"codes": []}, "expected a code at least"),
        ({"codes": ["body.invalid"]}, "body.invalid is handed over to nobody: expected codes of"),
        ({"codes": ["replay.*"]}, "replay.* is handed over to nobody"),
        ({"codes": ["*"]}, "* is handed over to nobody"),
        ({"codes": ["proof.relay"]}, "proof.relay is handed over to nobody"),
        ({"untill": UNTIL}, "there is no such key; did you mean until?"),
    ],
)
def test_a_wrong_shadow_is_one_sentence(said: dict[str, Any], told: str) -> None:
    """An end has an offset; codes are of those families alone, none that comes back."""
    with pytest.raises(ConfigurationError) as caught:
        shadow(**said)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "code", [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
)
def test_a_code_is_handed_over_where_it_is_about_who_asks(code: str) -> None:
    """Of all codes there are, those of six families, and never what only comes back meets."""
    covered = shadow().covers(Refused(code))
    assert covered == (code.split(".", maxsplit=1)[0] in FAMILIES and code not in NEVER)
    assert not shadow(codes=("header.scheme",)).covers(Refused(code)) or code == "header.scheme"


def test_a_policys_own_place_stays() -> None:
    """What it parks or discards is not handed over, although it has expired."""
    told = shadow()
    kinds: list[tuple[type[Refused], bool]] = [
        (Untimely, True),
        (Parked, False),
        (Discarded, False),
    ]
    assert [told.covers(kind("token.expired")) for kind, _ in kinds] == [
        is_so for _, is_so in kinds
    ]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"busauth-purpose": "retry", "busauth-redrive": 0}, True),
        ({"busauth-purpose": "letter"}, False),
        ({"busauth-purpose": "parked"}, False),
        ({"busauth-purpose": b"retry"}, False),
        ({"busauth-purpose": "retry", "busauth-redrive": 1}, False),
        ({"busauth-refusal": None}, False),
    ],
)
def test_what_says_that_it_was_put_away_is_judged_strictly(
    headers: Mapping[str, Any], expected: bool
) -> None:
    """Whoever wrote that can only lose by it."""
    assert may_be_first(headers) == expected


class _Source:
    """A file, as a test has it."""

    def __init__(self) -> None:
        self.said: Callable[[], dict[str, Shadow]] = dict
        self.looks = 0

    def has_changed(self) -> bool:
        self.looks += 1
        return True

    def read(self) -> dict[str, Shadow]:
        return self.said()


async def test_a_file_is_looked_at_no_more_than_each_five_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A flood makes no more looks; whatever a look raises, shadows stay, and end in time."""
    clock, source = ManualClock(NOW), _Source()
    shadows = Shadows({}, clock)
    shadows.follow(source)
    refused = NotGenuine("header.missing")

    def is_covered() -> bool:
        return [shadows.covers("q", {}, refused) for _ in range(100)][-1]

    assert (is_covered(), source.looks) == (False, 1)
    source.said = lambda: {"q": shadow()}
    await clock.advance(5)
    assert (is_covered(), source.looks) == (True, 2)
    for error in (ZeroDivisionError("odd"), ConfigurationError("wrong")):
        source.said = lambda error=error: (_ for _ in ()).throw(error)  # type: ignore[misc]
        await clock.advance(5)
        assert is_covered()
    source.said = lambda: {"q": shadow(until=datetime.fromtimestamp(clock.now() + 91 * DAY, UTC))}
    await clock.advance(5)
    assert is_covered()
    assert not shadows.covers("q", {}, Forbidden("seal.missing"))
    assert len([line for line in caplog.messages if "cannot be used" in line]) == 3
    source.said = lambda: {"q": shadow()}
    await clock.advance(days=1)
    assert not is_covered()
    assert len([line for line in caplog.messages if "has ended" in line]) == 1


FILE = 'issuer = "https://idp.example"\naudience = "shop"\n'


async def test_a_file_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was in the way may leave no trace in the file, as a right that was missing does."""
    forget_settings(monkeypatch)
    file, clock, read = tmp_path / "busauth.toml", ManualClock(NOW), Path.read_text
    file.write_text(f'{FILE}[consumers."q".shadow]\nuntil = {UNTIL.isoformat()}\n')
    shadows = load_settings(file).make_guard(clock=clock).core.shadows
    file.write_text(FILE)

    def denied(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    for _ in range(14):
        await clock.advance(5)
        shadows.look()
    assert shadows.of("q") is not None
    assert len([line for line in caplog.messages if "cannot be used" in line]) == 2
    monkeypatch.setattr(Path, "read_text", read)
    await clock.advance(5)
    shadows.look()
    assert shadows.of("q") is None


async def test_half_a_file_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is written while it is read may say more than the whole: all codes, where it has one."""
    forget_settings(monkeypatch)
    file, clock, read = tmp_path / "busauth.toml", ManualClock(NOW), Path.read_text
    file.write_text(FILE)
    shadows = load_settings(file).make_guard(clock=clock).core.shadows
    file.write_text(f'{FILE}[consumers."q".shadow]\nuntil = {UNTIL.isoformat()}\n')

    def first_half(path: Path, encoding: str) -> str:
        found = read(path, encoding)
        with path.open("a") as writing:
            writing.write('codes = ["header.missing"]\n')
        return found

    monkeypatch.setattr(Path, "read_text", first_half)
    shadows.look()
    assert shadows.of("q") is None
    assert "busauth.toml: is being written" in caplog.text
    monkeypatch.setattr(Path, "read_text", read)
    await clock.advance(5)
    shadows.look()
    assert shadows.of("q") == shadow(codes=("header.missing",))


class _SetBack(ManualClock):
    """A clock that somebody sets back."""

    by = 0.0

    def now(self) -> float:
        return super().now() - self.by


async def test_what_has_ended_stays_so_where_a_clock_goes_back() -> None:
    """It was told that it is strict, and only an operator says otherwise."""
    clock = _SetBack(NOW)
    shadows, source = Shadows({"q": shadow()}, clock), _Source()
    shadows.follow(source)
    source.said = lambda: {"q": shadow()}
    await clock.advance(DAY + 5)
    assert shadows.of("q") is None
    clock.by = 60
    shadows.look()
    assert shadows.of("q") is None
    source.said = lambda: {"q": shadow(until=datetime.fromtimestamp(NOW + 2 * DAY, UTC))}
    await clock.advance(5)
    shadows.look()
    assert shadows.of("q") is not None


def test_an_end_too_far_ahead_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the guard's clock, as the file is read; one that has passed is strict, and no error."""
    forget_settings(monkeypatch)
    file = tmp_path / "busauth.toml"
    text = 'issuer = "https://idp.example"\naudience = "shop"\n[consumers."orders.placed".shadow]\n'
    far = datetime.fromtimestamp(NOW + 91 * DAY, UTC).isoformat()
    file.write_text(f"{text}until = {far}\n")
    settings = load_settings(file)
    with pytest.raises(ConfigurationError) as caught:
        settings.make_guard(clock=ManualClock(NOW))
    assert 'consumers."orders.placed".shadow.until = ' in str(caught.value)
    guard = settings.make_guard(clock=ManualClock(NOW + 92 * DAY))
    assert guard.core.shadows.of("orders.placed") is None
    file.write_text(f"{text}until = 2026-03-31T00:00:00\n")
    with pytest.raises(ConfigurationError, match=r"busauth\.toml: .*shadow\.until = .*offset"):
        load_settings(file)


def test_a_test_has_the_shadow_of_the_guard_that_it_tries() -> None:
    """Its clock may be years behind: what was checked once is not too far ahead there."""
    until = datetime.fromtimestamp(time.time() + DAY, UTC)
    said = {"q": ConsumerOptions(shadow=Shadow(until=until), concurrency=3)}
    guard = Guard(issuer="https://idp.example", audience="a", options=GuardOptions(consumers=said))
    replica = guard.replica(*guard.verifiers, clock=ManualClock(NOW), auditor=log_event)
    assert replica.core.shadows.of("q") is not None
    assert replica.options.of("q").concurrency == 3


def test_a_judges_block_stays_strict(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has messages in hand is always given a caller, which is said."""
    until = datetime.fromtimestamp(time.time() + DAY, UTC)
    said = {"q": ConsumerOptions(shadow=Shadow(until=until))}
    guard = Guard(issuer="https://idp.example", audience="a", options=GuardOptions(consumers=said))
    guard.judge(queue="q")
    assert "q: in shadow, and yet strict: a judge's block takes a Caller" in caplog.text
