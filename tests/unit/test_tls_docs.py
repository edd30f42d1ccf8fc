"""docs/tls.md: an authority of one's own is trusted as the page says, and not otherwise."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from busauth import JWKS, Bus, ConfigurationError, Deferred, Guard
from tests.unit.support import Signer, pem_of

PAGE = (Path(__file__).parents[2] / "docs" / "tls.md").read_text("utf-8")


def certify(folder: Path) -> tuple[Path, Path]:
    """Write a certificate that vouches for itself at 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ours")])
    now = datetime.now(UTC)
    at = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(at, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "ours.pem", folder / "ours.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(pem_of(key))
    return certificate, private


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """A key set over https, by a certificate of one's own."""
    certificate, private = certify(tmp_path)
    body = json.dumps({"keys": [Signer("ES256").jwk()]}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, private)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks", certificate


def shown(url: str) -> Any:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block.replace("https://idp.internal/jwks", url), names)  # the document's own code
    return names["inside"]


async def test_an_authority_for_one_issuer(served: tuple[str, Path]) -> None:
    """Keys come, time and again, by the page's transport; without it nobody vouches for them."""
    url, authority = served
    keys = shown(url)(str(authority))
    assert await keys.refresh()
    assert keys.candidates("main", "ES256")
    assert await keys._fetcher.get_object(url)
    with pytest.raises(Deferred, match="certificate"):
        await JWKS(url).refresh()


async def test_an_authority_for_the_process(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable that the page names is read."""
    url, authority = served
    assert "SSL_CERT_FILE=" in PAGE
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert await JWKS(url).refresh()


def test_a_file_that_is_not_there_is_told() -> None:
    """When the bus is made, before anything connects."""
    guard = Guard(issuer="https://idp.example", audience="shop")
    with pytest.raises(ConfigurationError, match="cafile"):
        Bus("amqps://broker.example/?cafile=/nowhere/ca.pem", guard=guard, service="orders")
