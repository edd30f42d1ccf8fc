"""A broker's URL: whatever is wrong with it, nothing of a password in it is shown."""

import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from yarl import URL

from busauth import Bus, Guard
from busauth._amqp.connecting.address import broker_url
from busauth._amqp.resending.again import Sending
from busauth.audit import EventKind
from busauth.cli import app
from busauth.errors import ConfigurationError
from busauth.letters import dead_letters
from busauth.revocation import FeedPublisher, RevocationFeed
from busauth.testing import Kit, ManualClock, RabbitMQ
from scripts.broker.telling import BrokerError
from scripts.broker.ways import address
from tests.unit.revoking import transmitters
from tests.unit.support import pem_of, private_key

SECRET = "hunter2"
UNESCAPED = [
    f"amqp://app:{SECRET}/{SECRET}@broker.test/",
    f"amqp://app:{SECRET}#{SECRET}@broker.test/",
    f"amqp://app:{SECRET}?{SECRET}@broker.test/",
    f"amqps://app:1{SECRET}@{SECRET}/{SECRET}@broker.test:5671/shop",
    f"amqp://app:1234/{SECRET}@broker.test/",
    f"amqp://{SECRET}:1234/@broker.test/",
    f"amqp://{SECRET}/1@broker.test/",
    f"amqp://app:{SECRET}[{SECRET}]@broker.test/",
    f"amqp://app:{SECRET}[@broker.test/",
    f"amqp://app:{SECRET}\u2100@broker.test/",
    f"amqp://app:{SECRET}",
    f"amqp:/app:{SECRET}@broker.test/",
    f"amqp:app:{SECRET}@broker.test/",
    f"app:{SECRET}@broker.test",
    f"{SECRET}@broker.test",
    f"{SECRET}:app@broker.test",
    f"{SECRET}://broker.test/",
    f"http://app:{SECRET}@broker.test/",
]


@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 64])
def test_a_name_that_no_host_can_have_is_not_waited_for(host: str) -> None:
    """No broker will ever be found there, so nobody tries time after time."""
    with pytest.raises(ConfigurationError, match="names no broker: expected amqp://host/"):
        broker_url(f"amqp://{host}/")


@pytest.mark.parametrize("url", UNESCAPED)
def test_nothing_of_a_url_that_cannot_be_read_is_shown(url: str) -> None:
    """An unescaped character in a password is told as such, and so is what is no broker's URL."""
    with pytest.raises(ConfigurationError, match="amqp://host/") as caught:
        broker_url(url)
    told = "".join(traceback.format_exception(caught.value, chain=False)[-1:])
    assert SECRET not in told
    assert "app" not in told
    assert caught.value.__context__ is None


guard = Guard(issuer="https://idp.example", audience="shop")


async def opened(kit: Kit) -> None:
    async with kit:
        """Never get here."""


async def never(_message: object, _limit: int) -> None:
    raise AssertionError


def sending(url: str) -> Any:
    return Sending(url=url, guard=guard, queue="q", source="q.dead", told=EventKind.REDRIVEN)


