"""Whatever is altered is refused with its code, and what is not is accepted."""

import json
import string
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from busauth._messages.canonical import MAX_DEPTH, NotCanonical, canonical
from busauth._messages.first import read
from busauth._messages.first import written as record_of
from busauth._messages.seal import Copy, Purpose, Seal, Sealed
from busauth.caller import Actor, FirstToken
from busauth.errors import Forbidden, NotGenuine, Refused
from busauth.messages import (
    InProcessReplay,
    OutgoingMessage,
    Properties,
    ReplayKey,
    Route,
    Standing,
)
from busauth.messages import SeenMessage as Seen
from tests.properties.strategies import json_values, run
from tests.unit.proving import (
    ALGORITHMS,
    MAX_AGE,
    SKEW,
    binding,
    checked,
    claims,
    proofs,
    publisher,
    refusal,
    seen,
    signer,
    written,
)
from tests.unit.support import NOW, Signer

texts = st.text(st.characters(codec="utf-8"), max_size=12)
canonical_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip
words = st.text("ab", min_size=1, max_size=2)
keys = st.lists(words, max_size=5).map(".".join)
patterns = st.lists(words | st.sampled_from("*#"), max_size=5).map(".".join)
properties = st.builds(Properties, *[st.none() | texts] * len(Properties._fields))
bindings = st.builds(
    OutgoingMessage,
    token=texts,
    transaction_token=st.none() | texts,
    body=st.binary(max_size=40),
    message_id=texts.filter(bool),
    properties=properties,
    headers=st.dictionaries(st.sampled_from(["tenant", "other"]), canonical_values),
    issuer=st.none() | texts,
    subject=st.none() | texts,
    exchange=texts,
    routing_key=texts,
)
ASKED = {algorithm: proofs(publisher(algorithm=algorithm)) for algorithm in ALGORITHMS}
GENUINE = {algorithm: signer(algorithm=algorithm).sign(binding(), NOW) for algorithm in ALGORITHMS}
BASE64URL = string.ascii_letters + string.digits + "-_"


@given(message=bindings, at=st.floats(0, 1e10), algorithm=st.sampled_from(ALGORITHMS))
def test_what_was_not_altered_is_accepted(
    message: OutgoingMessage, at: float, algorithm: str
) -> None:
    """Each message that can be signed verifies where it was published to, at that instant."""
    proof = signer(algorithm=algorithm).sign(message, at)
    route = Route(message.exchange, message.routing_key, exact=True)
    proven = checked(proof, seen(message), ASKED[algorithm], routes=[route], now=at)
    assert (proven.message_id, proven.published_at) == (message.message_id, at)


PARTS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "token": ("proof.token", st.none() | texts),
    "transaction_token": ("proof.token", st.none() | texts),
    "body": ("proof.body", st.binary(max_size=40)),
    "message_id": ("proof.message_id", st.none() | texts),
    "properties": ("proof.property", properties),
    "headers": ("proof.header", st.fixed_dictionaries({}, optional={"tenant": canonical_values})),
}


def meaning(part: str, value: Any) -> Any:
    """Return what counts of a part: an empty property is a missing one, True is not 1."""
    if part == "properties":
        return tuple(each or None for each in value)
    return canonical([value["tenant"]] if "tenant" in value else []) if part == "headers" else value


@given(message=bindings, part=st.sampled_from(sorted(PARTS)), data=st.data())
def test_any_altered_part_is_refused_with_its_code(
    message: OutgoingMessage, part: str, data: st.DataObject
) -> None:
    """Of token, body, id, properties and declared headers nothing can differ."""
    code, values = PARTS[part]
    value = data.draw(values)
    assume(meaning(part, value) != meaning(part, getattr(message, part)))
    routes = [Route(message.exchange, message.routing_key, exact=True)]
    proof = signer().sign(message, NOW)
    assert refusal(proof, seen(message, **{part: value}), routes=routes).code == code


