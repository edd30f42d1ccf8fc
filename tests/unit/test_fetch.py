"""JSON over HTTP: bounded, uncompressed, https unless said otherwise."""

import asyncio
import gzip
from typing import Any

import pytest

from busauth import JWKS
from busauth._tokens.fetch import Unusable, shown
from busauth.errors import ConfigurationError, Deferred
from busauth.tokens import Fetcher, UnsafeHttp
from tests.unit.support import http, raw_server


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example/jwks",
        "HTTPS://idp.example/jwks",
        "http://127.0.0.1:8080/jwks",
        "http://127.9.9.9/",
        "http://[::1]:8080/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://issuer:8080/jwks",
        "http://ISSUER/jwks",
    ],
)
def test_https_loopback_and_named_hosts_may_be_asked(url: str) -> None:
    """Https goes anywhere; plain http to this machine, and to hosts that are named unsafe."""
    assert Fetcher(unsafe_http=UnsafeHttp("Issuer")).check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/jwks",
        "http://issuer.evil.example/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1\\@evil.example/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://iss/",
        "http:///jwks",
        "https:///jwks",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "//127.0.0.1/",
        "127.0.0.1",
        "",
        "https://[::1",
        "https://idp.example:port/",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    """A URL that is neither https nor on a trusted host is a configuration error."""
    with pytest.raises(ConfigurationError, match="expected https"):
        Fetcher(unsafe_http=UnsafeHttp("issuer")).check_url(url)


def test_a_lone_host_is_one_host_and_not_its_parts() -> None:
    """Naming one host as a string opens http for that host, and for no part of its name."""
    fetcher = Fetcher(unsafe_http="idp.internal")
    assert fetcher.check_url("http://idp.internal/")
    for url in ("http://idp/", "http://internal/", "http://i/"):
        with pytest.raises(ConfigurationError):
            fetcher.check_url(url)


def test_hosts_are_remembered_however_they_were_given() -> None:
    """An iterator of hosts counts for every URL, not only for the first."""
    fetcher = Fetcher(unsafe_http=iter(["IDP"]))
    assert fetcher.check_url("http://idp/") and fetcher.check_url("http://idp/")  # noqa: PT018


async def test_a_json_object_is_returned() -> None:
    """An uncompressed 200 with a JSON object is what is wanted, and what is asked for."""
    async with raw_server(lambda _: http({"keys": []})) as server:
        assert await Fetcher().get_object(f"{server.url}/jwks") == {"keys": []}
    assert server.headers[0]["accept"] == "application/json"
    assert server.headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(http(b"[]"), "gave a list", id="list"),
        pytest.param(http(b'"x"'), "gave a str", id="string"),
        pytest.param(http(b"<html>"), "answers, and not with a JSON object", id="html"),
        pytest.param(http(b""), "not with a JSON object", id="empty"),
        pytest.param(http(b"\xff\xfe\xfd"), "not with a JSON object", id="not-text"),
        pytest.param(http(b"[" * 100_000), "out of reach", id="deep"),
        pytest.param(http(b'{"a":' + b"9" * 5000 + b"}"), "out of reach", id="huge-integer"),
        pytest.param(http({}, status="503 No"), "status 503", id="503"),
        pytest.param(http({}, status="404 No"), "status 404", id="404"),
        pytest.param(http({}, status="201 Created"), "status 201", id="201"),
        pytest.param(http({}, "Location: /other", status="302 Found"), "status 302", id="redirect"),
        pytest.param(
            http({}, "Location: https://evil.example/", status="307 T"), "status 307", id="away"
        ),
        pytest.param(
            http(gzip.compress(b"{}"), "Content-Encoding: gzip"), "uncompressed", id="compressed"
        ),
        pytest.param(http(b'"' + b"a" * 2000 + b'"'), "more than 1000 bytes", id="oversize"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "out of reach", id="cut"),
        pytest.param(b"nonsense\r\n\r\n", "out of reach", id="not-http"),
        pytest.param(b"", "out of reach", id="hung-up"),
    ],
)
async def test_every_other_answer_is_a_transient_fault(answer: bytes, reason: str) -> None:
    """Nobody is guilty of a broken answer: it defers, and nothing is followed or unpacked."""
    async with raw_server(lambda _: answer) as server:
        with pytest.raises(Deferred, match=reason):
            await Fetcher(max_bytes=1000).get_object(f"{server.url}/jwks")
    assert server.requests == ["/jwks"]


