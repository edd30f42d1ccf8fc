"""An issuer in process, for httpx: no socket, and time that stands on its clock."""

import math

import httpx

from busauth.testing.issuer.http.front import Front
from busauth.testing.issuer.http.messages import Request


class IssuerTransport(Front, httpx.AsyncBaseTransport):
    """Answers ``httpx.AsyncClient(transport=...)`` for an issuer; other hosts are out of reach.

    `delay` passes on the issuer's clock, and so does the client's read timeout.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the issuer's answer.

        Raises:
            httpx.ConnectError: another host was asked.
            httpx.ReadTimeout: `delay` is longer than the client waits.
            httpx.RemoteProtocolError: the connection is `broken`.
        """
        if _origin(request.url) != _origin(httpx.URL(self._answering.url)):
            raise httpx.ConnectError(f"nobody but {self._answering.url} is here", request=request)
        asked = await _read(request)
        self.received.append(asked)
        await self._wait(request)
        answer = self._answered(asked)
        if answer is None:
            raise httpx.RemoteProtocolError("the connection broke", request=request)
        # A stream, as from a socket: `content` could not be read piece by piece.
        body = httpx.ByteStream(answer.body)
        return httpx.Response(answer.status, headers=answer.head(), stream=body)

    async def _wait(self, request: httpx.Request) -> None:
        patience = request.extensions.get("timeout", {}).get("read")
        patience = math.inf if patience is None else patience
        await self._answering.clock.sleep(min(self.delay, patience))
        if self.delay > patience:
            raise httpx.ReadTimeout(f"no answer within {patience:g} s", request=request)


async def _read(request: httpx.Request) -> Request:
    headers = {name.lower(): value for name, value in request.headers.items()}
    target = request.url.raw_path.decode("ascii")
    return Request(request.method, target, headers, await request.aread())


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