TAKERS: dict[str, Callable[[str], Any]] = {
    "bus": lambda url: Bus(url, guard=guard, service="orders"),
    "letters": lambda url: dead_letters(url, "orders.dead"),
    "again": lambda url: sending(url).run(never),
    "publisher": FeedPublisher,
    "feed": lambda url: RevocationFeed(url, transmitters()),
    "kit": lambda url: opened(Kit(RabbitMQ(url), ManualClock())),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("url", UNESCAPED[:6])
async def test_whoever_takes_a_url_takes_it_like_this(taker: str, url: str) -> None:
    """Wherever a broker is named, its password stays where it is."""

    async def take() -> None:
        taken = TAKERS[taker](url)
        if isinstance(taken, Awaitable):
            await taken

    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        await take()
    assert SECRET not in str(caught.value)


@given(password=st.text(), user=st.text(), vhost=st.text())
def test_what_is_escaped_arrives(password: str, user: str, vhost: str) -> None:
    """Percent-encoded, any name, password and virtual host gets through."""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    url = broker_url(f"amqp://{login}@broker.test/{quote(vhost, safe='')}")
    assert (url.host, url.port) == ("broker.test", 5672)
    assert ((url.user or ""), (url.password or "")) == (user, password)


@given(st.text(st.characters() | st.sampled_from("/?#@:[]%\\ 1")))
def test_the_host_that_is_shown_is_the_host(password: str) -> None:
    """Whatever a password has in it, what is taken for the host is what was written as the host."""
    with suppress(ConfigurationError):
        url = broker_url(f"amqp://app:{password}@broker.test:1234/")
        assert (url.scheme, url.host, url.port) == ("amqp", "broker.test", 1234)


def test_a_url_without_a_port_gets_its_schemes() -> None:
    """RabbitMQ listens on 5672, with TLS on 5671."""
    assert broker_url("amqp://h/").port == 5672
    assert broker_url("amqps://h/%40?heartbeat=3").port == 5671
    assert broker_url(URL("amqp://u@[::1]:7/")).port == 7


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("connection_timeout=x", "connection_timeout in the broker's URL: expected milliseconds"),
        ("connection_timeout=0", "expected milliseconds from 1 to 600000"),
        ("heartbeat=x", "heartbeat in the broker's URL: expected seconds from 0 to 65534"),
        ("heartbeat=-1", "expected seconds"),
        ("heartbeat=65535", "expected seconds"),
        ("timeout=x", "timeout in the broker's URL: expected seconds from 1"),
        ("reconnect_interval=-1", "reconnect_interval in the broker's URL: expected seconds"),
        ("happy_eyeballs_delay=x", "expected seconds, such as"),
        ("interleave=x", "expected a number from 0 to 2"),
        ("fail_fast=x", "expected 0 or 1 or true or false"),
        ("no_verify_ssl=false", "expected 0 or 1"),
        ("auth=magic", "expected plain or external"),
        ("name=", "expected a name"),
        ("cafile=/absent", "cafile in the broker's URL: expected the path of a file that is there"),
        ("certfile=/absent", "expected the path of a file"),
        ("keyfile=/absent", "expected the path of a file"),
        ("capath=/absent", "expected the path of a folder"),
        ("cadata=!", "expected certificates in base64"),
        ("conection_timeout=5", "did you mean connection_timeout?"),
        ("heartbeats=5", "did you mean heartbeat?"),
    ],
)
def test_a_parameter_that_would_not_count_is_told(query: str, told: str) -> None:
    """The client library takes what it cannot read for a default, or for its contrary."""
    with pytest.raises(ConfigurationError) as caught:
        broker_url(f"amqps://app:{SECRET}@broker.test/?{query}")
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)


def test_parameters_that_count_are_taken(tmp_path: Path) -> None:
    """Each as the client library reads it, and others' parameters as they are."""
    (tmp_path / "ca.pem").write_text("x")
    query = (
        f"cafile={tmp_path}/ca.pem&capath={tmp_path}&cadata=eA%3D%3D&auth=EXTERNAL&heartbeat=0"
        "&reconnect_interval=0.5&no_verify_ssl=1&fail_fast=True&name=orders&frame_max=4096"
    )
    assert broker_url(f"amqps://h/?{query}").query["heartbeat"] == "0"


@pytest.mark.parametrize("url", UNESCAPED[:6])
def test_commands_end_with_a_sentence_that_shows_no_password(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`busauth revoke` and the like say what is wrong with the URL, without it."""
    key = tmp_path / "ops.pem"
    key.write_bytes(pem_of(private_key("ES256", "ops")))
    who = ["--transmitter", "ops", "--audience", "shop", "--key", str(key), "--algorithm", "ES256"]
    monkeypatch.setenv("BUSAUTH_AMQP_URL", url)
    for command in (["revoke", *who, "--issuer", "https://i", "--jti", "1"], ["heartbeats", *who]):
        ended = CliRunner().invoke(app, command)
        assert ended.exit_code == 1
        assert "cannot be read" in ended.output
        assert SECRET not in ended.output


@pytest.mark.parametrize("url", UNESCAPED[:12])
def test_the_runner_of_brokers_shows_no_password(url: str) -> None:
    """A broker that the environment names is told by its host, and by nothing else."""
    with pytest.raises(BrokerError) as caught:
        address(url)
    assert SECRET not in str(caught.value)
