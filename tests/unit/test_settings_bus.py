"""A bus from settings: which broker, how it consumes, and no password in anything that is shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from busauth import BusOptions, ConfigurationError, Guard, RetryOptions, StaticKeys, Verifier
from busauth.settings import load_settings
from busauth.settings.bus import Address, read_address
from busauth.testing import Issuer
from tests.unit.support import forget_settings

BASE = 'issuer = "https://idp.example"\naudience = "shop"\n'
SECRET = "hunter2-and-more"
URL_WITH = f"amqp://orders:{SECRET}@rabbit.example/shop"


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "busauth.toml"


def test_a_file_makes_a_bus(file: Path) -> None:
    """Broker, limits and ladder are those of the file; the guard is the one that it describes."""
    file.write_text(f"""{BASE}
        [bus]
        url = "{URL_WITH}"
        prefetch = 7
        drain = 5
        declare = false
        health = "127.0.0.1:8080"
        [bus.retry]
        limit = 2
    """)
    settings = load_settings(file)
    bus = settings.make_bus("orders")
    assert bus.options == BusOptions(
        prefetch=7, drain=5, declare=False, retry=RetryOptions(limit=2)
    )
    assert bus._connections.url == URL(f"amqp://orders:{SECRET}@rabbit.example:5672/shop")
    assert bus.guard.issuers == {"https://idp.example"}
    assert settings.bus.health == "127.0.0.1:8080"


def test_the_operators_word_counts_above_the_codes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's above the file's above the code's, each rung of the ladder by itself."""
    file.write_text(f"{BASE}[bus]\nurl = 'amqp://a/'\nprefetch = 7\n[bus.retry]\nlimit = 2")
    monkeypatch.setenv("BUSAUTH_BUS__PREFETCH", "8")
    monkeypatch.setenv("BUSAUTH_BUS__URL", "amqp://b/")
    code = BusOptions(prefetch=1, drain=3, retry=RetryOptions(limit=9, first=2))
    bus = load_settings(file).make_bus("orders", options=code)
    assert bus.options == BusOptions(prefetch=8, drain=3, retry=RetryOptions(limit=2, first=2))
    assert bus._connections.url.host == "b"


