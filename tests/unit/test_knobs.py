"""Options say in a sentence what is wrong with one, and each of them is declared once."""

import inspect
import re
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

from busauth import (
    BusOptions,
    ConfigurationError,
    ConsumerOptions,
    GuardOptions,
    Settings,
    Verifier,
    Verifiers,
)
from busauth._arguments import ranges
from busauth._knobs import ranges_of
from busauth._tokens.profiles import profile_of
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
from busauth.tokens import Decryption, IntrospectionOptions, JWKSOptions, RetiredKeys


def misspelt(**said: Any) -> GuardOptions:
    return GuardOptions(**said)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: misspelt(concurency=5),
            "GuardOptions: concurency=5: there is no such key; did",
        ),
        (lambda: misspelt(nothing=5), "expected one of broker_stamps, cached_tokens"),
        (lambda: BusOptions(prefetch=0), "BusOptions: prefetch=0: Input should be greater than"),
        (
            lambda: BusOptions(retry={"limits": 1}),
            "BusOptions: retry.limits=1: there is no such key",
        ),
        (lambda: GuardOptions(consumers={"q": {"x": 1}}), "consumers.q.x=1: there is no such key"),
        (
            lambda: FeedOptions(on_stale="stop"),
            "FeedOptions: on_stale=stop: Input should be 'pause'",
        ),
        (lambda: ConsumerOptions(on_expired=[]), "on_expired is empty: expected a policy"),
        (lambda: GuardOptions(transient=(Exception,)), "transient=Exception: expected errors of a"),
        (lambda: JWKSOptions(max_keys=0), "JWKSOptions: max_keys=0: Input should be greater than"),
        (lambda: JWKSOptions(max_keys=0), ": expected a number from 1"),
        (
            lambda: IntrospectionOptions(fresh_for=301, open_for=0),
            "fresh_for=301: Input should be less than or equal to 300: expected seconds from 0 to "
            "300; open_for=0: Input should be greater than 0: expected seconds above 0 to 300",
        ),
        (
            lambda: ConsumerOptions(deadline=float("inf")),
            "deadline=inf: Input should be a finite number: expected seconds above 0",
        ),
        (
            lambda: GuardOptions(consumers={"q": {"concurrency": 0}}),
            "consumers.q.concurrency=0: Input should be greater than or equal to 1: expected a "
            "number from 1 to 10000",
        ),
        (
            lambda: Settings(leeway=500),
            "Settings: leeway=500: Input should be less than or equal to 300: expected seconds "
            "from 0 to 300; for more, Grace",
        ),
        (
            lambda: Settings(messages={"proofs": {"max_age": 0, "publishers": ()}}),
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
        profile_of("okta")


def test_a_guards_memory_of_tokens_is_a_verifiers() -> None:
    """Where nobody says how much is remembered, and how long a token may be, both say the same."""
    arguments = inspect.signature(Verifiers).parameters
    options = GuardOptions()
    assert options.cached_tokens == arguments["cache_size"].default
    assert options.max_token_bytes == arguments["max_token_bytes"].default