@given(data=st.binary(min_size=1, max_size=60), at=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_body_is_refused(data: bytes, at: int, bit: int) -> None:
    """One bit is enough."""
    altered = bytearray(data)
    altered[at % len(data)] ^= 1 << bit
    message = binding(body=data)
    refused = refusal(signer().sign(message, NOW), seen(message, body=bytes(altered)))
    assert refused.code == "proof.body"


@given(algorithm=st.sampled_from(ALGORITHMS), at=st.integers(0), character=st.characters())
@example(algorithm="ES256", at=-1, character="A")
@example(algorithm="HS256", at=0, character=".")
@example(algorithm="EdDSA", at=0, character="\ud800")
def test_any_altered_character_of_a_proof_is_refused(
    algorithm: str, at: int, character: str
) -> None:
    """No character can change, and nothing of it is believed."""
    proof = GENUINE[algorithm]
    at %= len(proof)
    assume(proof[at] != character)
    refused = refusal(proof[:at] + character + proof[at + 1 :], asked=ASKED[algorithm])
    event(refused.code)
    assert isinstance(refused, NotGenuine)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_character_of_a_proof_counts(algorithm: str) -> None:
    """At each place, another character of base64url is refused before anything is believed."""
    proof = GENUINE[algorithm]
    for at, character in enumerate(proof):
        other = BASE64URL[(BASE64URL.find(character) + 1) % len(BASE64URL)]
        refused = refusal(proof[:at] + other + proof[at + 1 :], asked=ASKED[algorithm])
        assert isinstance(refused, NotGenuine)


@given(cut=st.integers(0), more=st.text(BASE64URL + ".", max_size=5))
def test_a_proof_that_is_cut_or_grown_is_refused(cut: int, more: str) -> None:
    """Neither end can move."""
    proof = GENUINE["HS256"]
    altered = proof[: cut % len(proof)] + more
    assume(altered != proof)
    assert isinstance(refusal(altered), NotGenuine)


@given(exchange=texts, key=texts, declared=st.lists(st.builds(Route, texts, texts), max_size=3))
def test_a_route_is_covered_or_refused(exchange: str, key: str, declared: list[Route]) -> None:
    """A message comes by a declared route, or it does not come."""
    message = binding(exchange=exchange, routing_key=key)
    proof = signer().sign(message, NOW)
    if any(route.covers(exchange, key) for route in declared):
        event("covered")
        assert checked(proof, seen(message), routes=declared)
    else:
        refused = refusal(proof, seen(message), routes=declared)
        assert isinstance(refused, Forbidden)
        assert refused.code == "proof.route"


def fits(parts: list[str], key: list[str]) -> bool:
    """Match a topic as its definition reads, one part after the other."""
    if not parts:
        return not key
    if parts[0] == "#":
        return any(fits(parts[1:], key[at:]) for at in range(len(key) + 1))
    return bool(key) and parts[0] in ("*", key[0]) and fits(parts[1:], key[1:])


@given(pattern=patterns, key=keys)
def test_topics_match_as_defined(pattern: str, key: str) -> None:
    """The linear matcher agrees with the definition."""
    expected = fits(pattern.split(".") if pattern else [], key.split(".") if key else [])
    assert Route("shop", pattern).covers("shop", key) is expected


@given(value=st.integers(-(2**40), 2**40))
def test_time_has_two_exact_ends(value: int) -> None:
    """Accepted from `skew` before the published instant until `max_age` and `skew` after it."""
    age = value / 2**20  # exact in binary, as are both ends
    proof = signer().sign(binding(), NOW)
    if -SKEW <= age < MAX_AGE + SKEW:
        assert checked(proof, now=NOW + age)
    else:
        code = "proof.stale" if age > 0 else "proof.from_the_future"
        assert refusal(proof, now=NOW + age).code == code


@given(edge=st.sampled_from([-SKEW, MAX_AGE + SKEW]), step=st.sampled_from([-1, 0, 1]))
def test_the_ends_are_exact(edge: float, step: int) -> None:
    """A millionth of a second decides."""
    proof, age = signer().sign(binding(), NOW), edge + step * 2**-20
    if -SKEW <= age < MAX_AGE + SKEW:
        assert checked(proof, now=NOW + age)
    else:
        assert refusal(proof, now=NOW + age).code in ("proof.stale", "proof.from_the_future")


HOSTILE = st.dictionaries(
    st.sampled_from([*claims(), "tth", "original", "original_token_sha256", "root_iat", "exp"]),
    json_values | st.just(...),
    max_size=3,
)


@given(changes=HOSTILE, relays=st.booleans())
def test_whatever_a_publisher_signs_is_proven_or_refused(
    changes: dict[str, Any], relays: bool
) -> None:
    """No signed nonsense ends in anything but a verdict with its code."""
    proof = written(claims(**changes))
    try:
        checked(proof, asked=proofs(publisher(relays=relays)))
    except Refused as refused:
        check(refused)


def check(refused: Refused) -> None:
    event(refused.code)
    assert refused.code.startswith("proof.")
    assert refused.detail.isprintable()
    assert len(refused.detail) < 600


@given(
    headers=st.dictionaries(texts, json_values | st.binary() | st.floats(), max_size=2),
    tenant=json_values | st.binary(max_size=5) | st.floats() | st.just(...),
    values=st.tuples(*[json_values] * len(Properties._fields)),
    message_id=json_values,
)
def test_whatever_arrives_is_refused_with_its_code(
    headers: dict[str, Any], tenant: Any, values: Any, message_id: Any
) -> None:
    """Hostile headers and properties of any type end in a verdict."""
    headers = headers if tenant is ... else headers | {"tenant": tenant}
    arrived = Seen(
        token=binding().token, body=binding().body, message_id=message_id,
        issuer=binding().issuer, subject=binding().subject,
        properties=Properties(*values), headers=headers,
    )  # fmt: skip
    assert refusal(GENUINE["HS256"], arrived).code in ("proof.message_id", "proof.property")


@given(value=json_values | st.binary() | st.dictionaries(st.integers(), st.text()))
def test_any_header_value_is_compared_or_refused(value: Any) -> None:
    """A declared header of any type ends in a verdict."""
    refused = refusal(GENUINE["HS256"], seen(binding(), headers={"tenant": value}))
    assert refused.code == "proof.header"


@given(name=st.sampled_from(["orders", "stock"]), key=st.sampled_from(["main", "stock"]))
def test_a_name_goes_with_its_key(name: str, key: str) -> None:
    """Of two trusted publishers neither can sign in the other's name."""
    asked = proofs(publisher("orders", "main"), publisher("stock", "stock"))
    proof = written(claims(iss=name), Signer("HS256", key))
    if (name, key) in (("orders", "main"), ("stock", "stock")):
        assert checked(proof, asked=asked).publisher == name
    else:
        assert isinstance(refusal(proof, asked=asked), NotGenuine)


# One spelling for each value.


def parsed(raw: bytes) -> Any:
    """Read a spelling back; whatever can be read back is no other value's spelling."""
    value, rest = _parsed(raw)
    assert not rest
    return value


def _parsed(raw: bytes) -> tuple[Any, bytes]:
    head = raw[:1]
    if head in b"ntf":
        return {b"n": None, b"t": True, b"f": False}[head], raw[1:]
    if head == b"i":
        number, _, rest = raw[1:].partition(b"e")
        return int(number), rest
    if head in b"ld":
        return _container(head, raw[1:])
    length, _, rest = raw.partition(b":")
    return rest[: int(length)].decode(), rest[int(length) :]


def _container(head: bytes, raw: bytes) -> tuple[Any, bytes]:
    items = []
    while raw[:1] != b"e":
        item, raw = _parsed(raw)
        items.append(item)
    value = dict(zip(items[::2], items[1::2], strict=True)) if head == b"d" else items
    return value, raw[1:]


def told_apart(value: Any) -> Any:
    """Return a value in which True is not 1, as it is for Python."""
    if isinstance(value, dict):
        return {name: told_apart(item) for name, item in value.items()}
    if isinstance(value, list):
        return [told_apart(item) for item in value]
    return (type(value), value)


@given(value=canonical_values)
def test_each_spelling_is_read_back_as_its_value(value: Any) -> None:
    """What can be read back is injective: no two values share a spelling."""
    assert told_apart(parsed(canonical(value))) == told_apart(value)


@given(one=canonical_values, other=canonical_values)
@example(one=True, other=1)
@example(one="1", other=1)
@example(one=[], other={})
@example(one=None, other="")
@example(one=["ab", "c"], other=["a", "bc"])
@example(one=["i1e"], other=[1])
@example(one={"a": {"b": 1}}, other={"a": {}, "b": 1})
def test_two_values_have_two_spellings(one: Any, other: Any) -> None:
    """Equal values are spelled alike, others are not."""
    same = told_apart(one) == told_apart(other)
    assert (canonical(one) == canonical(other)) is same


@given(table=st.dictionaries(texts, st.integers(0, 9), max_size=5), data=st.data())
def test_the_order_of_a_table_plays_no_part(table: dict[str, int], data: st.DataObject) -> None:
    """However a client orders the members, the spelling is one."""
    shuffled = dict(data.draw(st.permutations(list(table.items()))))
    assert canonical(shuffled) == canonical(table)


@given(value=json_values | st.binary() | st.floats() | st.dictionaries(st.integers(), st.none()))
def test_every_value_has_a_spelling_or_none(value: Any) -> None:
    """Nothing else than `NotCanonical` comes of any value."""
    try:
        canonical(value)
    except NotCanonical:
        event("none")


@given(depth=st.integers(1, 2000))
@example(depth=MAX_DEPTH)
@example(depth=MAX_DEPTH + 1)
def test_depth_is_bounded(depth: int) -> None:
    """A value that is nested deeper than any client needs has no spelling."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    if depth <= MAX_DEPTH:
        assert canonical(value) == b"l" * depth + b"e" * depth
    else:
        with pytest.raises(NotCanonical):
            canonical(value)


# Seals.

names = st.frozensets(texts, max_size=3)
first_tokens = st.builds(
    FirstToken,
    issuer=texts,
    subject=texts,
    client=st.none() | texts,
    scopes=names,
    roles=names,
    audience=st.lists(texts, max_size=2).map(tuple),
    actors=st.lists(st.builds(Actor, texts, st.none() | texts, st.none() | texts), max_size=2).map(
        tuple
    ),
    issued_at=st.none() | st.integers(0, 2**40).map(float),
    expires_at=st.integers(0, 2**40).map(float),
    token_id=st.none() | texts,
    session=st.none() | texts,
    token_sha256=texts,
)
SEAL = Seal("orders", {"1": bytes(range(32))})
sealed_values = st.builds(
    Sealed,
    purpose=st.sampled_from(Purpose),
    attempt=st.integers(0, 1_000_000),
    published_at=st.none() | st.integers(0, 2**40).map(lambda ticks: ticks / 64),
    origin=st.none() | texts,
    redrive=st.integers(0, 1_000_000),
    first=st.none() | first_tokens,
)
copies = st.builds(
    Copy,
    own=st.just({}),
    sent=st.dictionaries(texts, canonical_values, max_size=3),
    properties=st.lists(st.none() | texts | st.integers(0, 9), min_size=3, max_size=3),
    body=st.binary(max_size=20),
)
tokens = st.none() | texts
COPY = Copy({}, {}, ("m-1", None, None), b"")


def written_on(copy: Copy, sealed: Sealed) -> Copy:
    return copy._replace(own=sealed.headers())


def parts(copy: Copy) -> tuple[bytes, ...]:
    return tuple(canonical(part) for part in (copy.sent, list(copy.properties), copy.body.hex()))


@given(sealed=sealed_values, copy=copies, other=copies, token=tokens, another=tokens)
def test_what_was_sealed_is_opened_on_its_own_message(
    sealed: Sealed, copy: Copy, other: Copy, token: str | None, another: str | None
) -> None:
    """Untouched, each copy's seal vouches for exactly what was written, and on no other message."""
    made = written_on(copy, sealed)
    seal = SEAL.seal(made, token_sha256=token)
    assert SEAL.opened(seal, made, token_sha256=token) == (sealed, None)
    same = parts(copy) == parts(other) and (token == another or sealed.purpose is Purpose.PARKED)
    opened = SEAL.opened(seal, written_on(other, sealed), token_sha256=another)
    assert opened == ((sealed, None) if same else (None, "seal.mac"))


@given(sealed=sealed_values, at=st.integers(0), character=st.characters())
def test_any_altered_character_of_a_seal_is_refused(
    sealed: Sealed, at: int, character: str
) -> None:
    """No character of a seal can change."""
    copy = written_on(COPY, sealed)
    made = SEAL.seal(copy, token_sha256=None)
    at %= len(made)
    assume(made[at] != character)
    altered = made[:at] + character + made[at + 1 :]
    opened, code = SEAL.opened(altered, copy, token_sha256=None)
    assert opened is None
    assert code in ("seal.mac", "seal.malformed", "seal.key_unknown")


@given(value=json_values | st.binary(), name=st.sampled_from(sorted(Sealed().headers())))
def test_any_other_value_breaks_a_seal(value: Any, name: str) -> None:
    """Whatever a sender writes instead is not believed."""
    copy = written_on(COPY, Sealed(attempt=7, redrive=7))
    seal = SEAL.seal(copy, token_sha256=None)
    assume(told_apart(value) != told_apart(copy.own[name]))
    altered = copy._replace(own={**copy.own, name: value})
    assert SEAL.opened(seal, altered, token_sha256=None) == (None, "seal.mac")


@given(first=first_tokens)
def test_a_record_of_a_first_token_reads_as_it_was_written(first: FirstToken) -> None:
    """One line of text, and the same for the same token."""
    assert read(record_of(first)) == first


@given(text=texts | json_values.map(json.dumps))
def test_what_is_no_record_is_none(text: str) -> None:
    """Whoever wrote it, it is a whole record or nothing."""
    found = read(text)
    assert found is None or isinstance(found, FirstToken)


# Replay.

steps = st.lists(
    st.tuples(
        st.sampled_from(["first", "copy", "again", "repeat", "done", "forget", "late", "wait"]),
        st.sampled_from("abc"),
    ),
    max_size=30,
)


class Seconds:
    """A monotonic clock; nobody asks it what time it is."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        raise AssertionError

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


class Held(NamedTuple):
    """What the model knows of a message."""

    state: str
    until: float
    holder: str = ""
    told: Standing = Standing.NEW


@given(steps=steps)
def test_a_memory_does_as_its_table_says(steps: list[tuple[str, str]]) -> None:
    """Against a plain model: unknown is new, in flight comes again, done is a duplicate.

    Whoever repeats a question is answered alike, and what an earlier holder takes back late is
    nobody else's.
    """
    clock, model = Seconds(), dict[str, Held]()
    memory = InProcessReplay(keep_for=10, clock=clock)
    for number, (step, name) in enumerate(steps):
        key = ReplayKey(group="g", publisher="p", message_id=name)
        clock.at += 4 if step == "wait" else 0
        model = {each: held for each, held in model.items() if held.until > clock.at}
        held = model.get(name)
        flying = held if held is not None and held.state == "flying" else None
        if step == "done":
            run(memory.done(key))
            model[name] = Held("done", clock.at + 10)
        elif step in ("forget", "late"):
            now_theirs = flying is not None and step == "forget"
            run(memory.forget(key, holder=flying.holder if flying and now_theirs else "earlier"))
            model = {each: kept for each, kept in model.items() if each != name or not now_theirs}
        elif step == "repeat" and flying is not None:
            for again in (False, True):
                told = run(memory.begin(key, holder=flying.holder, redelivered=again))
                assert told is flying.told
        elif step in ("first", "copy", "again"):
            again, holder = step == "again", f"attempt-{number}"
            expected = expected_standing(held.state if held else None, again)
            assert run(memory.begin(key, holder=holder, redelivered=again)) is expected
            if expected in (Standing.NEW, Standing.AGAIN):
                model[name] = Held("flying", clock.at + 10, holder, expected)


def expected_standing(state: str | None, redelivered: bool) -> Standing:
    """Return what the table in the module says."""
    if state is None:
        return Standing.NEW
    if not redelivered:
        return Standing.COPY
    return Standing.DUPLICATE if state == "done" else Standing.AGAIN
