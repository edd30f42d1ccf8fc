"""Security events: what counts, what is refused and with which code, and whose tokens are meant."""

from typing import Any

import pytest

from busauth import StaticKeys
from busauth._revocation.events import (
    CLAIMS_CHANGE,
    CREDENTIAL_CHANGE,
    HEARTBEAT,
    MAX_BYTES,
    REVOKING,
    SESSION_REVOKED,
    SKEW,
    VERIFICATION,
)
from busauth.errors import BadMessage, ConfigurationError, Forbidden, NotGenuine, Refused
from busauth.revocation import EventSigner, Target, Transmitter, Transmitters
from busauth.tokens import KeyUnknown
from tests.unit.revoking import (
    ALICE,
    FEED,
    OPS,
    claims,
    code_of,
    signer,
    transmitter,
    transmitters,
    written,
)
from tests.unit.support import ISSUER, NOW, SECRET, Signer

OTHER = "https://other.test"
SESSION = {"format": "opaque", "id": "s-1"}


def target(**named: Any) -> Target:
    return Target(**({"issuer": ISSUER} | named))


@pytest.mark.parametrize("kind", REVOKING)
@pytest.mark.parametrize(
    "meant",
    [
        target(token_id="t-1"),
        target(subject="alice"),
        target(session="s-1"),
        target(client="shop-web"),
        target(subject="alice", session="s-1", client="shop-web"),
    ],
)
def test_what_is_written_is_read(kind: str, meant: Target) -> None:
    """A revocation means the same tokens to its reader as to its writer, under each event."""
    raw = signer().revocation(meant, now=NOW, effective_at=NOW - 5, kind=kind, reason="stolen")
    found = transmitters().read(raw, NOW)
    assert found.targets == (meant,)
    assert (found.transmitter, found.issued_at, found.effective_at) == (OPS, NOW, NOW - 5)
    assert not found.is_heartbeat


def test_a_heartbeat_is_read() -> None:
    """A heartbeat says when it was sent, and ends nobody's tokens."""
    found = transmitters().read(signer().heartbeat(NOW), NOW)
    assert (found.is_heartbeat, found.issued_at, found.targets) == (True, NOW, ())


@pytest.mark.parametrize(
    ("identifier", "meant"),
    [
        ({"format": "jwt_id", "iss": ISSUER, "jti": "t-1"}, target(token_id="t-1")),
        (ALICE, target(subject="alice")),
        (SESSION, target(session="s-1")),
        ({"format": "complex", "user": ALICE}, target(subject="alice")),
        ({"format": "complex", "session": SESSION}, target(session="s-1")),
        (
            {"format": "complex", "application": {"format": "opaque", "id": "shop-web"}},
            target(client="shop-web"),
        ),
        (
            {"format": "complex", "user": ALICE, "session": SESSION},
            target(subject="alice", session="s-1"),
        ),
    ],
)
def test_subject_identifiers(identifier: dict[str, Any], meant: Target) -> None:
    """Formats of RFC 9493 and of shared signals: all members of a complex one narrow it down."""
    assert transmitters().read(written(claims(sub_id=identifier)), NOW).targets == (meant,)


def test_an_id_without_an_issuer_means_it_at_each_issuer() -> None:
    """A bare session id concerns every issuer that its transmitter speaks for."""
    trusted = transmitters(issuers=[ISSUER, OTHER])
    found = trusted.read(written(claims(sub_id=SESSION)), NOW)
    assert set(found.targets) == {target(session="s-1"), target(issuer=OTHER, session="s-1")}


@pytest.mark.parametrize(
    "identifier",
    [
        ...,
        None,
        "alice",
        [],
        {},
        {"format": "email", "email": "alice@shop.test"},
        {"format": "iss_sub", "iss": ISSUER},
        {"format": "iss_sub", "iss": ISSUER, "sub": "alice", "tenant": "1"},
        {"format": "iss_sub", "iss": ISSUER, "sub": ""},
        {"format": "iss_sub", "iss": ISSUER, "sub": ["alice"]},
        {"format": "iss_sub", "iss": ISSUER, "sub": "a" * 1025},
        {"format": ["iss_sub"], "iss": ISSUER, "sub": "alice"},
        {"format": "jwt_id", "iss": ISSUER},
        {"format": "opaque"},
        {"format": "complex"},
        {"format": "complex", "user": SESSION},
        {"format": "complex", "user": "alice"},
        {"format": "complex", "user": ALICE, "device": {"format": "opaque", "id": "d"}},
        {"format": "complex", "user": ALICE, "tenant": {"format": "opaque", "id": "t"}},
        {
            "format": "complex",
            "user": ALICE,
            "session": {"format": "iss_sub", "iss": OTHER, "sub": "s-1"},
        },
        {"format": "aliases", "identifiers": [ALICE]},
    ],
)
def test_odd_subjects(identifier: Any) -> None:
    """What does not say exactly whose tokens are meant is refused, never widened or narrowed."""
    trusted = transmitters(issuers=[ISSUER, OTHER])
    assert code_of(written(claims(sub_id=identifier)), trusted) == "event.subject"


