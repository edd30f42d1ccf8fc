"""Keys that an issuer has removed, and keys that nobody should trust."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import JWKS, Grace, Verifier, Verifiers
from busauth._decision import Rules, decide, decide_in_time
from busauth._expiry import PolicyChain
from busauth._files.sealed import SealedFile
from busauth._tokens.keys.key import load_key, public_part
from busauth._tokens.keys.retired import _KIND, _MOST, _PURPOSE
from busauth.errors import ConfigurationError, NotGenuine
from busauth.messages import Provenance
from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.tokens import Fetcher, NotAtHand, Retired, RetiredKeys, Verified
from tests.unit.support import NOW, Signer, b64, caller, http, raw_server, refused_code

KEY = bytes(range(32))
DAY = 24 * 3600.0
RULES = Rules(policies=PolicyChain(Grace(hours=20), hard_max_age=DAY))


@pytest.fixture
def server(clock: ManualClock) -> Iterator[IssuerServer]:
    with IssuerServer(Issuer(algorithm="ES256", clock=clock)) as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class World:
    """An issuer over HTTP, and who verifies its tokens and remembers its keys."""

    def __init__(self, server: IssuerServer, clock: ManualClock, **remembering: Any) -> None:
        self.issuer, self.clock, self.server = server.issuer, clock, server
        known = {"keep_for": DAY, "sources": {"web"}, **remembering}
        self.retired = RetiredKeys(**known)
        self.jwks = JWKS(
            f"{server.issuer.url}/jwks.json", clock=clock, fetcher=Fetcher(), retired=self.retired
        )
        self.verifiers = Verifiers(
            Verifier(
                self.jwks,
                issuer=server.issuer.url,
                audience=server.issuer.audience,
                algorithms=("ES256",),
                leeway=0,
            )
        )

    async def fetch(self) -> None:
        """Fetch the keys, as soon as it is time for it again."""
        await self.clock.advance(5)
        await self.jwks.refresh()

    async def judged(self, token: str, **published: float) -> str:
        """Return what is decided about a token: its subject, or the code of its refusal."""
        try:
            verified = self.verifiers.recall(token)
            provenance = Provenance(None, published)
            return (await decide(verified, RULES, self.clock.now(), provenance)).subject
        except NotGenuine as refused:
            return refused.code


async def test_a_removed_key_counts_for_what_was_published_before(
    server: IssuerServer, clock: ManualClock
) -> None:
    """By the word of whom the operator named, and for nothing else."""
    world = World(server, clock)
    await world.fetch()
    token, seen_at = server.issuer.token("ann", exp=clock.now() + 3600), clock.now()
    server.issuer.rotate(retire=True)
    await clock.advance(600)
    await world.fetch()
    assert await world.judged(token, web=seen_at) == "ann"
    assert await world.judged(token, web=seen_at - 60, shop=clock.now()) == "ann"
    assert await world.judged(token, web=seen_at + 0.001) == "token.key_retired"
    assert await world.judged(token, shop=seen_at - 60) == "token.key_retired"
    assert await world.judged(token) == "token.key_retired"
    assert await world.judged(server.issuer.token("bob")) == "bob"


async def test_a_removed_key_causes_no_fetch(server: IssuerServer, clock: ManualClock) -> None:
    """A thousand callers' tokens of a removed key are judged without asking the issuer again."""
    world = World(server, clock)
    await world.fetch()
    tokens = [server.issuer.token(f"caller-{number}") for number in range(1000)]
    seen_at = clock.now()
    server.issuer.rotate(retire=True)
    await world.fetch()
    asked = len(server.requests)
    for token in tokens:
        assert (await world.judged(token, web=seen_at)).startswith("caller-")
    assert len(server.requests) == asked


async def test_what_was_verified_before_the_removal_is_proven_anew(
    server: IssuerServer, clock: ManualClock
) -> None:
    """A remembered verification does not outlive its key: it turns into one of a removed key."""
    world = World(server, clock)
    await world.fetch()
    token = server.issuer.token("ann")
    first = world.verifiers.recall(token)
    assert first.retired is None
    server.issuer.rotate(retire=True)
    await world.fetch()
    assert not first.holds()
    second = world.verifiers.recall(token)
    assert second.retired is not None
    assert second.holds()
    assert world.verifiers.recall(token) is second


