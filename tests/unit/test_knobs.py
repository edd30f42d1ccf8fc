"""Options say in a sentence what is wrong with one."""

from collections.abc import Callable
from typing import Any

import pytest

from busauth import BusOptions, ConfigurationError, ConsumerOptions, GuardOptions
from busauth.revocation import FeedOptions


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