def test_a_guard_of_code_is_taken(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard with parts that are made in code stands in front of the handlers."""
    monkeypatch.setenv("BUSAUTH_BUS__URL", "amqp://localhost/")
    guard = Guard(Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience="shop"))
    assert load_settings().make_bus("orders", guard=guard).guard is guard


def test_a_variable_names_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where code names no file, BUSAUTH_SETTINGS does; a file that code names counts above it."""
    file.write_text(f"{BASE}[bus]\nprefetch = 7")
    monkeypatch.setenv("BUSAUTH_SETTINGS", str(file))
    assert load_settings().bus.prefetch == 7
    other = file.with_name("other.toml")
    other.write_text(f"{BASE}[bus]\nprefetch = 8")
    assert load_settings(other).bus.prefetch == 8


@pytest.mark.parametrize("password", ["p@ss/w:rd#?%", "åß", "plain"])
def test_a_password_comes_from_a_file(file: Path, password: str) -> None:
    """It is put into the URL, escaped, without the white space around it."""
    secret = file.with_name("secret")
    secret.write_text(f"{password}\n", "utf-8")
    file.write_text(f"{BASE}[bus]\nurl = 'amqp://orders@rabbit/'\npassword_file = '{secret}'")
    bus = load_settings(file).make_bus("orders")
    assert (bus._connections.url.user, bus._connections.url.password) == ("orders", password)
    assert password not in repr(bus)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "bus.url: expected the broker, such as amqp://localhost/"),
        ("url = 'amqp://a@b/'\npassword_file = '/nowhere/x.pw'", "bus.password_file: "),
        ("url = 'amqp://b/'\npassword_file = '/x'", "bus.password_file: expected a url with a us"),
        (f"url = '{URL_WITH}'\npassword_file = '/x'", "bus.password_file: expected a url with a u"),
        ("url = 'amqp://b/'\n[bus.retry]\nlongest = 1", "bus.retry: RetryOptions: first=9 is long"),
    ],
)
def test_what_cannot_be_made_is_told_with_its_place(file: Path, said: str, told: str) -> None:
    """The file, the key and what was expected, and nothing of a password."""
    file.write_text(f"{BASE}[bus]\n{said}")
    options = BusOptions(retry=RetryOptions(first=9))
    with pytest.raises(ConfigurationError) as caught:
        # A table that stands in the file is told with the file.
        load_settings(file).make_bus("orders", options=options)
    assert str(caught.value).startswith(f"{file}: {told}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        f"[bus]\nurl = 'http://orders:{SECRET}@rabbit/'",
        f"[bus]\nurl = 'amqp://orders:{SECRET}/@rabbit/'",
        f"[bus]\nurl = ['{URL_WITH}']",
        f"[bus]\nurl = {{ url = '{URL_WITH}' }}",
        f"[bus]\nulr = '{URL_WITH}'",
        f"[bus]\nprefetch = '{URL_WITH}'",
        f"[bus]\nurl = '{URL_WITH}?heartbeat={SECRET}'",
        f"[bus]\nretry = '{URL_WITH}'",
        f"[bus]\nhealth = '{URL_WITH}'",
        f"bus = '{URL_WITH}'",
        f"url = '{URL_WITH}'",
        f"bus = [{{ url = '{URL_WITH}' }}]",
        f"algorithms = '{URL_WITH}'",
        f"algorithms = ['{URL_WITH}']",
        f"algorithms = ['{'R' * 180}', '{URL_WITH}']",
        f"profile = 'amqp://orders:{SECRET}@{SECRET}@rabbit/'",
        f"[consumers]\nurl = '{URL_WITH}'",
        f"[guard.consumers]\nurl = ['{URL_WITH}']",
        f"[on_expired]\nurl = '{URL_WITH}'",
        f"[claims]\nroles = {{ url = '{URL_WITH}' }}",
        f"tenants = '{URL_WITH}'",
    ],
)
def test_no_error_shows_a_password(file: Path, said: str) -> None:
    """Whatever is wrong with a URL, or wherever it stands, nothing of its password is shown."""
    file.write_text(f"{BASE}{said}")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["GUARD", "PROFILE", "CONSUMERS__URL", "ON_EXPIRED__URL"])
@pytest.mark.parametrize("said", [URL_WITH, f'["{URL_WITH}', f'{URL_WITH}"'])
def test_no_error_shows_a_password_of_a_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    """Nor is one shown in what was expected, which is made of what the variable holds."""
    monkeypatch.setenv(f"BUSAUTH_{name}", said)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert SECRET not in str(caught.value)


def test_no_settings_show_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed, dumped or written as JSON, they have none."""
    monkeypatch.setenv("BUSAUTH_BUS__URL", URL_WITH)
    settings = load_settings()
    for shown in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown


@given(st.text(max_size=30) | st.from_regex(r"[a-z0-9.:\[\]]{0,12}:?[0-9]{0,6}", fullmatch=True))
def test_an_address_is_read_or_refused(text: str) -> None:
    """Whatever is read is a host and a port, and reads the same once it is written."""
    try:
        address = read_address(text)
    except ConfigurationError:
        return
    assert address.host
    assert 0 <= address.port <= 65_535
    assert read_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8080", Address("127.0.0.1", 8080)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),
        ("[::1]:8080", Address("::1", 8080)),
        ("localhost:65535", Address("localhost", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """A port alone is reached from this machine alone."""
    assert read_address(text) == address


@pytest.mark.parametrize("text", ["", ":8080", "::1:8080", "a:65536", "a:-1", "a b:1", "8080\n"])
def test_no_addresses(text: str) -> None:
    """What names no host, or no port, is refused."""
    with pytest.raises(ConfigurationError, match="expected HOST:PORT"):
        read_address(text)