async def test_a_removed_key_is_forgotten_after_its_time(
    server: IssuerServer, clock: ManualClock
) -> None:
    """`keep_for` seconds after it was last seen it is unknown, to what was verified as well."""
    world = World(server, clock, keep_for=1000)
    await world.fetch()
    token, seen_at = server.issuer.token("ann", exp=clock.now() + DAY), clock.now()
    server.issuer.rotate(retire=True)
    await world.fetch()
    held = world.verifiers.recall(token)
    await clock.advance(seen_at + 999 - clock.now())
    assert held.holds()
    await clock.advance(1)
    assert not held.holds()


async def test_a_key_that_comes_back_is_current(server: IssuerServer, clock: ManualClock) -> None:
    """A set that flaps takes nothing away."""
    world = World(server, clock)
    await world.fetch()
    token, old = server.issuer.token("ann"), server.issuer.signing
    server.issuer.rotate(retire=True)
    await world.fetch()
    server.issuer.rotate(old)
    await world.fetch()
    assert await world.judged(token) == "ann"
    assert world.verifiers.recall(token).retired is None


async def test_another_key_with_the_same_kid_takes_nothing_from_the_removed_one(
    server: IssuerServer, clock: ManualClock
) -> None:
    """Keys are told by their material: both are tried."""
    world = World(server, clock)
    await world.fetch()
    token, seen_at = server.issuer.token("ann"), clock.now()
    name = server.issuer.signing.key_id
    server.issuer.rotate(retire=True).key_id = name
    await world.fetch()
    assert await world.judged(token, web=seen_at) == "ann"
    assert await world.judged(server.issuer.token("bob")) == "bob"


