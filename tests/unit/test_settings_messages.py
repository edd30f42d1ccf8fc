"""What an operator says about proofs, seals, replay, encryption and removed keys."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from busauth import ConsumerOptions, DeadLetter, Park, ValidWhenPublished
from busauth.errors import ConfigurationError
from busauth.messages import InProcessReplay, ProofDemand
from busauth.settings import (
    ClaimSettings,
    DecryptionSettings,
    IssuerSettings,
    ProofSettings,
    PublisherSettings,
    ReplaySettings,
    RetiredSettings,
    RouteSettings,
    SignerSettings,
    load_settings,
)
from tests.unit.support import forget_settings, lay_keys

BASE = """
issuer = "https://idp.example"
audience = "shop"
"""
SECRET = b"a secret of thirty-two bytes or more"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with keys in it, and nothing said in the environment."""
    forget_settings(monkeypatch)
    monkeypatch.chdir(tmp_path)
    lay_keys(tmp_path)
    return tmp_path


def loaded(text: str) -> Any:
    Path("busauth.toml").write_text(BASE + text)
    return load_settings("busauth.toml")


def wrong(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(text).make_guard()
    return str(caught.value)


PROOFS = """
[messages.proofs]
max_age = 3600
[[messages.proofs.publishers]]
name = "edge"
key_file = "edge.jwks"
"""

EVERYTHING = """
on_expired = [
    { policy = "valid-when-published", hours = 2, sources = ["edge", "timestamp_in_ms"] },
    { policy = "park" },
    { policy = "dead-letter", keep_token = "public.jwk" },
]
distrusted = ["stolen"]

[retired]
keep_for = 86400
sources = ["edge"]
file = "idp.keys"
file_key_file = "shared.key"

[guard]
broker_stamps = true

[messages.proofs]
demand = "if-present"
max_age = 3600
skew = 10

[[messages.proofs.publishers]]
name = "edge"
key_file = "edge.jwks"
routes = [{ exchange = "shop", key = "orders.*" }, { exchange = "", key = "orders", exact = true }]
relays = true

[[messages.proofs.publishers]]
name = "partner"
jwks_url = "https://partner.example/jwks.json"
distrusted = ["partner-1"]

[[messages.proofs.publishers]]
name = "orders"
key_file = "shared.key"
algorithms = ["HS256"]

[messages.signer]
name = "orders"
key_file = "shared.key"
algorithm = "HS256"
headers = ["tenant"]

[messages.seal]
k2 = "shared.key"
k1 = "shared.key"

[messages.replay]
keep_for = 4000
capacity = 10

[messages.encryption]
billing = "public.jwk"

[messages.decryption]
key_files = ["private.jwk"]
required = false
"""


def test_a_file_says_everything() -> None:
    """Every part of the message's security has its place in the file."""
    guard = loaded(EVERYTHING).make_guard()
    messages = guard.messages
    assert messages.proofs.demand is ProofDemand.IF_PRESENT
    assert (messages.proofs.max_age, messages.proofs.skew) == (3600, 10)
    assert messages.proofs.names == {"edge", "partner", "orders"}
    assert messages.proofs.relays("edge")
    assert not messages.proofs.relays("orders")
    assert messages.signer.name == "orders"
    assert messages.signer.headers == ("tenant",)
    assert list(messages.seal) == ["k2", "k1"]
    assert messages.seal["k1"] == SECRET
    assert isinstance(messages.replay, InProcessReplay)
    assert messages.replay.keep_for == 4000
    assert not messages.decryption.required
    token = messages.encryption.encrypt("e30.e30.e30")
    assert messages.decryption.decrypt(token) == "e30.e30.e30"
    published, park, letter = loaded(EVERYTHING).on_expired
    sources = frozenset({"edge", "timestamp_in_ms"})
    assert published == ValidWhenPublished(hours=2, sources=sources)
    assert park == Park()
    assert isinstance(letter, DeadLetter)
    assert letter.keep_token is not None
    (verifier,) = guard.verifiers
    assert verifier.keys.retired_sources == {"edge"}


def test_the_environment_says_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested tables are named with two underscores, and count above the file."""
    monkeypatch.setenv("BUSAUTH_MESSAGES__SIGNER__NAME", "billing")
    monkeypatch.setenv("BUSAUTH_MESSAGES__SEAL", '{"k9": "shared.key"}')
    monkeypatch.setenv("BUSAUTH_MESSAGES__PROOFS__MAX_AGE", "60")
    signer = "[messages.signer]\nname = 'orders'\nkey_file = 'edge.pem'\nalgorithm = 'ES256'"
    seal = "\n[messages.seal]\nk1 = 'shared.key'"
    messages = loaded(PROOFS + signer + seal).make_guard().messages
    assert messages.signer.name == "billing"
    assert messages.proofs.max_age == 60
    assert list(messages.seal) == ["k9"]  # as a whole: the first one seals


def test_a_queue_may_be_named_like_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said about one queue in both places counts in both, whatever its name."""
    monkeypatch.setenv("BUSAUTH_CONSUMERS", '{"seal": {"concurrency": 5}}')
    settings = loaded("[consumers.seal]\nproof = 'ignored'")
    assert settings.consumers["seal"].concurrency == 5
    assert settings.consumers["seal"].proof is ProofDemand.IGNORED


def test_parts_with_connections_are_made_in_code() -> None:
    """A memory that workers share counts above the one in the file."""
    memory = InProcessReplay(keep_for=9000)
    settings = loaded(PROOFS + "[messages.seal]\nk1 = 'shared.key'\n[messages.replay]\nkeep_for=1")
    assert settings.make_guard(replay=memory).messages.replay is memory


def test_one_consumer_may_ask_for_less() -> None:
    """What the operator says of one consumer is about its proofs, too."""
    settings = loaded(PROOFS + "[consumers.'orders']\nproof = 'ignored'")
    assert settings.consumers["orders"].proof is ProofDemand.IGNORED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            "[messages.proofs]\nmax_age = 1\npublishers = [{ name = 'edge' }]",
            "messages.proofs.publishers.0: .*one place",
            id="no-keys",
        ),
        pytest.param(
            PROOFS + "distrusted = ['k']", "distrusted: expected a jwks_url", id="distrusted"
        ),
        pytest.param(
            PROOFS.replace("edge.jwks", "edge.pem"), "edge.pem holds a PEM", id="publisher-pem"
        ),
        pytest.param(
            PROOFS.replace("edge.jwks", "absent"),
            "publishers.0.key_file: expected the path of a file",
            id="absent",
        ),
        pytest.param(
            PROOFS.replace("edge.jwks", "shared.key"), "shared.key: .* fits none", id="secret"
        ),
        pytest.param(PROOFS.replace("3600", "0"), "max_age = 0: .*seconds above 0", id="max-age"),
        pytest.param(
            "[messages.proofs]\nmax_age = 1\npublishers = []", "publishers is empty", id="nobody"
        ),
        pytest.param(
            "[messages.proofs]\nmax_age = 1\npublishers = []\ndemand = 'perhaps'",
            "demand = \"perhaps\": .*'if-present'",
            id="demand",
        ),
        pytest.param(
            "[messages.signer]\nname = 'a'\nalgorithm = 'ES256'\nkey_file = 'edge.jwks'",
            "edge.jwks: .* cannot be loaded",
            id="signer-public",
        ),
        pytest.param("[messages.seal]\nk1 = 'edge.pem'", "edge.pem holds a PEM", id="seal-pem"),
        pytest.param("[messages.seal]\nk1 = 'public.jwk'", "holds a JWK", id="seal-jwk"),
        pytest.param("[messages.replay]\nkeep_for = 60", "replay: nothing tells", id="replay"),
        pytest.param(
            "[messages.encryption]\nbilling = 'edge.pem'", "edge.pem holds a PEM", id="encryption"
        ),
        pytest.param(
            "[messages.decryption]\nkey_files = []", "messages.decryption.key_files", id="no-files"
        ),
        pytest.param(
            "[messages.decryption]\nkey_files = ['shared.key']", "holds no JSON", id="decryption"
        ),
        pytest.param(
            "on_expired = { policy = 'park' }", "Park needs to know who published", id="park"
        ),
        pytest.param(
            "on_expired = { policy = 'valid-when-published', hours = 1, sources = ['edge'] }",
            "expected whose word can be had",
            id="published",
        ),
        pytest.param(
            "on_expired = { policy = 'dead-letter', keep_token = 'absent.jwk' }",
            "on_expired.keep_token: .*absent.jwk: cannot be read",
            id="keep-token",
        ),
        pytest.param(
            "[retired]\nkeep_for = 10\nsources = ['edge']", "whose word for a published", id="word"
        ),
        pytest.param(
            PROOFS + "[retired]\nkeep_for = 10\nsources = ['edge']\nfile = 'x'",
            "file, file_key: expected both",
            id="retired-file",
        ),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    """Each mistake names its key or its file, and what was expected."""
    with pytest.raises(ConfigurationError, match=told):
        loaded(text).make_guard()


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"{", "is no JSON"), (b"{" * 100_000, "is no JSON")],
)
def test_a_file_that_holds_no_key_is_told(content: bytes, told: str) -> None:
    """Nothing of a file's content is in what is told."""
    Path("edge.jwks").write_bytes(content)
    assert told in wrong(PROOFS)
    assert "{{" not in wrong(PROOFS)


DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_file_in_the_document_can_be_loaded(folder: Path) -> None:
    """Every line of the documentation's file is taken as it stands."""
    text = "\n".join(re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL))
    file = folder / "documented.toml"
    file.write_text(text.replace("/etc/busauth/redrive.public.jwk", "public.jwk"))
    settings = load_settings(file)
    assert settings.messages.model_fields_set == type(settings.messages).model_fields.keys()
    said = settings.model_fields_set | {"issuer", "tenants"}  # these beside a template alone
    assert said == type(settings).model_fields.keys()


@pytest.mark.parametrize(
    "table",
    [
        ClaimSettings,
        IssuerSettings,
        RetiredSettings,
        ProofSettings,
        PublisherSettings,
        RouteSettings,
        SignerSettings,
        ReplaySettings,
        DecryptionSettings,
        ConsumerOptions,
    ],
)
def test_the_document_has_every_key(table: type[BaseModel]) -> None:
    """No key is left for a reader to find in the code."""
    text = DOCUMENT.read_text("utf-8")
    for name in table.model_fields.keys() - {"exact"}:
        assert re.search(rf"\b{name} =|[.\[]{name}\]", text), name


BASE64 = "aGVs/bG8gaGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8gaGVs+bG8="

ECHOED = [
    # what is written where a path, or a table, is expected; the key that is named
    (f'[messages.seal]\nk1 = "{BASE64}"', "messages.seal.k1"),
    (f'[messages]\nseal = "{BASE64}"', "messages.seal"),
    (f'[messages.seal]\nk1 = ["{BASE64}"]', "messages.seal.k1"),
    (
        f'[messages.signer]\nname = "a"\nalgorithm = "HS256"\nkey_file = "{BASE64}"',
        "messages.signer.key_file",
    ),
    (f'[messages.signer]\nname = "a"\nkey_file = "{BASE64}"', "messages.signer.algorithm"),
    (f'[messages.signer]\nname = "a"\nkey = "{BASE64}"', "messages.signer.key"),
    (f'[messages]\nsigner = "{BASE64}"', "messages.signer"),
    (f'[messages.decryption]\nkey_files = ["{BASE64}"]', "messages.decryption.key_files"),
    (f'[messages.decryption]\nkey_files = "{BASE64}"', "messages.decryption.key_files"),
    (f'[messages.encryption]\na = "{BASE64}"', "messages.encryption.a"),
    (
        '[messages.proofs]\nmax_age = 60\n[[messages.proofs.publishers]]\nname = "a"\n'
        f'key_file = "{BASE64}"',
        "messages.proofs.publishers.0.key_file",
    ),
    (
        f'[retired]\nkeep_for = 60\nsources = ["a"]\nfile = "x"\nfile_key_file = "{BASE64}"',
        "retired.file_key_file",
    ),
    (f'[retired]\nkeep_for = 60\nfile_key_file = "{BASE64}"', "retired.sources"),
    (
        '[[issuers]]\nissuer = "https://b"\naudience = "b"\n[issuers.retired]\nkeep_for = 60\n'
        f'sources = ["a"]\nfile = "x"\nfile_key_file = "{BASE64}"',
        "issuers.0.retired.file_key_file",
    ),
    (f'seal = "{BASE64}"', "seal"),
    (
        f'on_expired = {{ policy = "dead-letter", keep_token = "{BASE64}" }}',
        "on_expired.keep_token",
    ),
    (f'on_expired = {{ policy = "dead", keep_token = "{BASE64}" }}', "on_expired"),
]


