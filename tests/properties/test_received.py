"""Whatever a client decodes of a stranger's message, a judge refuses it, and raises nothing."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from busauth.messages import Received, Refusal
from busauth.testing import Issuer
from tests.support import Trail, guard_for

SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.just(Decimal("1.5"))
    | st.just(datetime(2026, 1, 1, tzinfo=UTC))
    | st.just(datetime.max)  # noqa: DTZ901 -- a client's may be in no time zone
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6
)
NAMES = st.sampled_from(
    [
        *("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id"),
        *("reply_to", "expiration", "message_id", "timestamp", "type", "user_id", "app_id"),
        *("cluster_id", "exchange", "routing_key"),
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(["authorization", "busauth-proof", "busauth-seal", "busauth-purpose"])
    | st.text(max_size=10)
    | st.binary(max_size=5),
    VALUES,
    max_size=5,
)


@given(
    headers=HEADERS,
    said=st.dictionaries(NAMES, SCALARS, max_size=5),
    body=st.binary(max_size=20),
)
def test_whatever_is_received_is_judged(
    session_issuer: Issuer, headers: dict[Any, Any], said: dict[str, Any], body: bytes
) -> None:
    """It becomes a copy that any client can write, for the rejected."""

    async def judge() -> None:
        judge = guard_for(session_issuer, Trail()).judge(queue="q")
        whole: dict[str, Any] = {"exchange": "", "routing_key": "q", **said}
        async with judge(
            Received(body=body, headers=headers, redelivered=False, **whole)
        ) as judged:
            assert isinstance(judged, Refusal)
            assert judged.copy is not None
            assert judged.copy.queue == "q.rejected"
            assert judged.copy.body == body

    asyncio.run(judge())
