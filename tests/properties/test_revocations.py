"""Whatever an event says, it counts or has a code; whatever was revoked, a naive list agrees."""

import string
from dataclasses import dataclass, field
from typing import Any

from hypothesis import event as note
from hypothesis import example, given
from hypothesis import strategies as st

from busauth._revocation import FeedHealth
from busauth._revocation.events import (
    CLAIMS_CHANGE,
    CREDENTIAL_CHANGE,
    HEARTBEAT,
    SESSION_REVOKED,
)
from busauth.caller import Caller
from busauth.errors import Refused
from busauth.revocation import OnStale, SecurityEvent, Target
from busauth.tokens import KeyUnknown
from tests.properties.strategies import json_values
from tests.unit.revoking import (
    ALICE,
    LIFE,
    OPS,
    RETENTION,
    caller,
    claims,
    code_of,
    store,
    transmitters,
    written,
)
from tests.unit.support import ISSUER, NOW

OTHER = "https://other.test"
TRUSTED = transmitters(issuers=[ISSUER, OTHER])
BASE64URL = string.ascii_letters + string.digits + "-_"

texts = st.text(st.characters(codec="utf-8"), max_size=6)
anything = json_values
identifiers = st.recursive(
    st.one_of(
        st.just(ALICE),
        st.fixed_dictionaries(
            {"format": st.sampled_from(["iss_sub", "opaque", "jwt_id", "complex", "email"])},
            optional={
                "iss": st.sampled_from([ISSUER, OTHER, "https://foreign.test"]) | anything,
                **dict.fromkeys(("sub", "id", "jti", "more"), texts | anything),
            },
        ),
        anything,
    ),
    lambda inner: st.fixed_dictionaries(
        {"format": st.just("complex")},
        optional=dict.fromkeys(("user", "session", "application", "device"), inner),
    ),
    max_leaves=4,
)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "event_timestamp": st.floats(0, 2 * NOW) | anything,
        "change_type": st.sampled_from(["create", "revoke"]) | anything,
        "subject": anything,
    },
)
kinds = st.sampled_from([SESSION_REVOKED, CLAIMS_CHANGE, CREDENTIAL_CHANGE, HEARTBEAT, "urn:x"])
changes = st.fixed_dictionaries(
    {},
    optional={
        "sub_id": identifiers,
        "events": st.dictionaries(kinds, payloads | anything, max_size=3) | anything,
        **dict.fromkeys(
            ("iss", "aud", "iat", "jti", "sub", "exp", "toe", "txn", "x"), anything
        ),
    },
)  # fmt: skip


def judged(raw: str) -> SecurityEvent | None:
    """Return the event, None where it was refused with a code of an event's."""
    try:
        return TRUSTED.read(raw, NOW)
    except Refused as error:
        refused = error
    except KeyUnknown as unknown:
        refused = unknown.refusal
    assert refused.code.startswith("event.")
    assert None not in (refused.found, refused.expected)
    return None


@given(changes)
def test_any_claims(said: dict[str, Any]) -> None:
    """A signed event of any claims is refused with a code, or says whose tokens, all in order."""
    found = judged(written(claims() | said))
    note("refused" if found is None else "accepted")
    if found is None:
        return
    assert found.transmitter == OPS
    assert found.issued_at <= NOW + 300
    assert found.effective_at <= found.issued_at + 300
    assert not (found.is_heartbeat and found.targets)
    for target in found.targets:
        assert target.issuer in {ISSUER, OTHER}
        assert any([target.token_id, target.subject, target.session, target.client])


@given(anything)
def test_any_payload(payload: Any) -> None:
    """Whatever JSON is signed, it is judged without an error of another kind."""
    judged(written(payload))


@given(st.dictionaries(st.sampled_from(["typ", "alg", "kid", "crit", "jku", "x"]), anything))
def test_any_header(header: dict[str, Any]) -> None:
    """Whatever stands in the header, it is judged without an error of another kind."""
    found = judged(written(**header))
    if found is not None:
        assert header.get("typ", "secevent+jwt") == "secevent+jwt"


@given(st.text(max_size=40) | st.text(BASE64URL + ".", max_size=60))
@example("..")
def test_any_text(raw: str) -> None:
    """Whatever comes, it is judged without an error of another kind."""
    assert judged(raw) is None


@given(st.integers(0, 10_000), st.sampled_from(BASE64URL))
def test_any_altered_character(at: int, character: str) -> None:
    """An event of which one character was altered counts no more."""
    raw = GENUINE
    at %= len(raw)
    if raw[at] not in ("." + character):
        assert judged(raw[:at] + character + raw[at + 1 :]) is None


GENUINE = written()

# --- the memory, and a list ----------------------------------------------------------------------

