"""Options say in a sentence what is wrong with one, and each of them is declared once."""

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import pytest
from pydantic import BaseModel

import busauth
from busauth import (
    BusOptions,
    ConfigurationError,
    ConsumerOptions,
    DeadLetter,
    Discard,
    Grace,
    GuardOptions,
    RetryOptions,
    Settings,
    Verifier,
    Verifiers,
    delegation,
    expiry,
    messages,
    revocation,
    settings,
    tokens,
)
from busauth._arguments import ranges
from busauth._knobs import Knobs, ranges_of
from busauth._tokens.profiles.providers import profile_of
from busauth.messages import InProcessReplay, Proofs, ProofSigner, Route, TrustedPublisher
from busauth.revocation import FeedOptions
from busauth.settings import (
    DecryptionSettings,
    IssuerSettings,
    ProofSettings,
    PublisherSettings,
    ReplaySettings,
    RetiredSettings,
    RouteSettings,
    SignerSettings,
)
from busauth.tokens import (
    AnswerOptions,
    Decryption,
    Fetcher,
    IntrospectionOptions,
    JWKSOptions,
    RetiredKeys,
)
from tests.unit.support import forget_settings


def made(kind: Any, *given: Any, **said: Any) -> object:
    """Make options of what no type checker lets through."""
    return kind(*given, **said)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: made(GuardOptions, concurency=5),
            "GuardOptions: concurency=5: there is no such key; did",
        ),
        (lambda: made(GuardOptions, nothing=5), "expected one of broker_stamps, cached_tokens"),
        (lambda: BusOptions(prefetch=0), "BusOptions: prefetch=0: Input should be greater than"),
        (
            lambda: made(BusOptions, retry={"limits": 1}),
            "BusOptions: retry.limits=1: there is no such key",
        ),
        (
            lambda: made(GuardOptions, consumers={"q": {"x": 1}}),
            "consumers.q.x=1: there is no such key",
        ),
        (
            lambda: made(FeedOptions, on_stale="stop"),
            "FeedOptions: on_stale=stop: there is no such value; expected one of 'pause', 'go-on'",
        ),
        (
            lambda: made(IssuerSettings, issuer="i", audience="a", profile="Okta"),
            "there is no such value; did you mean 'okta'?",
        ),
        (
            lambda: made(ConsumerOptions, on_expired={"policy": "grase"}),
            "there is no such policy; did you mean 'grace'?",
        ),
        (lambda: made(ConsumerOptions, on_expired=[]), "on_expired is empty: expected a policy"),
        (lambda: GuardOptions(transient=(Exception,)), "transient=Exception: expected errors of a"),
        (
            lambda: made(GuardOptions, 1),
            "GuardOptions: got an int without a name: expected each by",
        ),
        (lambda: made(Grace, 1), "Grace: got an int without a name: expected each by its name, su"),
        (lambda: made(Discard, "x"), "Discard: got a str without a name"),
        (lambda: GuardOptions(max_hops=True), "max_hops=True: Input should be a number, not true"),
        (lambda: RetryOptions(first=10, longest=1), "RetryOptions: first=10 is longer than long"),
        (lambda: RetryOptions(first=301), "first=301 is longer than longest=300: expected it no"),
        (lambda: GuardOptions(pause_first=61), "GuardOptions: pause_first=61 is longer than paus"),
        (
            lambda: made(GuardOptions, consumers={"a.b": {"proof": 1}}),
            'GuardOptions: consumers."a.b".proof=1: there is no such value; expected one of',
        ),
        (Grace, "Grace: Grace of nothing: expected hours, minutes or seconds above 0"),
        (lambda: DeadLetter(reason=""), "DeadLetter: reason=: String should have at least 1"),
        (lambda: JWKSOptions(max_keys=0), "JWKSOptions: max_keys=0: Input should be greater than"),
        (lambda: JWKSOptions(max_keys=0), ": expected a number from 1"),
        (
            lambda: IntrospectionOptions(fresh_for=301, open_for=0),
            "fresh_for=301: Input should be less than or equal to 300: expected seconds from 0 to "
            "300; open_for=0: Input should be greater than 0: expected seconds above 0, "
            "at most 300",
        ),
        (
            lambda: ConsumerOptions(deadline=float("inf")),
            "deadline=inf: Input should be a finite number: expected seconds above 0",
        ),
        (
            lambda: made(GuardOptions, consumers={"q": {"concurrency": 0}}),
            "consumers.q.concurrency=0: Input should be greater than or equal to 1: expected a "
            "number from 1 to 10000",
        ),
        (
            lambda: Settings(leeway=500),
            "Settings: leeway=500: Input should be less than or equal to 300: expected seconds "
            "from 0 to 300; for more, Grace",
        ),
        (
            lambda: made(Settings, messages={"proofs": {"max_age": 0, "publishers": ()}}),
            "messages.proofs.max_age=0: Input should be greater than 0: expected seconds above 0",
        ),
    ],
)
def test_a_wrong_option_is_one_sentence(make: Callable[[], object], told: str) -> None:
    """It names the options, the key, what was found, and what was expected; and no link."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert told in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_every_wrong_option_is_told() -> None:
    """Two mistakes are told at once."""
    with pytest.raises(ConfigurationError, match=r"prefetch=0: .*; drain=-1"):
        BusOptions(prefetch=0, drain=-1)


SECRET = "aGVs/bG8gaGVsbG8gaGVsbG8gaGVs"


@pytest.mark.parametrize(
    ("kind", "said", "told"),
    [
        (RetiredSettings, {"keep_for": 1, "file_key_file": SECRET}, "sources: Field required"),
        (SignerSettings, {"name": "a", "key": SECRET}, "key: there is no such key"),
        (DecryptionSettings, {"key_files": SECRET}, "key_files: Input should be a valid tuple"),
        (Settings, {"messages": {"seal": SECRET}}, "messages.seal: Input should be a valid dict"),
    ],
)
def test_a_table_that_is_made_in_code_shows_no_key(
    kind: type[BaseModel], said: dict[str, Any], told: str
) -> None:
    """What stands where a path of a key's file is expected may be the key."""
    with pytest.raises(ConfigurationError) as caught:
        kind(**said)
    assert f"{kind.__name__}: " in str(caught.value)
    assert told in str(caught.value)
    assert SECRET[:8] not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "made"),
    [
        (DecryptionSettings, Decryption),
        (IssuerSettings, Verifier),
        (ProofSettings, Proofs),
        (PublisherSettings, TrustedPublisher),
        (ReplaySettings, InProcessReplay),
        (RetiredSettings, RetiredKeys),
        (RouteSettings, Route),
        (SignerSettings, ProofSigner),
    ],
)
def test_a_file_says_what_code_says(table: type[BaseModel], made: type[Any]) -> None:
    """What stands in a file has the range and the default of the argument that it becomes."""
    hints = get_type_hints(made.__init__, include_extras=True)
    arguments = inspect.signature(made).parameters
    shared = table.model_fields.keys() & arguments.keys()
    assert shared
    for name in shared - {"profile"}:
        field, argument = table.model_fields[name], arguments[name]
        assert list(ranges_of(field)) == list(ranges(hints[name])), name
        assert field.is_required() == (argument.default is argument.empty), name
        assert field.is_required() or field.default == argument.default, name


