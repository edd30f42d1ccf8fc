"""An issuer's keys: fetched rarely, kept through outages, never for ever."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from busauth import JWKS, Verifier, Verifiers
from busauth.errors import ConfigurationError, Deferred, NotGenuine
from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.tokens import Fetcher, JWKSOptions, KeyMissing, KeySource, UnsafeHttp
from tests.unit.support import Signer, http, payload, proven_by, raw_server

PATH = "/jwks.json"
DAY = 24 * 3600


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> Iterator[IssuerServer]:
    with IssuerServer(Issuer(algorithm="ES256", clock=clock)) as server:
        yield server


@pytest.fixture
def jwks(server: IssuerServer, clock: ManualClock) -> JWKS:
    return JWKS(f"{server.issuer.url}{PATH}", clock=clock, fetcher=FETCHER)


FETCHER = Fetcher()


def verifiers(issuer: Issuer, keys: KeySource) -> Verifiers:
    return Verifiers(
        Verifier(keys, issuer=issuer.url, audience=issuer.audience, algorithms=("ES256",), leeway=0)
    )


async def in_time(clock: ManualClock, work: Any, seconds: float = 5.0) -> Any:
    """Await something that waits for its turn on the clock."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    await clock.advance(seconds)
    return await task


async def settled(jwks: JWKS) -> None:
    """Wait for the fetch in the background."""
    if (flight := jwks._flights.here.task) is not None:
        await asyncio.wait([flight])


async def test_keys_are_fetched_on_first_use(server: IssuerServer, jwks: JWKS) -> None:
    """Nothing is known before the first fetch, everything after it."""
    with pytest.raises(KeyMissing):
        jwks.candidates(None, "ES256")
    assert jwks.epoch == 0
    await jwks.refresh()
    (key,) = jwks.candidates(server.issuer.signing.key_id, "ES256")
    assert key.key_id == server.issuer.signing.key_id
    assert jwks.epoch == 1


async def test_a_hundred_waiters_share_one_request(server: IssuerServer, jwks: JWKS) -> None:
    """Single flight: whoever needs keys while they are fetched waits for the same answer."""
    accept = verifiers(server.issuer, jwks)
    raw = server.issuer.token()
    found = await asyncio.gather(*(proven_by(accept, raw) for _ in range(100)))
    assert {one.caller.subject for one in found} == {"alice"}
    assert server.requests == [PATH]