names = st.none() | st.sampled_from(["a", "b", "1:a"])
instants = st.integers(-int(2 * RETENTION), 300).map(lambda ago: NOW + ago) | st.floats(
    NOW - 5, NOW + 5
)
targets = st.builds(
    Target,
    issuer=st.sampled_from([ISSUER, OTHER]),
    token_id=st.none(),
    subject=names,
    session=names,
    client=names,
).filter(lambda one: any([one.subject, one.session, one.client])) | st.builds(
    Target, issuer=st.sampled_from([ISSUER, OTHER]), token_id=st.sampled_from(["a", "b"])
)
events = st.builds(
    lambda target, at: SecurityEvent(
        transmitter=OPS,
        event_id="e",
        issued_at=at,
        targets=(target,),
        effective_at=at,
        is_heartbeat=False,
    ),
    targets,
    instants,
)
callers = st.builds(
    lambda issuer, subject, session, client, token_id, issued_at: caller(
        subject or "",
        issuer=issuer,
        session=session,
        client=client,
        token_id=token_id,
        issued_at=issued_at,
    ),
    st.sampled_from([ISSUER, OTHER]),
    names,
    names,
    names,
    names,
    st.none() | instants,
)


@dataclass
class Naive:
    """All events ever, looked through one by one."""

    seen: list[SecurityEvent] = field(default_factory=list)

    def revoked(self, given: Caller, now: float) -> bool:
        if given.issued_at is not None and given.issued_at < now - RETENTION:
            return True
        if given.issued_at is None and given.expires_at > now + LIFE:
            return True
        return any(self._means(event, given, now) for event in self.seen)

    def _means(self, event: SecurityEvent, given: Caller, now: float) -> bool:
        (target,) = event.targets
        known = {
            "token_id": given.token_id,
            "subject": given.subject,
            "session": given.claims.get("sid"),
            "client": given.client,
        }
        wanted = {name: getattr(target, name) for name in known}
        if target.issuer != given.issuer or any(
            value not in (None, known[name]) for name, value in wanted.items()
        ):
            return False
        by_age = target.token_id is not None or given.issued_at is None
        return int(event.effective_at) >= int(now - RETENTION if by_age else given.issued_at or 0)


@given(st.lists(events, max_size=12), st.lists(callers, min_size=1, max_size=6), st.booleans())
def test_the_memory_agrees_with_a_list(
    told: list[SecurityEvent], asked: list[Caller], sweeping: bool
) -> None:
    """Whatever was revoked, in any order and swept or not, every caller gets the same answer."""
    known, naive = store(), Naive()
    for each in told:
        known.add(each)
        naive.seen.append(each)
        if sweeping:
            known.sweep(NOW)
    again = store(key=known._key)
    for some in known.records():
        again.restore(known.issuers(), some)
    for one in asked:
        assert known.revoked(one, NOW) is naive.revoked(one, NOW)
        assert again.revoked(one, NOW) is naive.revoked(one, NOW)
    note(f"{known.count} kept")


@given(st.lists(events, max_size=30), st.lists(st.floats(0, 3 * RETENTION), max_size=10))
def test_the_memory_is_bounded_by_its_retention(
    told: list[SecurityEvent], passing: list[float]
) -> None:
    """After a sweep nothing is left that is older than the retention and one part in 16."""
    known = store()
    for each in told:
        known.add(each)
    at = NOW
    for step in passing:
        at += step
        known.sweep(at)
        oldest = at - RETENTION * (1 + 2 / 16) - 2
        assert all(until >= oldest for some in known.records() for _, _, until in some)


@given(
    st.lists(
        st.tuples(st.sampled_from(["beat", "attach", "read", "pass"]), st.floats(-100, 100)),
        max_size=20,
    ),
    st.sampled_from(list(OnStale)),
)
def test_nothing_is_relied_on_without_a_heartbeat(
    steps: list[tuple[str, float]], policy: OnStale
) -> None:
    """In any order of events, no doubt means a heartbeat after attaching, and not long ago."""
    health, now, monotonic = FeedHealth(30, policy, 0.0), NOW, 0.0
    attached: list[float] = []
    beats: list[float] = []
    for step, amount in steps:
        if step == "beat":
            health.beat(now + amount, monotonic)
            beats.append(now + amount)
        elif step == "attach":
            health.attached(now, monotonic)
            attached.append(now)
        elif step == "read":
            health.read(monotonic)
        else:
            now, monotonic = now + abs(amount), monotonic + abs(amount)
        if health.doubt(now, monotonic) is None:
            assert max(beats) > min(attached)
            assert now - max(beats) <= 30
            assert health.objection(now, monotonic) is None


def test_the_genuine_event_counts() -> None:
    """The event that the properties alter is one that counts."""
    assert code_of(GENUINE, TRUSTED) == "accepted"
