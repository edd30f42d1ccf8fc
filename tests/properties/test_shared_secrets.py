"""A secret that was taken in once makes the same MACs, message after message."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from busauth._tokens.keys.key import load_key
from busauth.tokens import shared_secret


@given(
    secret=st.binary(min_size=64, max_size=200),
    messages=st.lists(st.binary(max_size=80), min_size=1, max_size=3),
    algorithm=st.sampled_from(["HS256", "HS384", "HS512"]),
    data=st.data(),
)
def test_a_shared_secret_signs_as_the_standard_library_does(
    secret: bytes, messages: list[bytes], algorithm: str, data: st.DataObject
) -> None:
    """One after the other, with secrets shorter and longer than a block; nothing else holds."""
    key = load_key(shared_secret(secret, algorithm=algorithm), (algorithm,))
    for message in messages:
        expected = hmac.digest(secret, message, f"sha{algorithm[2:]}")
        assert key.verifies(message, expected)
        other = data.draw(st.binary(max_size=80) | st.just(expected[:-1]) | st.just(b""))
        assert key.verifies(message, other) is (other == expected)
        assert key.verifies(message + b".", expected) is False
