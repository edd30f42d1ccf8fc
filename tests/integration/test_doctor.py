"""`busauth doctor`: each planted mistake is found by its own code; a good service has none."""

import asyncio
import inspect
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from yarl import URL

from busauth import Binding
from busauth.cli.doctor.finding import Report
from busauth.delegation import NO_ACTOR
from busauth.revocation import FeedOptions, RevocationFeed, Transmitter, Transmitters
from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.testing.issuer.http.messages import Response, json_response
from busauth.tokens import StaticKeys
from tests.integration.doctoring import SEAL, Service
from tests.support import Broker
from tests.unit.encrypting import private_jwk

GRACE: dict[str, Any] = {"policy": "grace", "minutes": 10}
METADATA = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
DAY = 24 * 3600

Change = Callable[[Service], Awaitable[None] | None]


@pytest.fixture
def service(broker: Broker, issuer: Issuer, tmp_path: Path) -> Iterator[Service]:
    before = issuer.url
    with IssuerServer(issuer) as server:
        yield Service(broker, server, tmp_path)
    issuer.url = before


def version_of(broker: Broker) -> str:
    """Return the version of a RabbitMQ, nothing for the embedded broker."""
    assert broker.connection.transport is not None
    properties = broker.connection.transport.connection.server_properties
    return str(properties["version"]) if properties["product"] == "RabbitMQ" else ""


def is_rabbitmq(broker: Broker) -> bool:
    return version_of(broker) != ""


def of_its_age(broker: Broker) -> list[str]:
    """Return what is to be found of a broker that tests run on: one of them is past its end."""
    return ["broker-end-of-life"] if version_of(broker).startswith("3.10") else []


def codes(report: Report) -> list[str]:
    return sorted({each.kind.code for each in report.findings})


# --- changes ------------------------------------------------------------------------------------


def says(**said: Any) -> Change:
    """Change settings; a table's keys are added to what it says."""

    def change(service: Service) -> None:
        for name, value in said.items():
            before = service.said.get(name)
            added = isinstance(before, dict) and isinstance(value, dict) and "policy" not in value
            service.said[name] = {**before, **value} if added and before else value

    return change


def demands(**said: Any) -> Change:
    return lambda service: service.consumer.update(said)


def asks(**said: Any) -> Change:
    return lambda service: service.question.update(said)


def late(**policy: Any) -> Change:
    """Accept what is late by a policy, and keep the tokens of what it does not."""

    def change(service: Service) -> None:
        service.said["on_expired"] = [policy, service.said["on_expired"]]

    return change


def by_file(change: Change) -> Change:
    """Look at the settings alone: what is refused there lets no bus be made."""

    def changed(service: Service) -> None:
        change(service)
        service.by_file = True

    return changed