def test_an_opaque_subject_is_a_session_only_where_a_session_is_revoked() -> None:
    """A bare id under another event could name anything."""
    said = claims(sub_id=SESSION, events={CLAIMS_CHANGE: {}})
    assert code_of(written(said)) == "event.subject"


def test_a_subject_inside_of_the_event_is_refused() -> None:
    """A subject where drafts had it is not silently ignored for the one beside it."""
    said = claims(events={SESSION_REVOKED: {"subject": ALICE}})
    assert code_of(written(said)) == "event.subject"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": ...}, "event.transmitter"),
        ({"iss": OTHER}, "event.transmitter"),
        ({"iss": [OPS]}, "event.transmitter"),
        ({"aud": ...}, "event.audience"),
        ({"aud": "another-feed"}, "event.audience"),
        ({"aud": [1, {}, "SHOP-FEED"]}, "event.audience"),
        ({"aud": {FEED: 1}}, "event.audience"),
        ({"sub": "alice"}, "event.claim"),
        ({"exp": NOW + 300}, "event.claim"),
        ({"jti": ...}, "event.claim"),
        ({"jti": ""}, "event.claim"),
        ({"jti": 7}, "event.claim"),
        ({"iat": ...}, "event.claim"),
        ({"iat": True}, "event.claim"),
        ({"iat": "1750000000"}, "event.claim"),
        ({"iat": -1}, "event.claim"),
        ({"iat": 10**400}, "event.claim"),
        ({"iat": NOW + SKEW + 1}, "event.issued_in_future"),
        ({"events": ...}, "event.claim"),
        ({"events": {}}, "event.claim"),
        ({"events": [SESSION_REVOKED]}, "event.claim"),
        ({"events": {SESSION_REVOKED: None}}, "event.claim"),
        ({"events": {SESSION_REVOKED.upper(): {}}}, "event.kind"),
        ({"events": {SESSION_REVOKED: {"event_timestamp": "now"}}}, "event.claim"),
        ({"events": {SESSION_REVOKED: {"event_timestamp": NOW * 1000}}}, "event.timestamp"),
        ({"events": {HEARTBEAT: {}, SESSION_REVOKED: {}}}, "event.claim"),
        ({"sub_id": {**ALICE, "iss": OTHER}}, "event.issuer"),
        ({"sub_id": {"format": "jwt_id", "iss": OTHER, "jti": "t-1"}}, "event.issuer"),
    ],
)
def test_what_an_event_must_say(changes: dict[str, Any], code: str) -> None:
    """Each claim that is missing, odd or out of bounds has its code."""
    assert code_of(written(claims(**changes))) == code


def test_the_audience_may_be_one_of_several() -> None:
    """An event for several receivers is for this one, too."""
    assert code_of(written(claims(aud=["other", FEED]))) == "accepted"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"typ": "JWT"}, "event.type"),
        ({"typ": "at+jwt"}, "event.type"),
        ({"typ": None}, "event.type"),
        ({"typ": "application/secevent+jwt"}, "accepted"),
        ({"alg": "none"}, "event.algorithm"),
        ({"alg": "HS256"}, "event.algorithm"),
        ({"alg": ["ES256"]}, "event.algorithm"),
        ({"crit": ["b64"]}, "event.malformed"),
        ({"kid": 7}, "event.key_unknown"),
    ],
)
def test_the_header(header: dict[str, Any], code: str) -> None:
    """An event has its own type, and an algorithm of its transmitter's."""
    assert code_of(written(**header)) == code


@pytest.mark.parametrize("raw", ["", "a.b", "a.b.c", "é.é.é", "x" * (MAX_BYTES + 1), None, b"a"])
def test_what_is_no_event_at_all(raw: object) -> None:
    """What is no compact JWS, or longer than any event, is refused unread."""
    assert code_of(raw) == "event.malformed"


def test_forged_events() -> None:
    """Another's signature, and a signature over something else, prove nothing."""
    forged = Signer("ES256", "mallory").sign(claims(), typ="secevent+jwt", kid="ops")
    head, _, signature = written().split(".")
    moved = f"{head}.{written(claims(jti='e-2')).split('.')[1]}.{signature}"
    assert code_of(forged) == "event.signature"
    assert code_of(moved) == "event.signature"


def test_a_public_key_is_no_secret() -> None:
    """An event signed with the public key as if it were a shared secret is refused."""
    raw = Signer("HS256", "main").sign(claims(), typ="secevent+jwt", kid="ops")
    assert code_of(raw) == "event.algorithm"


def test_an_unknown_key_is_asked_for() -> None:
    """Whose key it is, and which, is told to who may fetch it."""
    with pytest.raises(KeyUnknown) as caught:
        transmitters().read(written(kid="new"), NOW)
    assert (caught.value.party, caught.value.key_id) == (OPS, "new")
    assert caught.value.refusal.code == "event.key_unknown"


def test_a_transmitter_speaks_of_its_own_issuers_only() -> None:
    """Who is trusted with one issuer's tokens is not trusted with another's."""
    trusted = transmitters(issuers=OTHER)
    assert code_of(written(), trusted) == "event.issuer"


