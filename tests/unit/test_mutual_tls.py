"""A client that proves itself by a certificate at TLS (RFC 8705)."""

import asyncio
import json
import ssl
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization

from busauth.delegation import Subject, TokenExchange
from busauth.errors import Deferred, Forbidden
from busauth.tokens import ClientSecretPost, MutualTls
from tests.unit.exchange_world import PAYMENTS, make_world
from tests.unit.test_tls_docs import certify


async def test_a_certificate_is_shown_and_the_form_has_the_clients_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that demands a certificate sees it; without one, nobody answers."""
    certificate, private = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    seen: list[tuple[object, dict[str, list[str]]]] = []
    body = json.dumps({"error": "invalid_target"}).encode()
    head = f"HTTP/1.1 400 No\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(headers.partition("content-length: ")[2].partition("\r\n")[0])
        form = parse_qs((await reader.readexactly(length)).decode())
        shown = writer.get_extra_info("ssl_object").getpeercert()
        seen.append((shown["subject"][0][0], form))
        writer.write(head + body)
        await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, private)
    subject: Subject = await make_world().subject()
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        shows = MutualTls("orders", certificate=certificate, key=private)
        with pytest.raises(Forbidden, match="invalid_target"):
            await TokenExchange("https://issuer.test", client=shows, endpoint=url).exchange(
                subject, PAYMENTS
            )
        hides = ClientSecretPost("orders", "secret")
        with pytest.raises(Deferred):
            await TokenExchange("https://issuer.test", client=hides, endpoint=url).exchange(
                subject, PAYMENTS
            )
        lost = MutualTls("orders", certificate=tmp_path / "lost.pem")
        with pytest.raises(Deferred, match=r"lost\.pem"):
            await TokenExchange("https://issuer.test", client=lost, endpoint=url).exchange(
                subject, PAYMENTS
            )
    ((name, form),) = seen
    assert name == ("commonName", "ours")
    assert form["client_id"] == ["orders"]
    assert "client_secret" not in form


async def test_a_pass_phrase_is_never_asked_for(tmp_path: Path) -> None:
    """A key that is encrypted is told at once; whoever sits at a terminal is asked nothing."""
    certificate, private = certify(tmp_path)
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"swordfish"),
        )
    )
    shows = MutualTls("orders", certificate=certificate, key=locked)
    exchange = TokenExchange("https://issuer.test", client=shows, endpoint="https://127.0.0.1:1/")
    subject = await make_world().subject()
    with pytest.raises(Deferred, match="without a pass phrase"):
        await exchange.exchange(subject, PAYMENTS)
