"""Who may ask a server on loopback: this machine's programs, and the server's own page.

A page of somebody else's runs in a browser on this machine, too. Its requests name that page's host
(DNS rebinding: a name of its own that leads here), or its origin (cross-site request forgery), and
none of them is answered, whatever it asks for.
"""

from busauth.testing.issuer import Request

PORT = 7600
"""Where it listens, unless told otherwise."""

_NAMES = ("127.0.0.1", "localhost")
_HTTP_PORT = 80  # which nobody names, as a URL without a port has it
_OWN_SITES = (None, "same-origin", "none")


def why_not(request: Request, port: int) -> str | None:
    """Return why a request is not answered; None where it is.

    Args:
        request: what was asked.
        port: where this server listens.
    """
    host, origin = request.headers.get("host"), request.headers.get("origin")
    unnamed = _NAMES if port == _HTTP_PORT else ()
    if host not in (*(f"{name}:{port}" for name in _NAMES), *unnamed):
        return f"it was sent to another host: expected Host: 127.0.0.1:{port} or localhost:{port}"
    if origin not in (None, f"http://{host}"):
        return f"it comes from a page of another origin: expected http://{host}, or none"
    # What a browser says by itself (Fetch Metadata); a link may lead to the page from anywhere.
    is_link = request.method == "GET" and request.path == "/"
    if not is_link and request.headers.get("sec-fetch-site") not in _OWN_SITES:
        return "it comes from a page of another site: expected this server's own page"
    return None
