"""What each worker does with a message, called as the bare function that it is."""

import time
from typing import Any
from uuid import UUID

import httpx
import pytest

from busauth import Grace, Reject
from busauth.testing import Issuer
from tests.workers.conftest import Door, StubBus
from workers import issuer, ledger, notifications, orders, payments, shop
from workers.shop import Notice, Order, PaymentRequest

ORDER = UUID("7b0c4d1e-0000-4000-8000-000000000001")
PAYMENT = PaymentRequest(order=ORDER, amount=5800)


@pytest.fixture
def books(monkeypatch: pytest.MonkeyPatch, door: Door) -> dict[Any, int]:
    """The real ledger, called in this process by the payments worker."""
    entries: dict[Any, int] = {}
    monkeypatch.setattr(ledger, "guard", door.guard)
    monkeypatch.setattr(ledger, "entries", entries)
    transport = httpx.ASGITransport(app=ledger.app)
    client = httpx.AsyncClient(transport=transport, base_url="http://ledger")
    monkeypatch.setattr(payments, "ledger", client)
    return entries


async def test_an_order_asks_for_its_price(
    monkeypatch: pytest.MonkeyPatch, bus: StubBus, door: Door
) -> None:
    """An order is priced and becomes a payment request on the caller's behalf."""
    monkeypatch.setattr(orders, "bus", bus)
    await orders.place.handler(Order(id=ORDER, item="teapot", quantity=2), await door.caller())
    assert bus.published == [(shop.PAYMENTS_REQUESTED, PAYMENT, None)]


async def test_an_unknown_item_is_rejected_for_good(
    monkeypatch: pytest.MonkeyPatch, bus: StubBus, door: Door
) -> None:
    """An item that is not sold is a `Reject`, which is not retried."""
    monkeypatch.setattr(orders, "bus", bus)
    with pytest.raises(Reject, match="no such item"):
        await orders.place.handler(Order(id=ORDER, item="moon", quantity=1), await door.caller())
    assert bus.published == []


async def test_a_payment_is_written_down_for_its_caller(
    monkeypatch: pytest.MonkeyPatch, bus: StubBus, door: Door, books: dict[Any, int]
) -> None:
    """The ledger is asked with the caller's own token, and the customer is told."""
    monkeypatch.setattr(payments, "bus", bus)
    await payments.take.handler(PAYMENT, await door.caller())
    assert books == {(ORDER, "alice"): 5800}
    assert bus.published == [(shop.NOTIFICATIONS_DUE, Notice(order=ORDER, text="paid"), None)]


async def test_a_late_payment_is_written_down_too(
    monkeypatch: pytest.MonkeyPatch, bus: StubBus, door: Door, books: dict[Any, int]
) -> None:
    """The ledger takes a token that expired in the queue, as long as payments does."""
    monkeypatch.setattr(payments, "bus", bus)
    expired = door.bearer(exp=int(time.time()) - 60)["authorization"]
    caller = await door.guard.authenticate(expired, on_expired=Grace(minutes=10))
    await payments.take.handler(PAYMENT, caller)
    assert books == {(ORDER, "alice"): 5800}
    told = Notice(order=ORDER, text="paid, later than you asked")
    assert [body for _, body, _ in bus.published] == [told]


async def test_what_the_ledger_forbids_is_rejected_for_good(
    monkeypatch: pytest.MonkeyPatch, bus: StubBus, door: Door, books: dict[Any, int]
) -> None:
    """A caller without the ledger's scope is refused there, and the message is not retried."""
    monkeypatch.setattr(payments, "bus", bus)
    with pytest.raises(Reject, match="ledger"):
        await payments.take.handler(PAYMENT, await door.caller(scope="payments:take"))
    assert books == {}
    assert bus.published == []


async def test_a_notice_tells_its_caller(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """Whom to tell is taken from the verified token."""
    await notifications.tell.handler(Notice(order=ORDER, text="paid"), await door.caller())
    assert "alice is told: order 7b0c4d1e is paid" in capsys.readouterr().out


def test_the_issuer_shows_tokens_that_can_be_pasted(
    session_issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever tries the shop finds a token for everybody it knows."""
    issuer.show_tokens(session_issuer)
    assert capsys.readouterr().out.count("\neyJ") == len(issuer.PEOPLE)
