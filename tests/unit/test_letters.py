"""What letters keep, by which keys, and what their stories tell."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import ConfigurationError, Guard, StaticKeys, Verifier
from busauth._messages import story
from busauth._messages.proof import Proven
from busauth._messages.replay import GroupMemory
from busauth._messages.seal import Sealed
from busauth._messages.story import Chapter
from busauth._tokens.encryption.kept import is_kept
from busauth.errors import NotGenuine
from busauth.letters import LetterKeys, Letters, Redrive
from busauth.messages import InProcessReplay, MessageSecurity
from busauth.testing import Issuer
from busauth.tokens import KeptFor
from tests.unit.encrypting import private_jwk, public_jwk

LETTER = KeptFor(queue="orders", message_id="m", body=b"{}")
TOKEN = Issuer().token("ann")
words = st.text(max_size=80)
chapters = st.builds(
    Chapter,
    at=st.text(max_size=40),
    code=words,
    attempt=st.integers(1, 1000),
    by=st.none() | words,
    authority=st.none() | st.sampled_from(["kept", "fresh", "operator"]),
)


def guard(**settings: Any) -> Guard:
    issuer = Issuer()
    return Guard(
        Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience="shop"), **settings
    )


def test_keys_rotate() -> None:
    """The first one encrypts and all of them open; who took one out opens nothing of its."""
    old, new = private_jwk("p256", "old"), private_jwk("p384", "new")
    kept = LetterKeys(old).encryption.seal_for_redrive(TOKEN, LETTER)
    both = LetterKeys({"keys": [new, old]})
    assert is_kept(kept)
    assert both.open(kept, LETTER) == TOKEN
    later = both.encryption.seal_for_redrive(TOKEN, LETTER)
    assert LetterKeys(new).open(later, LETTER) == TOKEN
    with pytest.raises(NotGenuine) as caught:
        LetterKeys(new).open(kept, LETTER)
    assert caught.value.code == "token.encryption_key"


def test_a_former_name_of_the_queue_opens() -> None:
    """What was kept under a name that the queue had is its own; under any other it is not."""
    keys = LetterKeys(private_jwk("p256"))
    former = KeptFor(queue="before", message_id="m", body=b"{}")
    kept = keys.encryption.seal_for_redrive(TOKEN, former)
    assert keys.open(kept, LETTER, formerly=("first", "before")) == TOKEN
    with pytest.raises(NotGenuine) as caught:
        keys.open(kept, LETTER, formerly=("first",))
    assert caught.value.code == "token.encryption_moved"


@pytest.mark.parametrize(
    ("keep_token", "told"),
    [
        (public_jwk("p256"), "no private half"),
        ({"keys": []}, "expected one or more"),
        ("absent.jwk", "cannot be read"),
        (5, "keep_token"),
    ],
)
def test_a_key_that_is_none_is_told(keep_token: Any, told: str) -> None:
    """In a sentence, and never with the key."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        Letters(keep_token=keep_token)
    assert private_jwk("p256")["d"] not in str(caught.value)


def test_a_file_and_a_key_are_the_same(tmp_path: Path) -> None:
    """Neither is shown."""
    file, jwk = tmp_path / "letters.jwk", private_jwk("p256")
    file.write_text(json.dumps(jwk))
    for letters in (Letters(keep_token=file), Letters(keep_token=jwk)):
        assert jwk["d"] not in repr(letters) + repr(letters.keep_token)


def test_letters_that_keep_tokens_need_a_seal() -> None:
    """Without one, who may write beside the queue could have anything come back."""
    letters = Letters(keep_token=private_jwk("p256"))
    with pytest.raises(ConfigurationError, match="keep_token: expected MessageSecurity"):
        guard(letters=letters)
    guard(letters=letters, messages=MessageSecurity(seal={"1": bytes(32)}))


@pytest.mark.parametrize("by", ["", "a\nb", "x" * 81, f"ops {TOKEN}"])
def test_who_sends_letters_again_is_a_short_word(by: str) -> None:
    """A token among it, above all, is refused where it is said."""
    with pytest.raises(ConfigurationError, match="expected a short printable word") as caught:
        Redrive("amqp://localhost/", guard=guard(), queue="orders", by=by)
    assert TOKEN not in str(caught.value)


@given(told=st.lists(chapters, max_size=60))
def test_a_story_is_bounded(told: list[Chapter]) -> None:
    """However long it grows, its first chapter and the latest are told, as they were written."""
    found: story.Story = ()
    for chapter in told:
        found = story.read(story.written(story.longer(found, chapter))) or found
    assert len(found) == min(len(told), 20)
    assert found[:1] == tuple(told[:1])
    assert found[1:] == tuple(told[1:][-19:])


@given(value=st.text() | st.integers() | st.binary())
def test_what_is_no_story_tells_nothing(value: object) -> None:
    """Whoever wrote it, nothing is raised."""
    assert story.read(value) == ()
    assert story.letter_id(value) is None


async def test_a_letter_is_known_by_its_id() -> None:
    """Sent again, it is the same whatever proof it has; each redrive and each retry is another."""
    memory = GroupMemory(memory=InProcessReplay(keep_for=60), group="orders")
    proven = Proven("shop", 0.0, "m-1", "", "orders", frozenset(), "shop", 0.0)
    once = Sealed(letter="0" * 32, redrive=1)
    assert memory.key(proven, once) == memory.key(None, once)
    others = [Sealed(letter="0" * 32, redrive=2), Sealed(letter="0" * 32, redrive=1, attempt=1)]
    keys = {memory.key(None, each) for each in (once, *others, Sealed(letter="1" * 32, redrive=1))}
    assert len(keys) == 4
    never_compared = memory.key(proven, Sealed(letter="0" * 32))
    assert never_compared == memory.key(proven, Sealed())