async def test_keys_survive_a_restart(
    server: IssuerServer, clock: ManualClock, tmp_path: Path
) -> None:
    """A process that starts after the removal knows the key from its file."""
    kept = {"file": tmp_path / "keys", "file_key": KEY}
    before = World(server, clock, **kept)
    await before.fetch()
    token, seen_at = server.issuer.token("ann"), clock.now()
    server.issuer.rotate(retire=True)
    after = World(server, clock, **kept)
    await after.fetch()
    assert await after.judged(token, web=seen_at) == "ann"
    assert await after.judged(token, web=seen_at + 1) == "token.key_retired"
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert '"d"' not in (tmp_path / "keys").read_text("latin-1")


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:40] + b"X" + raw[41:],
        lambda raw: b"busauth-keys-9\n" + raw[15:],
        lambda raw: b"",
        lambda raw: raw + b"\0" * (1024 * 1024),
    ],
)
async def test_a_file_that_is_not_its_own_is_not_used(
    damage: Any, server: IssuerServer, clock: ManualClock, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Damaged, forged, of another version or too large: it is told, and nothing in it counts."""
    file = tmp_path / "keys"
    before = World(server, clock, file=file, file_key=KEY)
    await before.fetch()
    token = server.issuer.token("ann")
    file.write_bytes(damage(file.read_bytes()))
    server.issuer.rotate(retire=True)
    after = World(server, clock, file=file, file_key=KEY)
    assert "retired keys of" in caplog.text
    await after.fetch()
    with pytest.raises(NotAtHand):
        after.verifiers.recall(token)


async def test_a_file_of_another_issuer_or_key_is_not_used(
    server: IssuerServer, clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has another key, or looks at another URL, knows nothing."""
    file = tmp_path / "keys"
    await World(server, clock, file=file, file_key=KEY).fetch()
    other = RetiredKeys(keep_for=1, sources="web", file=file, file_key=KEY)
    other.open("https://other.example/jwks", ["ES256"], 0)
    assert "it is of another issuer" in caplog.text
    World(server, clock, file=file, file_key=KEY[::-1])
    assert "its MAC does not hold" in caplog.text


def test_a_signed_file_with_nonsense_in_it_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake of ours accepts nothing: what cannot be read is told."""
    file = SealedFile(tmp_path / "keys", KEY, kind=_KIND, purpose=_PURPOSE)
    good: dict[str, Any] = {"issuer": "i", "distrusted": [], "keys": []}
    odd: list[Any] = [
        {**good, "keys": [{"jwk": {"kty": "EC"}, "kid": None, "alg": "ES256", "at": 1}]},
        {**good, "keys": [{"jwk": Signer("ES256").jwk(), "kid": None, "alg": "none", "at": 1}]},
        {**good, "keys": [{}]},
        {"issuer": "i"},
        [],
    ]
    for document in odd:
        file.save([json.dumps(document).encode()])
        caplog.clear()
        keys = RetiredKeys(keep_for=1, sources="web", file=file.path, file_key=KEY)
        keys.open("i", ["ES256"], 0)
        assert "are not known" in caplog.text
        assert not keys.candidates(None, "ES256", 0, 0)


@pytest.mark.parametrize("by", ["kid", "thumbprint"])
async def test_a_compromised_key_is_refused_at_once(
    by: str, server: IssuerServer, clock: ManualClock, tmp_path: Path
) -> None:
    """Current or removed, remembered or not, and after a restart: its tokens count no more."""
    kept = {"file": tmp_path / "keys", "file_key": KEY}
    world = World(server, clock, **kept)
    await world.fetch()
    token, seen_at = server.issuer.token("ann"), clock.now()
    held = world.verifiers.recall(token)
    (key,) = world.jwks.candidates(None, "ES256")
    name = str(key.key_id) if by == "kid" else key.thumbprint
    world.jwks.distrust(name)
    assert not held.holds()
    asked = len(server.requests)
    assert await world.judged(token, web=seen_at) == "token.key_compromised"
    assert len(server.requests) == asked
    await world.fetch()  # its issuer publishes it still
    assert await world.judged(token, web=seen_at) == "token.key_compromised"
    restarted = World(server, clock, **kept)
    await restarted.fetch()
    assert await restarted.judged(token, web=seen_at) == "token.key_compromised"


@pytest.mark.parametrize("by", ["kid", "thumbprint"])
async def test_a_removed_key_that_was_compromised_counts_for_nothing(
    by: str, server: IssuerServer, clock: ManualClock
) -> None:
    """A report after the removal ends it all the same."""
    world = World(server, clock)
    await world.fetch()
    token, seen_at = server.issuer.token("ann"), clock.now()
    (key,) = world.jwks.candidates(None, "ES256")
    server.issuer.rotate(retire=True)
    await world.fetch()
    assert await world.judged(token, web=seen_at) == "ann"
    held = world.verifiers.recall(token)
    world.jwks.distrust(str(key.key_id) if by == "kid" else key.thumbprint)
    assert not held.holds()
    assert await world.judged(token, web=seen_at) == "token.key_compromised"


async def test_a_key_can_be_distrusted_before_it_is_seen(
    server: IssuerServer, clock: ManualClock
) -> None:
    """What stands in the configuration counts from the first fetch on; other keys are not meant."""
    thumbprint = load_key(server.issuer.signing.public_jwk(), ["ES256"]).thumbprint
    jwks = JWKS(f"{server.issuer.url}/jwks.json", clock=clock, distrusted=[thumbprint])
    verifiers = Verifiers(
        Verifier(jwks, issuer=server.issuer.url, audience=server.issuer.audience, leeway=0)
    )
    token = server.issuer.token()
    server.issuer.rotate()
    await jwks.refresh()
    assert verifiers.recall(server.issuer.token("bob")).caller.subject == "bob"
    with pytest.raises(NotGenuine, match="compromised"):
        verifiers.recall(token)


@pytest.mark.parametrize("spelled", ["HEX", "base64url"])
async def test_a_thumbprint_may_be_written_in_hex_or_base64url(
    spelled: str, server: IssuerServer, clock: ManualClock
) -> None:
    """RFC 7638 writes it in base64url, and tools write hex in capitals."""
    world = World(server, clock)
    await world.fetch()
    token = server.issuer.token("ann")
    (key,) = world.jwks.candidates(None, "ES256")
    digest = bytes.fromhex(key.thumbprint)
    assert world.jwks.distrust(digest.hex().upper() if spelled == "HEX" else b64(digest))
    assert await world.judged(token) == "token.key_compromised"


async def test_a_compromised_key_counts_under_no_other_name(
    server: IssuerServer, clock: ManualClock
) -> None:
    """A key that was distrusted by its kid is the same key when its issuer renames it."""
    world = World(server, clock)
    await world.fetch()
    world.jwks.distrust(str(server.issuer.signing.key_id))
    server.issuer.signing.key_id = "renamed"
    await world.fetch()
    assert await world.judged(server.issuer.token("ann")) == "token.key_compromised"


@pytest.mark.parametrize("removed", [False, True])
async def test_a_key_that_its_issuer_spells_oddly_is_distrusted_all_the_same(
    removed: bool, clock: ManualClock
) -> None:
    """Its thumbprint is that of the key, whatever the JWK looks like, current or removed."""
    signer, served = Signer("RS256"), [Signer("RS256").jwk(e="AAEAAQ==")]
    async with raw_server(lambda _: http({"keys": served})) as server:
        retired = RetiredKeys(keep_for=DAY, sources="web")
        jwks = JWKS(server.url, clock=clock, retired=retired)
        await jwks.refresh()
        if removed:
            served[:] = [Signer("RS256", "next").jwk()]
            await asyncio.gather(jwks.refresh(), clock.advance(5))
            assert jwks.former("main", "RS256")
        assert jwks.distrust(load_key(signer.jwk(), ["RS256"]).thumbprint)
    with pytest.raises(NotGenuine, match="key_compromised"):
        jwks.candidates("main", "RS256")
    assert not jwks.former("main", "RS256")


async def test_a_removed_key_without_alg_serves_what_it_served(
    clock: ManualClock, tmp_path: Path
) -> None:
    """Each algorithm that a removed key was good for stays so, after a restart, too."""
    served = [Signer("RS256").jwk(alg=None)]
    kept: dict[str, Any] = {
        "keep_for": DAY,
        "sources": "web",
        "file": tmp_path / "keys",
        "file_key": KEY,
    }
    async with raw_server(lambda _: http({"keys": served})) as server:
        await JWKS(server.url, clock=clock, retired=RetiredKeys(**kept)).refresh()
        served[:] = [Signer("RS256", "next").jwk()]
        jwks = JWKS(server.url, clock=clock, retired=RetiredKeys(**kept))
        await jwks.refresh()
    for algorithm in ("RS256", "PS256", "PS512"):
        ((key, _),) = jwks.former("main", algorithm)
        assert key.algorithm == algorithm
    assert not jwks.former("main", "ES256")
    assert jwks.distrust(key.thumbprint)
    assert not jwks.former("main", "RS256")


async def test_a_name_that_fits_no_key_is_told(
    server: IssuerServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever misspells a compromised key hears of it, and one that is known is not told."""
    jwks = JWKS(f"{server.issuer.url}/jwks.json", clock=clock)
    await jwks.refresh()
    assert jwks.distrust("ab" * 32) is False
    assert "no known key goes by" in caplog.text
    assert "abab" in caplog.text
    caplog.clear()
    assert jwks.distrust(str(server.issuer.signing.key_id)) is True
    assert jwks.distrust(str(server.issuer.signing.key_id)) is True
    assert not caplog.text


async def test_a_configured_name_that_fits_no_key_is_told_once(
    server: IssuerServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After the first fetch it is known whether a name in the settings is anybody's."""
    name = str(server.issuer.signing.key_id)
    world = World(server, clock)
    url = f"{server.issuer.url}/jwks.json"
    world.jwks = JWKS(url, clock=clock, distrusted=["misspelt", name])
    server.issuer.rotate()
    assert "goes by" not in caplog.text
    for _ in range(3):
        await world.fetch()
    assert caplog.text.count("goes by 'misspelt'") == 1


async def test_a_name_from_before_is_a_name_still(tmp_path: Path) -> None:
    """A file that names a key by the hash of its odd spelling goes on meaning that key."""
    odd = Signer("RS256").jwk(e="AAEAAQ")
    members = json.dumps(
        {name: odd[name] for name in ("e", "kty", "n")}, sort_keys=True, separators=(",", ":")
    )
    file = SealedFile(tmp_path / "keys", KEY, kind=_KIND, purpose=_PURPOSE)
    known = {"jwk": public_part(odd), "kid": "main", "alg": "RS256", "at": NOW}
    names = [sha256(members.encode()).hexdigest()]
    document = {"issuer": "i", "distrusted": names, "keys": [known]}
    file.save([json.dumps(document).encode()])
    keys = RetiredKeys(keep_for=DAY, sources="web", file=file.path, file_key=KEY)
    keys.open("i", ["RS256"], 0)
    assert not keys.candidates(None, "RS256", NOW, 0)


class Turn:
    """A lock that tells that it is waited for."""

    def __init__(self) -> None:
        self.lock, self.awaited = threading.Lock(), threading.Event()

    def __enter__(self) -> None:
        self.awaited.set()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


async def test_a_save_that_was_slow_takes_no_distrust_back(tmp_path: Path) -> None:
    """What is written last is what is known then, whenever the writing was asked for."""
    keys = RetiredKeys(keep_for=DAY, sources="web", file=tmp_path / "keys", file_key=KEY)
    keys.open("i", ["ES256"], 0)
    assert keys._file
    turn = keys._file._writing = Turn()  # type: ignore[assignment]
    with turn.lock:  # somebody else is writing
        slow = asyncio.create_task(asyncio.to_thread(keys.save, NOW, 0))
        await asyncio.to_thread(turn.awaited.wait, 5)
        keys.forget(["stolen"])
    await slow
    again = RetiredKeys(keep_for=DAY, sources="web", file=tmp_path / "keys", file_key=KEY)
    again.open("i", ["ES256"], 0)
    assert "stolen" in again.distrusted


def test_a_removed_key_stays_its_tenants(tmp_path: Path) -> None:
    """Of many tenants' keys, whose a key is is remembered with it, after a restart, too."""
    kept: dict[str, Any] = {"file": tmp_path / "keys", "file_key": KEY}
    before, after = (RetiredKeys(keep_for=DAY, sources="web", **kept) for _ in range(2))
    before.open("i", ["ES256"], 0)
    one = Signer("ES256").jwk(issuer="https://idp.example/tenant")
    key = load_key(one, ["ES256"])
    before.noticed({key.thumbprint: (one, [key])}, NOW, 0)
    before.noticed({}, NOW + 1, 1)
    before.save(NOW + 1, 1)
    after.open("i", ["ES256"], 0)
    for keys in (before, after):
        ((former, _),) = keys.candidates(None, "ES256", NOW + 2, 2)
        assert former.issuer == "https://idp.example/tenant"


def test_the_number_of_remembered_keys_is_bounded() -> None:
    """An issuer that serves new keys at each fetch fills no memory; the latest stay."""
    keys = RetiredKeys(keep_for=DAY, sources="web")
    keys.open("i", ["ES256"], 0)
    one = Signer("ES256").jwk()
    key = load_key(one, ["ES256"])
    for number in range(200):
        keys.noticed({f"{number}": (one, [key])}, NOW + number, number)
    assert len(keys._seen) == _MOST
    assert min(seen.at for seen in keys._seen.values()) == NOW + 200 - _MOST


@given(ahead=st.floats(min_value=0, max_value=1e6))
def test_a_clock_that_was_ahead_believes_no_future(ahead: float) -> None:
    """A key that was seen by a clock ahead of time was last seen now at most."""
    keys = RetiredKeys(keep_for=1e9, sources="web")
    keys.open("i", ["ES256"], 0)
    one = Signer("ES256").jwk()
    key = load_key(one, ["ES256"])
    keys.noticed({key.thumbprint: (one, [key])}, NOW + ahead, 0)
    keys.noticed({}, NOW, 0)
    ((_, retired),) = keys.candidates(None, "ES256", NOW, 0)
    assert retired.last_seen <= NOW


@given(wrong=st.floats(min_value=-1e7, max_value=1e7))
def test_a_clock_that_is_wrong_for_one_fetch_changes_nothing(wrong: float) -> None:
    """Neither is a removed key forgotten for it, nor believed longer, nor less long."""
    keys = RetiredKeys(keep_for=1000, sources="web")
    keys.open("i", ["ES256"], 0)
    one, other = Signer("ES256").jwk(), Signer("ES256", "other").jwk()
    old, new = load_key(one, ["ES256"]), load_key(other, ["ES256"])
    keys.noticed({old.thumbprint: (one, [old])}, NOW, 0)
    keys.noticed({new.thumbprint: (other, [new])}, NOW + 300 + wrong, 300)
    keys.noticed({new.thumbprint: (other, [new])}, NOW + 600, 600)
    ((_, retired),) = keys.candidates("main", "ES256", NOW + 999, 999)
    assert retired.last_seen == NOW
    assert not keys.candidates("main", "ES256", NOW + 1000, 1000)


@given(ahead=st.floats(min_value=0, max_value=1e6), passed=st.floats(min_value=0, max_value=1e4))
def test_a_key_is_believed_no_longer_than_it_was_here(ahead: float, passed: float) -> None:
    """A clock that was ahead at the last fetch that brought a key moves that instant by nothing."""
    keys = RetiredKeys(keep_for=1e9, sources="web")
    keys.open("i", ["ES256"], 0)
    one = Signer("ES256").jwk()
    key = load_key(one, ["ES256"])
    keys.noticed({key.thumbprint: (one, [key])}, NOW + ahead, 0)
    keys.noticed({}, NOW + passed, passed)
    ((_, retired),) = keys.candidates(None, "ES256", NOW + passed, passed)
    assert retired.last_seen == pytest.approx(NOW, abs=1e-3)


@pytest.mark.parametrize(
    "said",
    [
        {"keep_for": 0, "sources": "web"},
        {"keep_for": float("inf"), "sources": "web"},
        {"keep_for": 1, "sources": ()},
        {"keep_for": 1, "sources": [""]},
        {"keep_for": 1, "sources": "web", "file": "keys"},
        {"keep_for": 1, "sources": "web", "file_key": KEY},
        {"keep_for": 1, "sources": "web", "file": "keys", "file_key": b"short"},
    ],
)
def test_a_memory_says_how_long_and_by_whose_word(said: Mapping[str, Any]) -> None:
    """Without a span, without anybody's word, or with half a file it is an error."""
    with pytest.raises(ConfigurationError):
        RetiredKeys(**said)


def test_a_memory_is_one_issuers(clock: ManualClock) -> None:
    """Two key sets that share a memory would take each other's keys for their own."""
    keys = RetiredKeys(keep_for=1, sources="web")
    JWKS("https://one.example/jwks", clock=clock, retired=keys)
    with pytest.raises(ConfigurationError, match="one for each JWKS"):
        JWKS("https://two.example/jwks", clock=clock, retired=keys)


@given(at=st.floats(min_value=NOW - 1000, max_value=NOW + 1000))
async def test_the_decision_is_made_at_the_instant_of_publication(at: float) -> None:
    """Not later than last seen; late or in time makes no difference."""
    retired = Retired(NOW, frozenset({"web"}))
    provenance = Provenance(None, {"web": at})
    for expires_at in (NOW + 5000, NOW - 500):
        known = caller(expires_at=expires_at, issued_at=NOW - 1000)
        verified = Verified(known, None, 0.0, retired=retired)
        if at <= NOW:
            assert (await decide(verified, RULES, NOW + 10, provenance)).subject == known.subject
        else:
            code = await refused_code(decide(verified, RULES, NOW + 10, provenance))
            assert code == "token.key_retired"


def test_without_an_origin_a_removed_key_counts_for_nothing() -> None:
    """At the edge nobody says when something was published."""
    verified = Verified(
        caller(expires_at=NOW + 300), None, 0.0, retired=Retired(NOW, frozenset({"web"}))
    )
    with pytest.raises(NotGenuine, match="nobody's word"):
        decide_in_time(verified, RULES, NOW)
