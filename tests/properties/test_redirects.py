"""A caller's token and redirects: whatever a location looks like, it goes to what was declared."""

import httpx
from hypothesis import given
from hypothesis import strategies as st

from busauth.caller import Lease
from busauth.errors import CallerError
from busauth.integrations.httpx import CallerAuth
from tests.unit.support import as_sent, caller, token


@given(
    scheme=st.sampled_from(["http:", "https:", "HTTPS:", ""]),
    user=st.sampled_from(["", "stock.example@", "stock.example:443@", "a:b@"]),
    host=st.sampled_from(
        ["stock.example", "STOCK.example", "stock.example.", "x.stock.example", "evil", "[::1]"]
    ),
    port=st.sampled_from(["", ":80", ":443", ":8443", ":"]),
    rest=st.sampled_from(["", "/", "/x", "?@stock.example", "#@stock.example", "\\@evil"]),
)
def test_what_carries_the_token_goes_to_what_was_declared(
    scheme: str, user: str, host: str, port: str, rest: str
) -> None:
    """Of a request, the redirect after it and one straight to there, none bears it elsewhere."""
    location = f"{scheme}//{user}{host}{port}{rest}"
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(as_sent(request))
        if request.url.path == "/first":
            return httpx.Response(302, headers={"location": location})
        return httpx.Response(200)

    auth = CallerAuth(["https://stock.example"], caller=caller(_lease=Lease(token())))
    network = httpx.MockTransport(answer)
    with httpx.Client(auth=auth, follow_redirects=True, transport=network) as client:
        for url in ("https://stock.example/first", location):
            try:
                client.get(url)
            except (httpx.HTTPError, httpx.InvalidURL, CallerError):
                continue
    assert "authorization" in seen[0].headers
    for request in seen:
        if "authorization" in request.headers:
            asked = request.url
            origin = asked.scheme, asked.raw_host, asked.port or 443
            assert origin == ("https", b"stock.example", 443)
