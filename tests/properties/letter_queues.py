"""Queues that dead-letter into each other: what may be declared."""

from typing import Any

from hypothesis import strategies as st

QUEUES = ("a", "b", "c")
LATER = "an exchange that comes and goes"
EXCHANGES = ["", "amq.fanout", LATER, LATER]

Table = dict[str, Any]

limits: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("message_ttl", st.sampled_from([10, 1000, 0])),
    ("expires", st.sampled_from([5000, 50])),
    ("max_length", st.integers(1, 3)),
    ("max_length_bytes", st.sampled_from([5, 50, 0])),
    ("single_active_consumer", st.just(True)),
]


def tables(always: Table, *own: tuple[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Table]:
    """Arguments of a queue: some that it always has, a dead-letter exchange, and up to two more."""
    further = st.one_of(*(st.tuples(st.just(name), values) for name, values in (*limits, *own)))
    return st.builds(
        lambda exchange, more: {"dead_letter_exchange": exchange, **dict(more), **always},
        st.sampled_from(EXCHANGES),
        st.lists(further, max_size=2),
    )


overflow = ("overflow", st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]))
delivery_limit = ("delivery_limit", st.integers(-1, 1))
AT_LEAST_ONCE = {
    "queue_type": "quorum",
    "overflow": "reject-publish",
    "dead_letter_strategy": "at-least-once",
}
declarations: st.SearchStrategy[Table] = st.one_of(
    tables({}, overflow, ("max_priority", st.integers(1, 3))),
    tables({"queue_type": "quorum"}, overflow, delivery_limit, delivery_limit),
    tables(AT_LEAST_ONCE, delivery_limit, delivery_limit),
    tables(AT_LEAST_ONCE),
    st.just({}),
)
