"""The compact serialization, read strictly."""

import json

import pytest

from busauth._tokens.compact import MAX_DEPTH, split
from busauth.errors import NotGenuine
from tests.unit.support import b64

HEADER = b64(b'{"alg":"RS256"}')
PAYLOAD = b64(b'{"sub":"alice"}')
SIGNATURE = b64(b"signature")


def compact(header: bytes = b'{"alg":"RS256"}', payload: bytes = b'{"sub":"alice"}') -> str:
    return f"{b64(header)}.{b64(payload)}.{SIGNATURE}"


def code_of(text: str, *, max_bytes: int = 8192) -> str:
    with pytest.raises(NotGenuine) as caught:
        split(text, max_bytes=max_bytes)
    assert text[:40] not in caught.value.detail or not text
    return caught.value.code


def nested(levels: int) -> bytes:
    """Return an object with so many levels, itself included."""
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_a_well_formed_token_is_split_and_decoded() -> None:
    """The parts come back decoded, and the signing input is the text before the last dot."""
    token = split(compact(), max_bytes=8192)
    assert token.header == {"alg": "RS256"}
    assert token.payload == {"sub": "alice"}
    assert token.signing_input == f"{HEADER}.{PAYLOAD}".encode()
    assert token.signature == b"signature"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("", "token.empty", id="empty"),
        pytest.param("a" * 8193, "token.too_large", id="huge"),
        pytest.param(f"{HEADER}.{PAYLOAD}.sïg", "token.characters", id="non-ascii"),
        pytest.param(f"{HEADER}.{PAYLOAD}.\ud800", "token.characters", id="surrogate"),
        pytest.param(f"{HEADER}.{PAYLOAD}.\uff11\uff12", "token.characters", id="unicode-digits"),
        pytest.param(f"{compact()}\n", "token.characters", id="trailing-newline"),
        pytest.param(f" {compact()}", "token.characters", id="leading-blank"),
        pytest.param(f"{HEADER}.{PAYLOAD}.YQ==", "token.characters", id="padding"),
        pytest.param(f"{HEADER}.{PAYLOAD}.a+/b", "token.characters", id="plain-base64"),
        pytest.param('{"payload":"x","signatures":[]}', "token.characters", id="json-form"),
        pytest.param(HEADER, "token.segments", id="1-part"),
        pytest.param(f"{HEADER}.{PAYLOAD}", "token.segments", id="2-parts"),
        pytest.param(f"{compact()}.YQ", "token.segments", id="4-parts"),
        pytest.param(f"{compact()}.YQ.YQ", "token.segments", id="5-parts-jwe"),
        pytest.param("..", "token.segments", id="only-dots"),
        pytest.param(f".{PAYLOAD}.{SIGNATURE}", "token.segments", id="empty-header"),
        pytest.param(f"{HEADER}..{SIGNATURE}", "token.segments", id="empty-payload"),
        pytest.param(f"{HEADER}.{PAYLOAD}.", "token.segments", id="empty-signature"),
        pytest.param(f"A.{PAYLOAD}.{SIGNATURE}", "token.encoding", id="bad-base64-header"),
        pytest.param(f"{HEADER}.AAAAA.{SIGNATURE}", "token.encoding", id="bad-base64-payload"),
        pytest.param(f"{HEADER}.{PAYLOAD}.A", "token.encoding", id="bad-base64-signature"),
        pytest.param(f"{HEADER}.{PAYLOAD}.YR", "token.encoding", id="trailing-bits-of-2"),
        pytest.param(f"{HEADER}.{PAYLOAD}.YWJ", "token.encoding", id="trailing-bits-of-3"),
    ],
)
def test_a_malformed_serialization_is_refused(text: str, code: str) -> None:
    """What is not three canonical base64url parts is refused before anything is parsed."""
    assert code_of(text) == code


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(b'{"a":1,"a":2}', id="duplicate-member"),
        pytest.param(b'{"a":1,"\\u0061":2}', id="duplicate-member-escaped"),
        pytest.param(b'{"a":{"b":1,"b":1}}', id="duplicate-member-nested"),
        pytest.param(b'{"a":[{"b":1,"b":1}]}', id="duplicate-member-in-list"),
        pytest.param(nested(MAX_DEPTH + 1), id="deep-objects"),
        pytest.param(b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", id="deep-lists"),
        pytest.param(b"[" * 3000 + b"]" * 3000, id="beyond-the-parser-recursion"),
        pytest.param(b'{"exp":NaN}', id="nan"),
        pytest.param(b'{"exp":Infinity}', id="infinity"),
        pytest.param(b'{"exp":-Infinity}', id="negative-infinity"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"text"', id="string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"1", id="number"),
        pytest.param(b'{"a":"\\ud800"}', id="lone-surrogate"),
        pytest.param(b'{"\\udc00":1}', id="lone-surrogate-in-a-name"),
        pytest.param(b'{"a":["\\ud800"]}', id="lone-surrogate-in-a-list"),
        pytest.param(b'{"a":"\xff"}', id="not-utf-8"),
        pytest.param(b'{"a":"\xc0\x80"}', id="overlong-utf-8"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="byte-order-mark"),
        pytest.param('{"a":1}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'{"a":1} {}', id="two-values"),
        pytest.param(b'{"a":1', id="cut"),
        pytest.param(b"{'a':1}", id="single-quotes"),
        pytest.param(b'{"exp":' + b"9" * 5000 + b"}", id="integer-beyond-any-limit"),
        pytest.param(b'{"exp":01}', id="leading-zero"),
        pytest.param(b'{"a":"\n"}', id="control-character"),
    ],
)
@pytest.mark.parametrize("part", ["header", "payload"])
def test_hostile_json_is_refused_in_header_and_payload(part: str, hostile: bytes) -> None:
    """Neither part may be JSON on which two parsers could disagree, or no JSON object at all."""
    assert code_of(compact(**{part: hostile}), max_bytes=16_384) == "token.json"


@pytest.mark.parametrize(
    "harmless",
    [
        pytest.param(nested(MAX_DEPTH), id="as-deep-as-allowed"),
        pytest.param(b'{"a":1,"A":2}', id="names-that-differ-in-case"),
        pytest.param(b'{"a":{"b":1},"b":1}', id="one-name-on-two-levels"),
        pytest.param(b'{"a":"\\ud83d\\ude00"}', id="surrogate-pair"),
        pytest.param(b'{"exp":123456789012345678901234567890}', id="huge-integer"),
        pytest.param(b'{\r\n "alg" : "RS256" }', id="blanks"),
        pytest.param(b"{}", id="empty-object"),
    ],
)
def test_unusual_json_that_means_one_thing_is_read(harmless: bytes) -> None:
    """Strictness ends where JSON is unambiguous."""
    assert split(compact(payload=harmless), max_bytes=8192).payload == json.loads(harmless)


def test_a_token_of_exactly_the_limit_is_read() -> None:
    """The limit itself is still allowed, one byte more is not."""
    text = compact()
    assert split(text, max_bytes=len(text))
    assert code_of(text, max_bytes=len(text) - 1) == "token.too_large"


def test_evidence_names_the_rule_and_not_the_content() -> None:
    """A refusal says which part is wrong and what was expected."""
    with pytest.raises(NotGenuine) as caught:
        split(compact(payload=b'{"password":1,"password":2}'), max_bytes=8192)
    assert caught.value.found == "a duplicate member in the payload"
    assert "password" not in str(caught.value)
