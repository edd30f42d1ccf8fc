"""Where an issuer keeps its keys."""

import pytest

from busauth._tokens.keys.discovery import discover_jwks_uri, metadata_urls
from busauth.errors import ConfigurationError, Deferred
from busauth.tokens import Fetcher
from tests.unit.support import RawServer, http, raw_server

OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"


@pytest.mark.parametrize(
    ("issuer", "paths"),
    [
        ("https://idp", (OPENID, OAUTH)),
        ("https://idp/", (OPENID, OAUTH)),
        ("https://idp/a", (f"/a{OPENID}", f"{OAUTH}/a")),
        ("https://idp/a/", (f"/a{OPENID}", f"{OAUTH}/a")),
        ("https://idp/a/b", (f"/a/b{OPENID}", f"{OAUTH}/a/b")),
    ],
)
def test_openid_appends_and_rfc_8414_inserts(issuer: str, paths: tuple[str, str]) -> None:
    """OpenID puts the well-known path behind the issuer's, RFC 8414 between host and path."""
    assert metadata_urls(issuer) == tuple(f"https://idp{path}" for path in paths)


def test_the_port_belongs_to_the_host() -> None:
    """A port stays where it was."""
    assert metadata_urls("http://127.0.0.1:81/a")[1] == f"http://127.0.0.1:81{OAUTH}/a"


@pytest.mark.parametrize(
    "issuer", ["https://idp?a=b", "https://idp#a", "idp", "", "/path", "https://", "https://[::1"]
)
def test_an_issuer_is_a_url_without_query_and_fragment(issuer: str) -> None:
    """What RFC 8414, section 2 does not allow is a configuration error."""
    with pytest.raises(ConfigurationError):
        metadata_urls(issuer)


@pytest.mark.parametrize("path", [f"/tenant{OPENID}", f"{OAUTH}/tenant"])
async def test_either_document_serves(path: str) -> None:
    """The keys are found whether an issuer follows OpenID or RFC 8414."""

    def respond(asked: str) -> bytes:
        metadata = {"issuer": f"{server.url}/tenant", "jwks_uri": "https://keys.example/"}
        return http(metadata) if asked == path else http({}, status="404 No")

    async with raw_server(respond) as server:
        found = await discover_jwks_uri(f"{server.url}/tenant", Fetcher())
    assert found == "https://keys.example/"


async def discovered(server: RawServer, issuer: str) -> str:
    with pytest.raises(Deferred) as caught:
        await discover_jwks_uri(issuer, Fetcher())
    return caught.value.reason


@pytest.mark.parametrize("suffix", ["/", "x", "/.", "?"])
async def test_another_issuer_is_refused_to_the_letter(suffix: str) -> None:
    """Metadata that speaks for another issuer is not used, be it one slash that differs."""

    def respond(_path: str) -> bytes:
        return http({"issuer": f"{server.url}{suffix}", "jwks_uri": f"{server.url}/jwks"})

    async with raw_server(respond) as server:
        assert "to the letter" in await discovered(server, server.url)


async def test_a_configured_slash_is_compared_too() -> None:
    """An issuer that is configured with a slash is not the one without."""
    async with raw_server(
        lambda _: http({"issuer": server.url, "jwks_uri": "https://k/"})
    ) as server:
        assert "to the letter" in await discovered(server, f"{server.url}/")


@pytest.mark.parametrize("uri", [None, 5, ["https://keys.example/"], {}])
async def test_metadata_without_a_jwks_uri_is_told_so(uri: object) -> None:
    """Without a place for keys the operator is told to configure one."""
    async with raw_server(lambda _: http({"issuer": server.url, "jwks_uri": uri})) as server:
        assert "names no jwks_uri" in await discovered(server, server.url)


@pytest.mark.parametrize("issuer", [None, 5, ["x"]])
async def test_metadata_with_an_odd_issuer_is_refused(issuer: object) -> None:
    """`issuer` is a string or the document counts for nothing."""
    async with raw_server(lambda _: http({"issuer": issuer, "jwks_uri": "https://k/"})) as server:
        assert "speaks for issuer" in await discovered(server, server.url)


async def test_the_configured_issuer_is_the_one_to_change() -> None:
    """What the metadata says is what `issuer` is to be set to."""
    async with raw_server(
        lambda _: http({"issuer": server.url, "jwks_uri": "https://k/"})
    ) as server:
        told = await discovered(server, f"{server.url}/")
    assert f"set issuer to {server.url!r}, if it is the one that is meant" in told


async def test_an_issuer_that_has_no_metadata_was_reached() -> None:
    """It answers, so the path is what may be wrong; it is not out of reach."""
    async with raw_server(lambda _: http({}, status="404 No")) as server:
        told = await discovered(server, f"{server.url}/tenant")
    assert "status 404" in told
    assert "check its path, or name its keys by jwks_url" in told
    assert "out of reach" not in told


@pytest.mark.parametrize("issuer", ["127.0.0.1", "127.0.0.1:80", "idp", "/path", "https://", ""])
def test_an_issuer_without_a_scheme_is_told_so(issuer: str) -> None:
    """What is missing is https://, and nothing else."""
    with pytest.raises(ConfigurationError, match="expected a URL, with https:// and a host"):
        metadata_urls(issuer)


async def test_no_metadata_tells_about_the_first_place() -> None:
    """When both places fail, the first problem is the one that is told."""
    async with raw_server(lambda _: http({}, status="404 No")) as server:
        assert OPENID in await discovered(server, server.url)
    assert server.requests == [OPENID, OAUTH]