def keys(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Change:
    """Change the published keys."""

    def changed(service: Service) -> None:
        jwks = service.server.issuer.jwks()["keys"]
        service.server.replies["/jwks.json"] = json_response({"keys": change(jwks)})

    return changed


def metadata(**changes: Any) -> Change:
    def changed(service: Service) -> None:
        document = service.server.issuer.metadata(**changes)
        for path in (METADATA, OAUTH):
            service.server.replies[path] = json_response(document)

    return changed


def says_nothing(service: Service) -> None:
    for path in (METADATA, OAUTH):
        service.server.replies[path] = Response(404)


def is_down(service: Service) -> None:
    service.server.down = True


def is_slow(service: Service) -> None:
    service.server.delay = 2.0
    service.question["seconds"] = 1.0


def is_cached(service: Service) -> None:
    said = {"Cache-Control": "public, max-age=86400"}
    jwks = service.server.issuer.jwks()
    service.server.replies["/jwks.json"] = json_response(jwks, headers=said)


def off_by(seconds: float) -> Change:
    """Let this machine's clock, or the issuer's, be ahead."""

    def change(service: Service) -> None:
        service.clock = ManualClock(time.time() + seconds)

    return change


def another(name: str | None = "another", **members: Any) -> dict[str, Any]:
    """Return a key of its own for ES256."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    named = {} if name is None else {"kid": name}
    return {
        **ECAlgorithm.to_jwk(key, as_dict=True),
        "alg": "ES256",
        "use": "sig",
        **named,
        **members,
    }


def short() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    jwk = {**RSAAlgorithm.to_jwk(key, as_dict=True), "kid": "short", "use": "sig", "alg": "RS256"}
    jwk.pop("key_ops", None)
    return jwk


def known_as(host: str = "127.0.0.1", path: str = "", **said: Any) -> Change:
    """Give the issuer another name."""

    def change(service: Service) -> None:
        service.server.issuer.url = f"http://{host}:{service.server.port}{path}"
        service.said |= {"issuer": service.server.issuer.url, **said}

    return change


def of_any_tenant(service: Service) -> None:
    jwks = f"{service.said['issuer']}/jwks.json"
    service.said |= {"issuer": f"{service.said['issuer']}/{{tenantid}}/v2.0", "tenants": "any"}
    service.said |= {"jwks_url": jwks}


def mode(name: str, bits: int) -> Change:
    return lambda service: (service.folder / name).chmod(bits)


def sealed_with(**texts: str) -> Change:
    def change(service: Service) -> None:
        files = {name: service.write(name, text) for name, text in texts.items()}
        service.said["messages"] = {"seal": files}

    return change


def two_purposes(service: Service) -> None:
    encrypts = private_jwk("p256", "both")
    signs = {name: value for name, value in encrypts.items() if name not in ("alg", "use")}
    service.said["messages"] |= {
        "decryption": {"key_files": [service.write("enc.jwk", json.dumps(encrypts))]},
        "signer": {
            "name": "shop",
            "key_file": service.write("sig.jwk", json.dumps(signs)),
            "algorithm": "ES256",
        },
    }


def keeps_by_what_signs(service: Service) -> None:
    two_purposes(service)
    del service.said["messages"]["decryption"]
    service.said["letters"] = {"keep_token": service.folder / "enc.jwk"}


def plain_tokens(service: Service) -> None:
    file = service.write("enc.jwk", json.dumps(private_jwk("p256", "enc")))
    service.said["messages"]["decryption"] = {"key_files": [file], "required": False}


def proven(demand: str = "required", *, remembers: bool = False) -> Change:
    def change(service: Service) -> None:
        file = service.write("publisher.jwk", json.dumps(another(alg="ES256")))
        publishers = [{"name": "edge", "key_file": file}]
        proofs = {"publishers": publishers, "demand": demand, "max_age": DAY}
        service.said["messages"]["proofs"] = proofs
        if remembers:
            service.said["messages"]["replay"] = {"keep_for": 2 * DAY}

    return change


def sharing_a_group(service: Service) -> None:
    proven(remembers=True)(service)
    service.consumes.append(service.broker.name("orders2"))
    formerly = {"formerly": ["old"]}
    service.said["consumers"] = dict.fromkeys(service.consumes, formerly)


def in_process(service: Service) -> None:
    proven(remembers=True)(service)
    service.question["workers"] = 2


def retired_file(service: Service) -> None:
    proven()(service)
    key = service.write("retired.key", SEAL[::-1])
    kept = {"keep_for": 60, "sources": ["edge"], "file": service.folder / "retired"}
    service.said["retired"] = {**kept, "file_key_file": key}
    service.question["workers"] = 2


def feed(**options: Any) -> Change:
    def change(service: Service) -> None:
        trusted = Transmitter("idp", StaticKeys(service.server.issuer.jwks()))
        service.revocations = RevocationFeed(
            service.broker.url,
            Transmitters([trusted], audience="feed"),
            options=FeedOptions(**options),
        )

    return change


def late_beyond_the_feed(service: Service) -> None:
    late(**GRACE)(service)
    feed(lateness=60)(service)


def misspelt(service: Service) -> None:
    service.said["consumers"] = {f"{service.queue}s": {"concurrency": 5}}


def url(change: Callable[[URL], URL]) -> Change:
    def changed(service: Service) -> None:
        service.said["bus"]["url"] = str(change(URL(service.said["bus"]["url"])))

    return changed


def far_away(skipped: str) -> Change:
    """Reach the broker by a name that need not be this machine's."""

    def change(service: Service) -> None:
        url(lambda it: it.with_host("127.1").with_user("guest").with_password("guest"))(service)
        service.question["skipped"] = skipped

    return change


# --- changes at the broker ----------------------------------------------------------------------


def declared(suffix: str = "", **arguments: Any) -> Change:
    """Have a queue there already, declared otherwise; an argument of None is left out."""

    async def change(service: Service) -> None:
        name = f"{service.queue}{suffix}"
        given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        own = dict(service.around()[0][name])
        said = {key: value for key, value in {**own, **given}.items() if value is not None}
        await service.broker.channel.declare_queue(name, durable=True, arguments=said)

    return change


async def classic(service: Service) -> None:
    await service.broker.channel.declare_queue(service.queue, durable=True)


async def exclusive(service: Service) -> None:
    await service.broker.channel.declare_queue(service.queue, exclusive=True)


def by_operator(*suffixes: str, bindings: bool = False) -> Change:
    """Leave declaring to an operator, who has forgotten some."""

    async def change(service: Service) -> None:
        await service.declare()
        for suffix in suffixes:
            await service.broker.channel.queue_delete(f"{service.queue}{suffix}")
        service.said["bus"]["declare"] = False
        if bindings:
            service.consumer["bindings"] = [Binding(f"{service.queue}.shop")]

    return change


async def of_another_type(service: Service) -> None:
    name = f"{service.queue}.shop"
    await service.broker.channel.declare_exchange(name, "fanout", durable=True)
    service.consumer["bindings"] = [Binding(name)]


async def full(service: Service) -> None:
    service.said["bus"]["rejected_limit"] = 1
    await service.declare()
    await service.broker.publish(f"{service.queue}.rejected")
    await service.broker.settles_at(f"{service.queue}.rejected", 1)


async def lettered(service: Service) -> None:
    await service.declare()
    await service.broker.publish(f"{service.queue}.dead")
    await service.broker.settles_at(f"{service.queue}.dead", 1)


def waiting(exp: float, *others: Change, **feeding: float) -> Change:
    """Have a message wait whose token ends so many seconds from now."""

    async def change(service: Service) -> None:
        for other in others:
            other(service)
        await service.declare()
        now = int(time.time())
        token = service.server.issuer.token("alice", iat=now - 60, exp=now + exp)
        await service.broker.publish(service.queue, token=token)
        await service.broker.settles_at(service.queue, 1)
        service.question["looks"] = True
        if feeding:
            feed(**feeding)(service)

    return change


# --- the broker's management, as 3.10.8 and 4.3.6 have answered -----------------------------------

WHO = {"name": "shop", "tags": []}
FLAG = {"name": "khepri_db", "state": "enabled", "stability": "stable", "provided_by": "rabbit"}
POLICY = {
    "policy": "short",
    "operator_policy": None,
    "effective_policy_definition": {"delivery-limit": 3, "max-length": 5, "message-ttl": 60000},
}


def managed(path: str = "whoami", answer: Any = None, **said: Any) -> Change:
    """Have a management answer, by the issuer's server; of `path`, what differs."""

    def change(service: Service) -> None:
        service.question["management"] = f"http://127.0.0.1:{service.server.port}/m"
        answers: dict[str, Any] = {"whoami": WHO, "feature-flags": [FLAG]}
        answers[path.format(queue=service.queue)] = answer or answers.get(path)
        for name, value in answers.items():
            body = json.dumps(value).encode()
            service.server.replies[f"/m/api/{name}"] = Response(said.get("status", 200), {}, body)

    return change


async def unbound(service: Service) -> None:
    await by_operator()(service)  # type: ignore[misc]
    exchange = f"{service.queue}.shop"
    await service.broker.channel.declare_exchange(exchange, "topic", durable=True)
    service.consumer["bindings"] = [Binding(exchange)]
    own = {"source": "", "destination": service.queue, "routing_key": service.queue}
    managed("queues/%2F/{queue}/bindings", [own])(service)


SECRET = {"kty": "oct", "k": "AQAB", "kid": "s", "use": "sig"}

# --- the table ----------------------------------------------------------------------------------

PLANTED: list[tuple[str, Change]] = [
    ("settings-refused", by_file(says(gaurd={}))),
    ("settings-refused", by_file(says(audience=""))),
    ("policy-impossible", by_file(says(on_expired={"policy": "park"}))),
    ("policy-impossible", by_file(says(on_expired={**GRACE, "minutes": 10_000}))),
    (
        "policy-impossible",
        by_file(
            says(on_expired={"policy": "valid-when-published", "hours": 1, "sources": ["edge"]})
        ),
    ),
    ("variable-unknown", asks(environment={"BUSAUTH_GUARD_CONCURRENCY": "5"})),
    ("consumer-unknown", misspelt),
    (
        "library-old",
        asks(installed={"PyJWT": "2.11.0"}.get, requires=("PyJWT>=2.12",)),
    ),
    ("key-file-readable", mode("seal", 0o644)),
    ("key-file-writable", mode("seal", 0o660)),
    ("secret-weak", sealed_with(seal="correct horse battery staple and then some")),
    ("secrets-equal", sealed_with(old=SEAL, new=SEAL)),
    ("key-two-purposes", two_purposes),
    ("key-two-purposes", keeps_by_what_signs),
    ("issuer-unreachable", is_down),
    ("issuer-unreachable", says(issuer="http://127.0.0.1:1")),
    ("issuer-mismatch", metadata(issuer="https://other.example")),
    ("metadata-unusable", metadata(jwks_uri=None)),
    ("metadata-unusable", says_nothing),
    ("unsafe-http", known_as("127.1", unsafe_http=["127.1"])),
    ("development-issuer", known_as(path="/busauth-dev")),
    ("clock-skew", off_by(-120)),
    ("clock-drift", off_by(15)),
    ("leeway-wide", says(leeway=200)),
    ("audience-is-issuer", lambda service: service.said.update(audience=service.said["issuer"])),
    ("tenants-any", of_any_tenant),
    ("keys-unusable", says(algorithms=["EdDSA"])),
    ("key-private-published", keys(lambda jwks: [{**jwks[0], "d": "AQAB"}])),
    ("key-private-published", keys(lambda jwks: [*jwks, SECRET])),
    ("key-weak", keys(lambda jwks: [*jwks, short()])),
    ("key-id-missing", keys(lambda jwks: [*jwks, another(None)])),
    ("key-id-double", keys(lambda jwks: [*jwks, another(jwks[0]["kid"])])),
    ("key-use-open", keys(lambda jwks: [{k: v for k, v in jwks[0].items() if k != "use"}])),
    ("keys-many", keys(lambda jwks: [*jwks, *(another(f"k{each}") for each in range(10))])),
    ("key-old", keys(lambda jwks: [{**jwks[0], "iat": time.time() - 1000 * DAY}])),
    ("algorithm-unserved", says(algorithms=["RS256", "ES256"])),
    ("jwks-cached-long", is_cached),
    ("consumers-none", lambda service: service.consumes.clear()),
    ("demands-nothing", demands(scopes=())),
    ("demands-nothing", demands(scopes=(), actors=NO_ACTOR)),
    ("prefetch-below-concurrency", says(bus={"prefetch": 10})),
    ("drain-long", says(bus={"drain": 45})),
    ("deadline-beyond-timeout", demands(deadline=3600.0)),
    ("deadline-none", demands(deadline=None)),
    ("late-unrevocable", late(**GRACE)),
    ("feed-forgets-early", late_beyond_the_feed),
    ("maximum-age-long", says(guard={"hard_max_age": 30 * DAY})),
    ("letters-keep-no-token", says(on_expired={"policy": "dead-letter"})),
    ("replies-to-anybody", says(guard={"reply_to": ["*"]})),
    ("delivery-limit-low", says(bus={"delivery_limit": 2})),
    ("plain-tokens-taken", plain_tokens),
    ("proofs-optional", proven("if-present")),
    ("replay-group-shared", sharing_a_group),
    ("replay-in-process", in_process),
    ("retired-file-shared", retired_file),
    ("broker-unreachable", url(lambda it: it.with_port(1))),
    ("broker-refused", url(lambda it: it.with_password("wrong"))),
    ("broker-refused", url(lambda it: it.with_path("/nowhere"))),
    ("broker-plain", far_away("broker-guest")),
    ("broker-guest", far_away("broker-plain")),
    ("broker-unverified", url(lambda it: it.with_query(no_verify_ssl="1"))),
    ("heartbeat-off", url(lambda it: it.with_query(heartbeat="0"))),
    ("stamps-unwritten", says(guard={"broker_stamps": True})),
    ("queue-missing", by_operator("")),
    ("letter-queue-missing", by_operator(".rejected", ".retry.100")),
    ("exchange-missing", by_operator(bindings=True)),
    ("exchange-differs", of_another_type),
    ("queue-exclusive", exclusive),
    ("queue-not-quorum", classic),
    ("delivery-limit-differs", declared(delivery_limit=5)),
    ("dead-letter-path", declared(dead_letter_routing_key="elsewhere")),
    ("rejected-bounds", declared(".rejected", max_length=None)),
    ("queue-arguments", declared(".retry.100", message_ttl=7)),
    ("rejected-full", full),
    ("letters-waiting", lettered),
    ("waiting-expired", waiting(-30)),
    ("token-life-beyond-feed", waiting(7200, token_life=3600)),
    ("management-unreachable", managed(status=401)),
    ("broker-policy-overrides", managed("queues/%2F/{queue}.dead", POLICY)),
    ("binding-missing", unbound),
    ("user-administrator", managed("whoami", {**WHO, "tags": ["administrator"]})),
    ("feature-flags-off", managed("feature-flags", [{**FLAG, "state": "disabled"}])),
    ("look-unfinished", is_slow),
]


@pytest.mark.reference
@pytest.mark.parametrize(
    ("code", "change"), PLANTED, ids=[f"{code}-{at}" for at, (code, _) in enumerate(PLANTED)]
)
async def test_a_planted_mistake(service: Service, code: str, change: Change) -> None:
    """One change to a good service is found, by its own code and no other."""
    changing = change(service)
    if inspect.isawaitable(changing):
        await changing
    skipped = {service.question.pop("skipped", "")}
    report = await service.report()
    found = set(codes(report)) - skipped
    assert found - {"broker-end-of-life"} == {code}, report
    assert found <= {code, *of_its_age(service.broker)}


async def test_a_good_service(service: Service) -> None:
    """Nothing is found of a service as it should be, whether it was started before or not."""
    expected = of_its_age(service.broker)
    assert codes(await service.report()) == expected
    await service.declare()
    await service.broker.publish(service.queue, token=service.server.issuer.token("alice"))
    service.question["looks"] = True
    managed()(service)
    report = await service.report()
    assert codes(report) == expected, report
    assert report.unseen == ()


async def test_who_wants_an_agent_demands_something(service: Service) -> None:
    """A consumer that names who acts, and no scope, takes not any token of the issuer's."""
    service.consumer.update(scopes=(), actors={"agent-x"})
    assert "demands-nothing" not in codes(await service.report())


async def test_what_holds_no_key_may_be_read(service: Service) -> None:
    """A shipper of logs reads the audit, and removed keys are public; pseudonyms' keys are not."""
    retired_file(service)
    service.question.pop("workers")
    for name in ("events", "retired", "subjects"):
        service.write(name, "[]", 0o664)
    service.said["audit"] = {"file": service.folder / "events"}
    assert set(codes(await service.report())) <= {"broker-end-of-life"}
    service.said["audit"]["pseudonyms"] = service.folder / "subjects"
    found = {(each.kind.code, each.where) for each in (await service.report()).findings}
    assert ("key-file-readable", "audit.pseudonyms") in found


async def test_a_body_that_the_broker_refuses(service: Service) -> None:
    """Who takes larger bodies than its RabbitMQ does by default is told; it may be said there."""
    service.said["guard"] = {"max_body_bytes": 200 * 1024 * 1024}
    found = set(codes(await service.report())) - {"broker-end-of-life"}
    assert found == ({"body-limit-above-broker"} if is_rabbitmq(service.broker) else set())


async def test_a_look_reorders_nothing(service: Service) -> None:
    """The oldest message is where it was after a look, and so are all behind it."""
    await service.declare()
    for number in range(3):
        await service.broker.publish(service.queue, b"%d" % number, token="no token")
    service.question["looks"] = True
    await service.report()
    taken = await service.broker.take(service.queue)
    assert [message.body for message in taken] == [b"0", b"1", b"2"]


async def is_there(service: Service, look: Callable[[Any], Awaitable[object]]) -> bool:
    channel = await service.broker.connection.channel()
    try:
        await look(channel)
    except ChannelNotFoundEntity:
        return False
    await channel.close()
    return True


async def test_a_look_declares_nothing(service: Service) -> None:
    """Neither a queue nor an exchange is there afterwards that was not there before."""
    service.consumer["bindings"] = [Binding(f"{service.queue}.shop")]
    assert set(codes(await service.report())) <= {"broker-end-of-life"}
    for name in service.around()[0]:
        assert not await is_there(service, methodcaller("get_queue", name))
    assert not await is_there(service, lambda it: it.get_exchange(f"{service.queue}.shop"))


# --- the command --------------------------------------------------------------------------------

MODULE = """
from busauth import Caller
from busauth.settings import load_settings

print("imported")
bus = load_settings().make_bus("shop")

@bus.consumer({queue!r}, scopes={{"orders:write"}}, deadline=60)
async def handle(caller: Caller) -> None: ...
"""


async def run(service: Service, *words: str) -> tuple[int, str, str]:
    """Run the command, and return its exit code and what it wrote."""
    (service.folder / "shop.py").write_text(MODULE.format(queue=service.queue))
    command = (sys.executable, "-m", "busauth", "doctor", *words, f"--settings={service.file()}")
    told = {name: value for name, value in os.environ.items() if not name.startswith("BUSAUTH_")}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=service.folder, env=told, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.processes
async def test_the_command(service: Service) -> None:
    """It ends with 3 for what is as bad as is asked for; its JSON is all that it writes there."""
    service.said["bus"]["drain"] = 45
    skipped = ("--skip", "broker-end-of-life")
    code, out, err = await run(service, "shop:bus", "--json", "--fail-on", "warning", *skipped)
    assert code == 3, err
    (found,) = json.loads(out)["findings"]
    assert found["code"] == "drain-long"
    assert found.keys() == {"code", "severity", "why", "todo", "link", "where", "found"}
    code, out, _ = await run(service, "shop:bus", *skipped)
    assert code == 0
    assert "WARNING drain-long  bus" in out
    assert "1 warning" in out


@pytest.mark.processes
async def test_no_secret_is_printed(service: Service) -> None:
    """Whatever is wrong, neither a password nor a key is in what it writes."""
    sealed_with(seal="correct horse battery staple and then some")(service)
    service.said["bus"]["url"] = str(URL(service.said["bus"]["url"]).with_password("p4ssw0rd"))
    managed(status=401)(service)
    management = f"{service.question['management']}?token=s3cret".replace("//", "//me:myself@")
    _, out, err = await run(service, "shop:bus", "--management", management)
    assert {"broker-refused", "secret-weak"} <= {word for word in out.split() if "-" in word}
    for secret in ("p4ssw0rd", "horse", "s3cret", "myself"):
        assert secret not in out + err


@pytest.mark.processes
async def test_settings_that_are_refused(service: Service) -> None:
    """A module whose settings are refused is one finding, and the rest is looked at."""
    service.said["on_expired"] = {"policy": "park"}
    service.write("seal", SEAL, 0o644)
    url(lambda it: it.with_password("wrong"))(service)
    code, out, err = await run(service, "shop:bus", "--json")
    assert code == 3, err
    found = sorted(each["code"] for each in json.loads(out)["findings"])
    assert found == ["broker-refused", "key-file-readable", "policy-impossible"]