async def test_https_where_there_is_none_is_a_contradiction() -> None:
    """A port without TLS will not have it later: a start ends for it, in words."""

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http({}, status="400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unusable, match="no TLS answers there: expected the port that has it"):
            await Fetcher().get_object(f"https://127.0.0.1:{port}/")


async def test_an_endless_answer_is_cut() -> None:
    """No more than the limit is read, even when no length was announced."""
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1_000_000
    async with raw_server(lambda _: endless) as server:
        with pytest.raises(Deferred, match="more than 1000 bytes"):
            await Fetcher(max_bytes=1000).get_object(server.url)


async def test_a_slow_answer_is_given_up() -> None:
    """The whole request has a time limit."""
    async with raw_server(lambda _: None) as server:
        with pytest.raises(Deferred, match=r"no answer within 0\.05 s"):
            await Fetcher(timeout=0.05).get_object(server.url)


async def test_nobody_listening_is_a_transient_fault() -> None:
    """A refused connection defers."""
    async with raw_server(lambda _: b"") as server:
        url = server.url
    with pytest.raises(Deferred, match="out of reach"):
        await Fetcher().get_object(url)


@pytest.mark.parametrize("url", ["https://\x00/", "https://[::1", "https://127.0.0.1/\x01"])
async def test_a_url_that_the_client_cannot_read_is_refused(url: str) -> None:
    """What the client would stumble over is found before it is asked."""
    with pytest.raises(ConfigurationError):
        await Fetcher().get_object(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "https://127.0.0.1:65536/"])
async def test_a_port_that_does_not_exist_is_out_of_reach(url: str) -> None:
    """Metadata may name anything: what cannot be reached defers, however the client says so."""
    with pytest.raises(Deferred, match="out of reach"):
        await Fetcher().get_object(url)


@pytest.mark.parametrize("value", [{}, {"a": [1]}])
async def test_objects_come_back_as_they_are(value: dict[str, Any]) -> None:
    """What was sent is what is returned."""
    async with raw_server(lambda _: http(value)) as server:
        assert await Fetcher().get_object(server.url) == value


_PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy")


@pytest.mark.parametrize("variable", _PROXIES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_plain_http_goes_through_no_proxy(
    variable: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever proxy the environment names sees neither a request for keys nor a form over http."""
    async with raw_server(lambda _: http({"keys": []})) as server, raw_server(_lying) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        url = server.url.replace("127.0.0.1", host)
        assert await Fetcher().get_object(url) == {"keys": []}
        await Fetcher().post_form(url, {"token": "secret"}, {"Authorization": "Basic secret"})
    assert (len(server.requests), proxy.requests) == (2, [])


async def test_https_still_goes_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that carries https end to end is asked for the way, and for nothing else."""
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    async with raw_server(lambda _: http({}, status="503 No")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(Deferred, match="503"):
            await Fetcher().get_object("https://idp.example/jwks")
    assert proxy.requests == ["idp.example:443"]


def _lying(_: object) -> bytes:
    return http({"keys": ["the proxy's"]})


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://idp.example/jwks", "https://idp.example/jwks"),
        ("https://user:S3CRET@idp.example:1/jwks", "https://idp.example:1/jwks"),
        ("https://a@S3CRET@idp.example/jwks", "https://idp.example/jwks"),
        ("https://idp.example/jwks?apikey=S3CRET", "https://idp.example/jwks?…"),
        ("https://u:S3CRET@idp.example/jwks?k=S3CRET#S3CRET", "https://idp.example/jwks?…"),
    ],
)
def test_what_may_be_secret_in_a_url_is_not_told(url: str, told: str) -> None:
    """Userinfo, query and fragment are left out, and it is said that there was something."""
    assert shown(url) == told


@pytest.mark.parametrize("secret", ["user:S3CRET@127.0.0.1:1/jwks", "127.0.0.1:1/jwks?k=S3CRET"])
async def test_who_is_out_of_reach_is_told_without_secrets(secret: str) -> None:
    """Nobody answers there, and neither the log nor a probe learns how one signs in."""
    for ask in (Fetcher().get_object, keys_at):
        with pytest.raises(Deferred) as caught:
            await ask(f"https://{secret}")
        assert "127.0.0.1:1/jwks" in caught.value.reason
        assert "S3CRET" not in caught.value.reason
    with pytest.raises(ConfigurationError) as refused:
        Fetcher().check_url(f"http://idp.example@{secret}".replace("127.0.0.1:1", "idp.example"))
    assert "S3CRET" not in str(refused.value)


async def keys_at(url: str) -> object:
    """Ask for keys."""
    return await JWKS(url).refresh()
