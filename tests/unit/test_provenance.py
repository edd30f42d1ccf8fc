"""What a message's transaction token is, as text and as its bytes."""

from typing import Any
from unittest.mock import Mock

import pytest
from aio_pika.message import Message
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth import Verifiers
from busauth._amqp.consuming.message_rules import MessageRules
from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import BEARER, PROOF, TXN_TOKEN
from busauth._amqp.publishing.outbox import Outbox
from busauth._tokens.verifier import fingerprint
from busauth.errors import BadMessage
from busauth.messages import Route
from busauth.testing import ManualClock
from tests.unit.proving import proofs, signer
from tests.unit.support import ISSUER, NOW, caller, token, verifier

TXN = "a-transaction-token"


def sent(transaction_token: object, raw: str) -> dict[str, Any]:
    """Return the headers of a message that was published with a proof."""
    outbox = Outbox(
        header=BEARER,
        verifiers=Verifiers(verifier()),
        clock=ManualClock(NOW),
        signer=signer(),
    )
    headers: Any = {"tenant": "shop-1", TXN_TOKEN: transaction_token}
    message = Message(b"{}", headers=headers, message_id="m-1")
    return dict(outbox.prepare(message, raw, routing_key="orders").properties.headers or {})


def judged(headers: dict[str, Any], raw: str) -> None:
    """Hold a delivery to its proof."""
    delivered = DeliveredMessage(
        delivery=Basic.Deliver(consumer_tag="c", delivery_tag=1, routing_key="orders"),
        header=ContentHeader(properties=Basic.Properties(headers=headers, message_id="m-1")),
        body=b"{}",
        channel=Mock(),
    )
    asked = MessageRules(proofs=proofs(), routes=(Route("", "orders"),))
    delivery = Delivery(delivered)
    whose = caller(token_sha256=fingerprint(raw), issuer=ISSUER)
    asked.provenance_of(delivery, whose, asked.recall(delivery), NOW)


_FORMS = (TXN, bytearray(TXN.encode()))


@pytest.mark.parametrize("published", _FORMS, ids=["text-sent", "bytes-sent"])
@pytest.mark.parametrize("arrived", _FORMS, ids=["text-came", "bytes-came"])
def test_a_transaction_token_is_the_same_as_text_and_as_bytes(
    published: object, arrived: object
) -> None:
    """Whichever a client writes, and whichever comes out, the proof binds one token."""
    raw = token()
    judged({**sent(published, raw), TXN_TOKEN: arrived}, raw)


@pytest.mark.parametrize("other", [b"another", bytearray(b"another"), b"\xff", 5, [TXN], None])
def test_anything_else_is_not_the_one_that_was_signed(other: object) -> None:
    """Another one, none, and what is neither text nor ASCII are refused."""
    raw = token()
    with pytest.raises(BadMessage, match=r"proof\.token"):
        judged({**sent(bytearray(TXN.encode()), raw), TXN_TOKEN: other}, raw)


def test_a_transaction_token_in_bytes_cannot_be_added() -> None:
    """A proof that speaks of none holds for none, in whatever form it comes."""
    raw = token()
    headers = sent(TXN, raw)
    proof = sent(None, raw)[PROOF]
    with pytest.raises(BadMessage, match=r"proof\.token"):
        judged({**headers, PROOF: proof, TXN_TOKEN: TXN.encode()}, raw)