def test_a_profile_is_named_in_a_file_as_in_code() -> None:
    """Each name in the settings' type is one that a `Verifier` knows, and there is no other."""
    names = get_args(IssuerSettings.model_fields["profile"].annotation)
    with pytest.raises(ConfigurationError, match=re.escape(f"one of {', '.join(names)};")):
        profile_of("ping")


def test_a_guards_memory_of_tokens_is_a_verifiers() -> None:
    """Where nobody says how much is remembered, and how long a token may be, both say the same."""
    arguments = inspect.signature(Verifiers).parameters
    options = GuardOptions()
    assert options.cached_tokens == arguments["cache_size"].default
    assert options.max_token_bytes == arguments["max_token_bytes"].default


DOORS = (busauth, delegation, expiry, messages, revocation, settings, tokens)
PUBLIC = {name: getattr(door, name) for door in DOORS for name in door.__all__}
KNOBS: dict[str, type[Knobs]] = {
    name: kind
    for name, kind in PUBLIC.items()
    if isinstance(kind, type) and issubclass(kind, Knobs)
}
FIELDS = [(name, field) for name, kind in KNOBS.items() for field in kind.model_fields]
OPTIONS = [(name, field) for name, field in FIELDS if name.endswith("Options")]
DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def documented(page: str = "options.md") -> dict[tuple[str, str], tuple[str, str]]:
    """Return the default and the range in each row, by the heading above it and the option."""
    parts = (DOCS / page).read_text("utf-8").split("\n## ")[1:]
    return {
        (part.split("\n")[0], name): (default, bounds)
        for part in parts
        for name, default, bounds, *_ in ROW.findall(part)
    }