async def test_waiters_share_a_failure_too(server: IssuerServer, jwks: JWKS) -> None:
    """One failed fetch is one request, and everybody's transient fault."""
    server.down = True
    found = await asyncio.gather(*(jwks.refresh() for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in found} == {Deferred}
    assert server.requests == [PATH]


async def test_a_cancelled_waiter_does_not_cancel_the_fetch(
    server: IssuerServer, jwks: JWKS
) -> None:
    """The fetch belongs to nobody: the others get their keys."""
    first, second = (asyncio.ensure_future(jwks.refresh()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert jwks.candidates(None, "ES256")
    assert server.requests == [PATH]


async def test_an_ageing_set_is_used_while_it_is_renewed(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """Stale while revalidate: after `fresh_for` the old keys answer at once, and one fetch runs."""
    await jwks.refresh()
    await clock.advance(299)
    jwks.candidates(None, "ES256")
    await settled(jwks)
    assert len(server.requests) == 1
    await clock.advance(1)
    server.issuer.rotate(retire=True)
    for _ in range(10):
        assert len(jwks.candidates(None, "ES256")) == 1
    assert jwks.epoch == 1
    await settled(jwks)
    assert len(server.requests) == 2
    assert jwks.epoch == 2
    assert jwks.candidates(server.issuer.signing.key_id, "ES256")


async def test_an_unchanged_set_keeps_its_epoch(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """A renewal that brings the same keys forgets no verified token."""
    await jwks.refresh()
    await in_time(clock, jwks.refresh())
    assert (jwks.epoch, len(server.requests)) == (1, 2)


async def test_the_fetch_runs_in_an_empty_context(server: IssuerServer, clock: ManualClock) -> None:
    """Whoever happens to trigger a renewal does not lend it their identity."""
    variable: ContextVar[str] = ContextVar("variable", default="nobody")
    seen: list[str] = []

    class Curious(Fetcher):
        async def get_object(self, url: str) -> dict[str, Any]:
            seen.append(variable.get())
            return await super().get_object(url)

    jwks = JWKS(f"{server.issuer.url}{PATH}", clock=clock, fetcher=Curious())
    variable.set("alice")
    await jwks.refresh()
    await clock.advance(300)
    jwks.candidates(None, "ES256")
    await settled(jwks)
    assert seen == ["nobody", "nobody"]


async def test_an_outage_keeps_good_keys_for_a_day_and_then_defers(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """A failed fetch changes nothing until the last good one is 24 hours old."""
    accept = verifiers(server.issuer, jwks)
    raw = server.issuer.token()
    await proven_by(accept, raw)
    server.down = True
    await clock.advance(DAY - 1)
    assert (await proven_by(accept, raw)).caller.subject == "alice"
    await settled(jwks)
    await clock.advance(1)
    with pytest.raises(Deferred, match="out of reach") as caught:
        await in_time(clock, proven_by(accept, raw))
    assert caught.value.probe is not None
    server.down = False
    await in_time(clock, caught.value.probe())
    assert (await proven_by(accept, raw)).caller.subject == "alice"


async def test_a_probe_fails_while_the_issuer_is_down(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """The probe of a deferral asks again, and defers again while nothing has changed."""
    server.down = True
    with pytest.raises(Deferred) as caught:
        await jwks.refresh()
    assert caught.value.probe is not None
    with pytest.raises(Deferred):
        await in_time(clock, caught.value.probe())
    assert len(server.requests) == 2


async def test_unknown_kids_cannot_hurry_the_fetches(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """However many unknown `kid`s arrive, no two fetches begin within `min_interval`."""
    accept = verifiers(server.issuer, jwks)
    await proven_by(accept, server.issuer.token())
    hostile = [server.issuer.token(header={"kid": f"k{number}"}) for number in range(50)]
    waiting = [asyncio.ensure_future(proven_by(accept, raw)) for raw in hostile]
    await clock.advance(4.999)
    assert len(server.requests) == 1
    assert not any(task.done() for task in waiting)
    await clock.advance(0.001)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {each.code for each in found if isinstance(each, NotGenuine)} == {"token.key_unknown"}
    assert len(found) == 50
    assert len(server.requests) == 2


async def test_failing_renewals_keep_their_distance_too(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """While an issuer is down, an ageing set causes at most one request per interval."""
    await jwks.refresh()
    server.down = True
    await clock.advance(300)
    jwks.candidates(None, "ES256")
    await settled(jwks)
    for requests in (2, 3, 4):
        jwks.candidates(None, "ES256")
        await clock.advance(4.999)
        jwks.candidates(None, "ES256")
        assert len(server.requests) == requests
        await clock.advance(0.001)
        await settled(jwks)
        assert len(server.requests) == requests + 1


async def test_a_rotated_key_is_found_when_it_is_first_seen(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """A token signed with a new key waits for one fetch, and is accepted."""
    accept = verifiers(server.issuer, jwks)
    old = server.issuer.token()
    await proven_by(accept, old)
    server.issuer.rotate()
    fresh = server.issuer.token("bob")
    assert (await in_time(clock, proven_by(accept, fresh))).caller.subject == "bob"
    assert (await proven_by(accept, old)).caller.subject == "alice"


async def test_a_removed_key_is_not_accepted_from_the_cache(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """A remembered verification ends with the key set that made it."""
    accept = verifiers(server.issuer, jwks)
    raw = server.issuer.token()
    await proven_by(accept, raw)
    server.issuer.rotate(retire=True)
    await in_time(clock, jwks.refresh())
    with pytest.raises(NotGenuine) as caught:
        await in_time(clock, proven_by(accept, raw))
    assert caught.value.code == "token.key_unknown"


async def test_a_replaced_key_with_the_same_kid_is_not_the_old_one(
    server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """A key is its material, not its name."""
    accept = verifiers(server.issuer, jwks)
    raw = server.issuer.token()
    await proven_by(accept, raw)
    name = server.issuer.signing.key_id
    server.issuer.rotate(retire=True).key_id = name
    await in_time(clock, jwks.refresh())
    with pytest.raises(NotGenuine) as caught:
        await proven_by(accept, raw)
    assert caught.value.code == "token.signature"


@dataclass
class Broken:
    """A wrong key set, and what a log or deferral says about it."""

    body: Any
    reason: str
    options: JWKSOptions = field(default_factory=JWKSOptions)


GOOD = Signer("ES256").jwk()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Broken([GOOD], "gave a list"), id="list"),
        pytest.param(Broken(b"<html></html>", "not with a JSON object"), id="html"),
        pytest.param(Broken({}, "expected `keys`"), id="no-keys-member"),
        pytest.param(Broken({"keys": {}}, "expected `keys`"), id="keys-object"),
        pytest.param(Broken({"keys": None}, "expected `keys`"), id="keys-null"),
        pytest.param(Broken({"keys": []}, "holds no key"), id="empty"),
        pytest.param(Broken({"keys": [None, 5, "x", []]}, "holds no key"), id="no-objects"),
        pytest.param(Broken({"keys": [{**GOOD, "use": "enc"}]}, "holds no key"), id="encryption"),
        pytest.param(
            Broken({"keys": [Signer("HS256").jwk()]}, "holds no key"), id="a-secret-in-public"
        ),
        pytest.param(Broken({"keys": [GOOD] * 65}, "at most 64"), id="too-many"),
        pytest.param(Broken({"keys": [GOOD], "pad": "x" * 300_000}, "more than"), id="oversize"),
    ],
)
async def test_a_wrong_key_set_defers_and_keeps_good_keys(
    case: Broken, server: IssuerServer, jwks: JWKS, clock: ManualClock
) -> None:
    """An answer that is no usable key set is a transient fault, and good keys stay."""
    await jwks.refresh()
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    server.replies[PATH] = (200, body)
    with pytest.raises(Deferred, match=case.reason):
        await in_time(clock, jwks.refresh())
    assert jwks.candidates(server.issuer.signing.key_id, "ES256")
    assert jwks.epoch == 1


async def test_a_set_without_a_fitting_key_tells_what_it_holds(clock: ManualClock) -> None:
    """Who allowed the wrong algorithm reads which ones the issuer's keys name."""
    held = {"keys": [Signer("RS256").jwk(kid="rsa"), {**GOOD, "kid": "curve", "use": "enc"}]}
    async with raw_server(lambda _: http(held)) as server:
        jwks = JWKS(server.url, algorithms=["PS256", "ES256"], clock=clock)
        with pytest.raises(Deferred, match=r"found key kid='rsa'.*alg='RS256'.*kid='curve'"):
            await jwks.refresh()


async def test_a_verifier_that_takes_ps256_says_so_once(clock: ManualClock) -> None:
    """Keys by discovery that name no algorithm serve what their verifier takes."""
    signer = Signer("PS256")

    def answer(path: str) -> bytes:
        found = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"}
        return http({"keys": [signer.jwk(alg=None)]} if path == "/jwks" else found)

    async with raw_server(answer) as issuer:
        keys = JWKS.discover(issuer.url, clock=clock)
        one = Verifier(keys, issuer=issuer.url, audience="shop", algorithms=["PS256"])
        raw = signer.sign(payload(iss=issuer.url))
        assert (await proven_by(Verifiers(one), raw)).caller.subject == "alice"
        assert issuer.requests[-1] == "/jwks"


HOSTILE_KEYS: list[Any] = [
    {**GOOD, "key_ops": 5},
    {**GOOD, "key_ops": None},
    {**GOOD, "key_ops": [{}]},
    {**GOOD, "x": 5},
    {**GOOD, "x": "ü"},
    {**GOOD, "x": None},
    {**GOOD, "kty": []},
    {**GOOD, "crv": {}},
    {**GOOD, "alg": []},
    {"kty": "RSA", "n": "AQ" * 8000, "e": "AQAB", "alg": "RS256"},
    {"kty": "RSA", "n": "", "e": "", "alg": "RS256"},
    {},
    None,
    [],
]


@pytest.mark.parametrize("entry", HOSTILE_KEYS, ids=[str(n) for n in range(len(HOSTILE_KEYS))])
async def test_a_damaged_key_is_left_out_and_the_others_serve(
    entry: Any, server: IssuerServer, jwks: JWKS
) -> None:
    """One key that cannot be used does not take the issuer's other keys away."""
    good = server.issuer.jwks()["keys"]
    server.replies[PATH] = (200, json.dumps({"keys": [entry, *good]}).encode())
    await jwks.refresh()
    assert jwks.candidates(server.issuer.signing.key_id, "ES256")


async def test_a_failed_fetch_is_logged_and_ends_no_task_unheard(
    server: IssuerServer, jwks: JWKS, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A background renewal that fails leaves a warning."""
    await jwks.refresh()
    server.down = True
    await clock.advance(300)
    with caplog.at_level(logging.WARNING, "busauth"):
        jwks.candidates(None, "ES256")
        await settled(jwks)
        await asyncio.sleep(0)
    assert "keys were not renewed" in caplog.text


async def test_a_renewal_that_is_cancelled_is_not_a_failure(
    server: IssuerServer, jwks: JWKS, caplog: pytest.LogCaptureFixture
) -> None:
    """A loop that shuts down may cancel the fetch without a word."""
    waiting = asyncio.ensure_future(jwks.refresh())
    await asyncio.sleep(0)
    flight = jwks._flights.here.task
    assert flight is not None
    flight.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert "renewed" not in caplog.text


@pytest.mark.parametrize("url", ["http://idp.example/jwks", "idp.example", "file:///jwks"])
def test_a_url_that_may_not_be_asked_is_refused_at_once(url: str) -> None:
    """Plain http to another machine is a configuration error, found before anything runs."""
    with pytest.raises(ConfigurationError, match="expected https"):
        JWKS(url)


@pytest.mark.parametrize("algorithms", [("HS256",), ("RS256", "HS256"), ("none",), ()])
def test_secrets_have_no_place_in_a_jwks(algorithms: tuple[str, ...]) -> None:
    """Only public-key algorithms can be configured for a key set on a URL."""
    with pytest.raises(ConfigurationError):
        JWKS("https://idp.example/jwks", algorithms=algorithms)


@pytest.fixture
def moving(server: IssuerServer, clock: ManualClock) -> JWKS:
    return JWKS.discover(server.issuer.url, clock=clock, fetcher=FETCHER)


async def test_discovered_keys_are_fetched_where_the_metadata_says(
    server: IssuerServer, moving: JWKS, clock: ManualClock
) -> None:
    """Metadata is read once, keys as often as needed."""
    await moving.refresh()
    await in_time(clock, moving.refresh())
    assert moving.candidates(None, "ES256")
    assert server.requests == ["/.well-known/openid-configuration", PATH, PATH]


async def test_a_moved_key_set_is_found_again_after_a_failure(
    server: IssuerServer, moving: JWKS, clock: ManualClock
) -> None:
    """When the known place fails, the next fetch asks the metadata again."""
    await moving.refresh()
    server.replies[PATH] = (404, b"")
    server.replies["/new"] = (200, json.dumps(server.issuer.jwks()).encode())
    moved = {"issuer": server.issuer.url, "jwks_uri": f"{server.issuer.url}/new"}
    server.replies["/.well-known/openid-configuration"] = (200, json.dumps(moved).encode())
    with pytest.raises(Deferred):
        await in_time(clock, moving.refresh())
    await in_time(clock, moving.refresh())
    assert server.requests[-2:] == ["/.well-known/openid-configuration", "/new"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://idp.example/jwks",
        "ftp://127.0.0.1/",
        "",
        "https://[::1",
        "https://\x00/",
        "jwks.json",
    ],
)
async def test_metadata_cannot_lower_the_demand_for_https(
    uri: str, server: IssuerServer, moving: JWKS
) -> None:
    """A `jwks_uri` that may not be asked defers, and nobody asks it."""
    metadata = {"issuer": server.issuer.url, "jwks_uri": uri}
    server.replies["/.well-known/openid-configuration"] = (200, json.dumps(metadata).encode())
    with pytest.raises(Deferred):
        await moving.refresh()
    assert PATH not in server.requests


async def test_keys_of_another_issuer_are_not_used(server: IssuerServer, moving: JWKS) -> None:
    """Metadata for another issuer brings no keys."""
    foreign = {"issuer": f"{server.issuer.url}/", "jwks_uri": f"{server.issuer.url}{PATH}"}
    server.replies["/.well-known/openid-configuration"] = (200, json.dumps(foreign).encode())
    with pytest.raises(Deferred, match="to the letter"):
        await moving.refresh()
    assert PATH not in server.requests


@pytest.mark.parametrize("issuer", ["http://idp.example", "https://idp?tenant=a", "idp"])
def test_discovery_of_an_impossible_issuer_is_refused(issuer: str) -> None:
    """An issuer that cannot be asked is a configuration error."""
    with pytest.raises(ConfigurationError):
        JWKS.discover(issuer)


def test_plain_http_is_possible_where_it_is_said_aloud() -> None:
    """`UnsafeHttp` names the hosts of a private network."""
    assert JWKS("http://issuer:8080/jwks", fetcher=Fetcher(unsafe_http=UnsafeHttp("issuer")))


async def test_a_slow_issuer_defers(clock: ManualClock) -> None:
    """Keys that do not come in time are out of reach, and nobody waits longer."""
    async with raw_server(lambda _: None) as slow:
        jwks = JWKS(slow.url, clock=clock, fetcher=Fetcher(timeout=0.05))
        with pytest.raises(Deferred, match="no answer within"):
            await jwks.refresh()


async def test_redirects_are_not_followed(clock: ManualClock) -> None:
    """Keys are where they were configured, not where somebody points."""
    answer = http({}, "Location: /elsewhere", status="302 Found")
    async with raw_server(lambda _: answer) as pointing:
        with pytest.raises(Deferred, match="status 302"):
            await JWKS(pointing.url, clock=clock).refresh()
    assert len(pointing.requests) == 1


async def test_a_key_published_during_a_fetch_is_found_by_another(clock: ManualClock) -> None:
    """A token whose key is newer than the fetch that was under way is not refused for it."""
    own = Issuer(algorithm="ES256", clock=clock)
    with IssuerServer(own) as server:
        keys = JWKS(f"{own.url}/jwks.json", options=JWKSOptions(min_interval=0))
        verifiers = Verifiers(Verifier(keys, issuer=own.url, audience="shop", leeway=300))
        await proven_by(verifiers, own.token())
        server.delay = 0.3
        answered = len(server.requests)
        stale = json.dumps(own.jwks()).encode()
        server.replies["/jwks.json"] = (200, stale)
        forged = own.token(header={"kid": "nobody's"})
        flood = asyncio.create_task(proven_by(verifiers, forged))
        while len(server.requests) == answered:
            await asyncio.sleep(0.01)
        own.rotate()
        genuine = asyncio.create_task(proven_by(verifiers, own.token("ann")))
        await asyncio.sleep(0)
        del server.replies["/jwks.json"]
        assert (await genuine).caller.subject == "ann"
        with pytest.raises(NotGenuine):
            await flood
