"""A value with a canonical spelling arrives as itself: the client's own codec is the witness."""

from typing import Any

from hypothesis import example, given
from pamqp import decode, encode

from busauth._messages.canonical import canonical
from tests.properties.test_proofs import canonical_values


def carried(value: Any) -> Any:
    """Send a value through an AMQP 0-9-1 table, as aiormq does for headers."""
    _, table = decode.field_table(encode.field_table({"tenant": value}))
    return table["tenant"]


@given(value=canonical_values)
@example(value=2**63 - 1)
@example(value=-(2**63))
@example(value=2**31)
@example(value=-129)
@example(value=[])
@example(value={"": {}})
@example(value=[None, True, 0, "", "\x00"])
def test_what_is_signed_arrives_as_it_was(value: Any) -> None:
    """No canonical value changes its spelling on the wire."""
    assert canonical(carried(value)) == canonical(value)