def test_a_file_that_is_not_there_is_told_as_what_it_is() -> None:
    """Of a name that may be the key itself it is said why it cannot be read, and no more."""
    told = wrong("[messages.seal]\nk1 = 'nokey'")
    assert "messages.seal.k1: expected the path of a file that holds the key: what stands" in told
    assert "cannot be read: No such file or directory" in told
    assert "folder" not in told
    assert "nokey" not in told


@pytest.mark.parametrize(("text", "key"), ECHOED)
def test_a_secret_in_the_place_of_its_file_is_never_shown(text: str, key: str) -> None:
    """The error names the settings' file and the key, and says nothing of what stands there."""
    told = wrong(text)
    assert told.startswith(f"busauth.toml: {key}")
    assert BASE64[:8] not in told
    assert BASE64[8:16] not in told


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("BUSAUTH_MESSAGES__SEAL__K1", BASE64, "messages.seal.k1"),
        ("BUSAUTH_MESSAGES__SEAL", BASE64, "messages.seal"),
        ("BUSAUTH_MESSAGES", BASE64, "expected JSON"),
        ("BUSAUTH_MESSAGES__DECRYPTION__KEY_FILES", BASE64, "KEY_FILES"),
        ("BUSAUTH_RETIRED", BASE64, "retired"),
    ],
)
def test_a_secret_in_a_variable_is_never_shown(
    name: str, value: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment holds in the place of a path is named by its variable."""
    monkeypatch.setenv(name, value)
    told = wrong("")
    assert name in told
    assert key in told
    assert value[:8] not in told


def test_a_key_in_the_place_of_its_path_is_not_shown_in_code() -> None:
    """A policy is the same object in code as in a file."""
    with pytest.raises(ConfigurationError, match=r"DeadLetter: keep_token: expected the path") as e:
        DeadLetter(keep_token=BASE64)
    assert BASE64[:8] not in str(e.value)


def test_a_path_that_is_one_is_shown(folder: Path) -> None:
    """Where its folder is there, what is wrong is the file: its path helps."""
    told = wrong(f'[messages.seal]\nk1 = "{folder}/absent"')
    assert f"messages.seal.k1: {folder}/absent: cannot be read: No such file" in told


def test_all_that_is_wrong_with_keys_is_told_at_once(folder: Path) -> None:
    """Each file that cannot be used is a line, with the settings' file and the key."""
    (folder / "short.key").write_bytes(b"short")
    told = wrong(
        '[messages.seal]\nk1 = "short.key"\nk2 = "absent.key"\n'
        '[messages.decryption]\nkey_files = ["edge.pem"]'
    ).splitlines()
    assert told == [
        "busauth.toml: messages.seal.k1: short.key: the secret is one of 5 bytes: expected 32 or "
        "more, random: `openssl rand -base64 48` in a file, secrets.token_bytes(32) in code",
        "busauth.toml: messages.seal.k2: absent.key: cannot be read: No such file or directory",
        "busauth.toml: messages.decryption.key_files: edge.pem holds a PEM: expected a JWK or a "
        "JWK set",
    ]