def is_number(hint: Any) -> bool:
    """Return whether a number stands anywhere in an annotation."""
    return hint in (int, float) or any(map(is_number, get_args(hint)))


def docstrings(kind: type) -> str:
    """Return what is said of a class: by itself, by its bases, and where it says to see."""
    own = "\n".join(inspect.getdoc(each) or "" for each in kind.__mro__)
    seen = (PUBLIC[name] for name in re.findall(r"see `(\w+)`", own) if name in PUBLIC)
    return "\n".join([own, *(inspect.getdoc(each) or "" for each in seen)])


def shown(value: object) -> str:
    """Return a default as the document writes it."""
    match value:
        case bool():
            return str(value).lower()
        case Enum():
            return f"`{value.value}`"
        case str():
            return f"`{value}`"
        case int() | float():
            return str(value) if isinstance(value, int) else f"{value:g}"
        case BaseModel():
            return "its defaults"
    return "none" if not value else repr(value)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_each_number_has_a_range_and_a_unit(name: str, field: str) -> None:
    """The docstring says what is counted, or measured in which unit, as the range has it."""
    of = KNOBS[name].model_fields[field]
    bounds = [*ranges_of(of)]
    assert len(bounds) == is_number(of.annotation)
    said = docstrings(KNOBS[name])
    first = said.splitlines()[0]
    for each in bounds:
        told = re.search(rf"^    {field}: (.+(?:\n {{8}}.+)*)", said, re.MULTILINE)
        assert told is not None
        unit = each.unit.removeprefix("a ")
        is_common = first.endswith("throughout.") and unit in first
        assert unit == "number" or unit in told[1] or is_common


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_number_out_of_its_range_is_refused(
    name: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key, what was found and what was expected, with its unit, at both ends and beyond."""
    forget_settings(monkeypatch)
    for each in ranges_of(KNOBS[name].model_fields[field]):
        beyond = [] if each.most is None else [each.most + 1]
        below = each.least - 1 if each.above is None else each.above
        for odd in (below, *beyond, float("inf"), float("nan"), "many"):
            with pytest.raises(ConfigurationError) as caught:
                KNOBS[name](**{field: odd})
            assert isinstance(odd, str) or f"{field}={odd}: " in str(caught.value)
            assert f": expected {each}" in str(caught.value)


def test_the_document_has_each_option_as_it_is() -> None:
    """Its default and its range; what is no option any more is not told of either."""
    told = documented()
    inherited = {("IntrospectionOptions", field) for field in AnswerOptions.model_fields}
    assert told.keys() - {("Fetcher", each.name) for each in fields(Fetcher)} == (
        set(OPTIONS) - inherited
    )
    for name, field in set(OPTIONS) - inherited:
        of = KNOBS[name].model_fields[field]
        bounds = ", ".join(map(str, ranges_of(of))) or "-"
        default = shown(of.get_default(call_default_factory=True))
        assert told[name, field] == (default, bounds), (name, field)


def test_the_document_has_a_fetchers_options() -> None:
    """They are no model, as a transport lives in there; their numbers are told all the same."""
    told, hints = documented(), get_type_hints(Fetcher, include_extras=True)
    for each in fields(Fetcher):
        default, bounds = told["Fetcher", each.name]
        assert bounds == (", ".join(map(str, ranges(hints[each.name]))) or "-")
        assert default == "none" or default == shown(each.default)


@pytest.mark.parametrize("name", [name for name in KNOBS if not name.endswith("Options")])
def test_what_is_no_option_is_documented_too(name: str) -> None:
    """Each key of a table or of a policy stands in some document, as it is written."""
    text = "\n".join(page.read_text("utf-8") for page in DOCS.glob("*.md"))
    for field in KNOBS[name].model_fields.keys() - {"policy"}:
        assert re.search(rf"`{field}`|\b{field} ?=|[.\[]{field}[].]", text), field


@pytest.mark.parametrize("several", [False, True])
def test_a_key_in_a_consumers_policy_is_not_shown(several: bool) -> None:
    """Given in place of a path, it is in no error, however deep it stands."""
    policy = {"policy": "dead-letter", "keep_token": KEY}
    said = {"orders": {"on_expired": [policy] if several else policy}}
    with pytest.raises(ConfigurationError, match=r"consumers\.orders\.on_expired") as caught:
        GuardOptions(consumers=cast("Any", said))
    assert KEY not in str(caught.value)
    assert "[" not in str(caught.value).partition(": expected")[0]


KEY = '{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}'