def test_who_keeps_the_time_may_do_nothing_else() -> None:
    """A transmitter of heartbeats alone revokes nothing, and one of events sends no heartbeats."""
    timekeeper = transmitters(issuers=())
    assert code_of(signer().heartbeat(NOW), timekeeper) == "accepted"
    assert code_of(written(), timekeeper) == "event.issuer"
    assert code_of(written(claims(sub_id=SESSION)), timekeeper) == "event.issuer"
    assert code_of(signer().heartbeat(NOW), transmitters(heartbeats=False)) == "event.heartbeat"


def test_a_transmitter_that_is_the_issuer() -> None:
    """Without further words, a transmitter speaks of its own tokens."""
    keys = StaticKeys([Signer("ES256", "ops").jwk()])
    trusted = transmitters(Transmitter(ISSUER, keys))
    assert code_of(written(claims(iss=ISSUER)), trusted) == "accepted"


@pytest.mark.parametrize(
    ("events", "extra", "expected"),
    [
        ({SESSION_REVOKED: {"event_timestamp": 1.5}}, {}, 1.5),
        ({SESSION_REVOKED: {}}, {"toe": 7}, 7.0),
        ({SESSION_REVOKED: {}}, {}, NOW),
        ({SESSION_REVOKED: {"event_timestamp": 5}}, {"toe": 7}, 5.0),
        ({SESSION_REVOKED: {"event_timestamp": 5}, CLAIMS_CHANGE: {"event_timestamp": 9}}, {}, 9.0),
    ],
)
def test_when_it_took_effect(events: Any, extra: dict[str, Any], expected: float) -> None:
    """event_timestamp decides, then toe, then iat; of several, the latest."""
    raw = written(claims(events=events, **extra))
    assert transmitters().read(raw, NOW).effective_at == expected


@pytest.mark.parametrize(
    ("events", "ends"),
    [
        ({CREDENTIAL_CHANGE: {"change_type": "create"}}, False),
        ({CREDENTIAL_CHANGE: {"change_type": "revoke"}}, True),
        ({CREDENTIAL_CHANGE: {"change_type": "update"}}, True),
        ({CREDENTIAL_CHANGE: {}}, True),
        ({CREDENTIAL_CHANGE: {"change_type": "create"}, SESSION_REVOKED: {}}, True),
        ({VERIFICATION: {"state": "x"}}, False),
        ({"https://example.test/unknown": {}, SESSION_REVOKED: {}}, True),
    ],
)
def test_what_ends_tokens(events: Any, ends: bool) -> None:
    """A credential that was added, or a mere test, ends no tokens; everything else does."""
    assert bool(transmitters().read(written(claims(events=events)), NOW).targets) is ends


def test_an_old_event_counts() -> None:
    """However long ago it was told, an event is genuine: the store knows what still matters."""
    assert code_of(written(claims(iat=1, events={SESSION_REVOKED: {}}))) == "accepted"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: transmitter(""), "names"),
        (lambda: transmitter(issuers=""), "names"),
        (lambda: transmitter(issuers=(), heartbeats=False), "names"),
        (lambda: transmitter(algorithms=["none"]), "expected some of"),
        (lambda: transmitters(transmitter(), transmitter()), "no two"),
        (lambda: Transmitters([], audience=FEED), "got none"),
        (lambda: Transmitters([transmitter()], audience=()), "audience"),
        (lambda: EventSigner("", SECRET, algorithm="HS256", audience=FEED), "names"),
        (lambda: signer().revocation(target(), now=NOW), "expected a token"),
        (lambda: signer().revocation(target(subject="a"), now=NOW, kind=HEARTBEAT), "expected one"),
    ],
)
def test_settings_that_cannot_work(make: Any, why: str) -> None:
    """Names that are missing, or say nothing, are found before anything runs."""
    with pytest.raises(ConfigurationError, match=why):
        make()


def test_kinds_of_refusals() -> None:
    """Who is not proven to have signed is not genuine; who signed may be wrong, or not allowed."""
    kinds: dict[type[Refused], str] = {
        NotGenuine: written(claims(aud="other")),
        BadMessage: written(claims(jti=...)),
        Forbidden: written(claims(sub_id={**ALICE, "iss": OTHER})),
    }
    for kind, raw in kinds.items():
        with pytest.raises(kind):
            transmitters().read(raw, NOW)


def test_trust_has_a_fingerprint() -> None:
    """Whoever is trusted with more or less changes the fingerprint; their order does not."""
    first, second = transmitter(), transmitter("https://second.test")
    assert transmitters(first, second).fingerprint() == transmitters(second, first).fingerprint()
    others = {
        transmitters(*given).fingerprint()
        for given in [
            (first,),
            (first, second),
            (transmitter(heartbeats=False),),
            (transmitter(issuers=OTHER),),
            (transmitter(algorithms=["ES256", "RS256"]),),
        ]
    }
    assert len(others) == 5


def test_no_key_is_shown() -> None:
    """Neither signer nor transmitter prints a key."""
    assert repr(signer()) == f"<EventSigner {OPS} <SigningKey ops ES256>>"
    assert "StaticKeys" not in repr(transmitter())
