"""What an issuer says of itself (RFC 8414, section 3; OpenID Connect Discovery 1.0, section 4)."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from busauth._tokens.fetch import Fetcher, Unusable, shown
from busauth.errors import ConfigurationError, Deferred


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Return where an issuer's metadata may be: OpenID appends the path, RFC 8414 inserts it.

    Raises:
        ConfigurationError: the issuer is no URL, or has a query or fragment (RFC 8414, section 2).
    """
    try:
        parts = urlsplit(issuer)
    except ValueError:  # as in "https://[": told below, in words that say what is expected
        parts = urlsplit("")
    if not parts.netloc:
        raise ConfigurationError(
            f"issuer={issuer!r}: expected a URL, with https:// and a host in front"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"issuer={issuer!r}: expected a URL without query and fragment")
    path = parts.path.rstrip("/")
    openid = f"{path}/.well-known/openid-configuration"
    oauth = f"/.well-known/oauth-authorization-server{path}"
    return tuple(urlunsplit((parts.scheme, parts.netloc, at, "", "")) for at in (openid, oauth))  # type: ignore[return-value]  # two in, two out


async def discover_jwks_uri(issuer: str, fetcher: Fetcher) -> str:
    """Return the `jwks_uri` from an issuer's metadata.

    Raises:
        Deferred: there is no metadata now; `Unusable` where there is none, or another issuer's.
    """
    url, metadata = await discover(issuer, fetcher)
    if not isinstance(metadata.get("jwks_uri"), str):
        raise Unusable(f"{shown(url)} names no jwks_uri: configure JWKS(url) instead")
    return str(metadata["jwks_uri"])


async def discover(issuer: str, fetcher: Fetcher) -> tuple[str, dict[str, Any]]:
    """Return where an issuer's metadata is, and what it says.

    Raises:
        Deferred: there is no metadata now; `Unusable` where there is none, or another issuer's.
    """
    problem: Deferred | None = None
    for url in metadata_urls(issuer):
        try:
            metadata = await fetcher.get_object(url)
        except Deferred as deferred:
            if problem is None or isinstance(problem, Unusable) > isinstance(deferred, Unusable):
                problem = deferred  # the other one may be there, as soon as it can be reached
            continue
        if metadata.get("issuer") != issuer:
            found = metadata.get("issuer")
            raise Unusable(
                f"{shown(url)} speaks for issuer {found!r}, and {issuer!r} is configured: both are "
                f"to be the same to the letter; set issuer to {found!r}, if it is the one that is "
                "meant"
            )
        return url, metadata
    if isinstance(problem, Unusable):
        raise Unusable(
            f"{problem}; no metadata of issuer {issuer!r} is there: check its path, or name its "
            "keys by jwks_url, JWKS(url) in code"
        ) from problem
    raise problem or Deferred(f"no metadata for {issuer}")
