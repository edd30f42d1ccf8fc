"""Settings from a file and from the environment, as the objects that code would make."""

import asyncio
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from busauth import Bus, ConsumerOptions, DeadLetter, Discard, Grace, GuardOptions, Restrict
from busauth._amqp.consuming.consumer import Consumer
from busauth.caller import Caller
from busauth.errors import BusauthError, ConfigurationError, Deferred, Refused
from busauth.expiry import Accept, LateToken, Verdict
from busauth.settings import IssuerSettings, Settings, load_settings
from busauth.settings.issuers import ProfileName
from busauth.testing import Issuer, IssuerServer, ManualClock
from tests.unit.support import NOW, forget_settings
from tests.unit.support import caller as a_caller

BASE = 'issuer = "https://idp.example"\naudience = "shop"\n'


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "busauth.toml"


def wrong(path: Path | None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    return str(caught.value)


def test_a_file_says_everything(file: Path) -> None:
    """Every setting has its place in the file."""
    file.write_text("""
        issuer = "https://idp.example"
        audience = ["shop", "orders"]
        algorithms = ["ES256", "Ed25519"]
        profile = "keycloak"
        keycloak_client = "orders"
        leeway = 5
        jwks_url = "http://idp/keys"
        unsafe_http = ["idp"]
        on_expired = [{ policy = "grace", minutes = 10 }, { policy = "discard" }]

        [guard]
        concurrency = 20

        [consumers."orders.placed"]
        on_expired = { policy = "dead-letter" }
        concurrency = 5

        [[issuers]]
        issuer = "https://other.example"
        audience = "shop"
        profile = "at+jwt"
    """)
    settings = load_settings(file)
    assert settings.on_expired == (Grace(minutes=10), Discard())
    assert settings.audience == ("shop", "orders")
    assert settings.guard == GuardOptions(concurrency=20)
    assert settings.consumers == {
        "orders.placed": ConsumerOptions(on_expired=DeadLetter(), concurrency=5)
    }
    assert settings.issuers == (
        IssuerSettings(issuer="https://other.example", audience="shop", profile="at+jwt"),
    )
    guard = settings.make_guard()
    assert guard.options.concurrency == 20
    assert guard.options.consumers == settings.consumers


def test_the_path_may_be_text(file: Path) -> None:
    """A file is named by a path or by text."""
    file.write_text(BASE)
    assert load_settings(str(file)) == load_settings(file)


def test_the_environment_says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same settings come from variables, nested ones with two underscores."""
    monkeypatch.setenv("BUSAUTH_ISSUER", "https://idp.example")
    monkeypatch.setenv("busauth_audience", '["shop", "orders"]')
    monkeypatch.setenv("BUSAUTH_LEEWAY", "7.5")
    monkeypatch.setenv("BUSAUTH_GUARD__CONCURRENCY", "20")
    monkeypatch.setenv("BUSAUTH_GUARD", '{"max_hops": 3}')
    monkeypatch.setenv("BUSAUTH_ON_EXPIRED", '{"policy": "grace", "minutes": 10}')
    monkeypatch.setenv("BUSAUTH_CONSUMERS", '{"orders.placed": {"concurrency": 5}}')
    settings = load_settings()
    assert settings.issuer == "https://idp.example"
    assert settings.audience == ("shop", "orders")
    assert settings.leeway == 7.5
    assert settings.guard == GuardOptions(concurrency=20, max_hops=3)
    assert settings.on_expired == Grace(minutes=10)
    assert settings.consumers == {"orders.placed": ConsumerOptions(concurrency=5)}


@pytest.mark.parametrize(
    "audience", ["shop", "1234567890", "69234237810729019", "https://api.example", "007"]
)
def test_an_audience_is_text_whatever_it_looks_like(
    audience: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some providers' audiences are made of digits."""
    monkeypatch.setenv("BUSAUTH_AUDIENCE", audience)
    assert load_settings().audience == audience


def test_a_comma_in_a_list_is_part_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does have an audience with one writes a list; in text alone it is taken for a mistake."""
    monkeypatch.setenv("BUSAUTH_AUDIENCE", '["a,b"]')
    assert load_settings().audience == ("a,b",)


def test_the_environment_counts_above_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a variable says replaces what the file says; the rest of the file stays."""
    file.write_text(f"{BASE}leeway = 5\n[guard]\nconcurrency = 20\nmax_hops = 3")
    monkeypatch.setenv("BUSAUTH_AUDIENCE", "orders")
    monkeypatch.setenv("BUSAUTH_GUARD__CONCURRENCY", "7")
    settings = load_settings(file)
    assert (settings.audience, settings.leeway) == ("orders", 5)
    assert settings.guard == GuardOptions(concurrency=7, max_hops=3)


@pytest.mark.parametrize(
    ("said", "policy"),
    [
        ({"policy": "grace", "seconds": 30}, Grace(seconds=30)),
        ({"policy": "discard"}, Discard()),
        ({"policy": "restrict", "scopes": ["a"]}, Restrict(["a"])),
        ([{"policy": "grace", "seconds": 30}], (Grace(seconds=30),)),
    ],
)
@pytest.mark.parametrize(
    "in_file", ["{ policy = 'grace', minutes = 10 }", "[{ policy = 'grace', minutes = 10 }]"]
)
def test_a_policy_in_the_environment_replaces_the_files_whole(
    said: Any, policy: Any, in_file: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one policy and half of another is a third one that nobody wrote."""
    file.write_text(
        f"{BASE}on_expired = {in_file}\n[consumers.q]\nconcurrency = 4\non_expired = {in_file}"
    )
    monkeypatch.setenv("BUSAUTH_ON_EXPIRED", json.dumps(said))
    monkeypatch.setenv("BUSAUTH_CONSUMERS", json.dumps({"q": {"on_expired": said}}))
    settings = load_settings(file)
    assert settings.on_expired == policy
    assert settings.consumers["q"] == ConsumerOptions(on_expired=policy, concurrency=4)


def test_without_a_word_nothing_late_is_accepted(file: Path) -> None:
    """The default policy is the dead letters."""
    file.write_text(BASE)
    assert load_settings(file).on_expired == DeadLetter()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param(
            f"{BASE}leeway = 500", ["leeway = 500", "less than or equal to 300"], id="range"
        ),
        pytest.param(f"{BASE}leeway = nan", ["leeway = NaN"], id="nan"),
        pytest.param(f"{BASE}leeway = 'x'", ['leeway = "x"', "valid number"], id="type"),
        pytest.param(
            f"{BASE}nope = 1",
            ["nope = 1", "no such key; expected one of algorithms, audience"],
            id="unknown",
        ),
        pytest.param(
            f"{BASE}[guard]\nnope = 1",
            ["guard.nope = 1", "expected one of broker_stamps"],
            id="nested",
        ),
        pytest.param(
            f"{BASE}[guard]\nconcurency = 5", ["did you mean concurrency?"], id="misspelt"
        ),
        pytest.param(
            f"{BASE}[consumers.orders]\nformely = ['a']", ["did you mean formerly?"], id="below"
        ),
        pytest.param(
            f"{BASE}[messages.proofs]\nmaxage = 5\nmax_age = 5\npublishers = []",
            ["messages.proofs.maxage = 5", "did you mean max_age?"],
            id="table",
        ),
        pytest.param("issuer = ' https://a'\naudience = 'b'", ["blanks around"], id="blanks"),
        pytest.param(
            f"{BASE}[[issuers]]\nissuer = 'https://b'\naudience = 'a, b'",
            ["issuers.0.audience", "has a comma", '["a", "b"]'],
            id="comma",
        ),
        pytest.param(
            f"{BASE}profile = 'ping'", ['profile = "ping"', "'keycloak'"], id="unknown-profile"
        ),
        pytest.param(
            f"{BASE}[claims]\nroles = '/a//b'", ['claims.roles = "/a//b"', "is empty"], id="place"
        ),
        pytest.param(
            f"{BASE}[claims]\nclient = ['/a~2']", ['claims.client = ["/a~2"]', "~1"], id="escape"
        ),
        pytest.param(f"{BASE}[claims]\nrole = 'a'", ["did you mean roles?"], id="claim"),
        pytest.param(
            f"{BASE}tenants = ['contoso.example']",
            ['tenants = ["contoso.example"]', "in lower case"],
            id="tenants",
        ),
        pytest.param(
            f"{BASE}algorithms = ['RS257']", ['algorithms = ["RS257"]', "'RS256'"], id="algorithm"
        ),
        pytest.param(f"{BASE}algorithms = ['none']", ["algorithms = ", "expected some"], id="none"),
        pytest.param(
            f"{BASE}algorithms = ['RS256', 'HS256']", ["algorithms = ", "mixes"], id="mixed"
        ),
        pytest.param("audience = true", ["audience = true", "valid string"], id="audience"),
        pytest.param(
            f"{BASE}[[issuers]]\nissuer = 'https://b'",
            ["issuers.0.audience", "required"],
            id="list",
        ),
        pytest.param(
            f"{BASE}on_expired = 'grace'",
            ['on_expired = "grace"', 'such as { policy = "grace", minutes = 10 }; in'],
            id="policy-text",
        ),
        pytest.param(
            f"{BASE}on_expired = ['park']",
            ['on_expired.0 = "park"', 'such as { policy = "park" }; in a v'],
            id="policy-text-in-a-list",
        ),
        pytest.param(
            f"{BASE}[consumers.'orders.placed']\non_expired = {{ policy = 'dead-lettr' }}",
            ['consumers."orders.placed".on_expired = ', '"dead-lettr"', "mean 'dead-letter'?"],
            id="policy-of-a-consumer",
        ),
        pytest.param(
            f"{BASE}[consumers.orders]\non_expired = {{ policy = 'grace', minuts = 1 }}",
            ["consumers.orders.on_expired.minuts = 1", "did you mean minutes?"],
            id="policy-of-a-consumer-misspelt",
        ),
        pytest.param(f"{BASE}guard = 'x'", ['guard = "x": expected a table'], id="table-text"),
        pytest.param(
            f"{BASE}[guard]\nreply_to = 'replies.*'",
            ['guard.reply_to = "replies.*": expected a list, such as ["replies.*"]'],
            id="list",
        ),
        pytest.param(
            f"{BASE}algorithms = 'ES256'", ['expected a list, such as ["ES256"]'], id="algorithms"
        ),
        pytest.param(
            f"{BASE}[guard]\ntransient = ['OSError']",
            ["guard.transient.0", "said in code alone: make_guard(transient="],
            id="kinds-of-errors",
        ),
        pytest.param(
            f"{BASE}[guard]\ndrain = 5",
            ["guard.drain = 5", "there is no such key; it stands in [bus]"],
            id="drain",
        ),
        pytest.param(f"{BASE}prefetch = 5", ["no such key; it stands in [bus]"], id="prefetch"),
        pytest.param(f"{BASE}[bus]\nlimit = 5", ["bus.limit", "stands in [bus.retry]"], id="limit"),
        pytest.param(
            f"{BASE}[bus]\nconcurrency = 5", ["bus.concurrency", "stands in [guard]"], id="handlers"
        ),
        pytest.param(f"{BASE}[feed]\nstream = 'x'", ["code alone: FeedOptions"], id="feed"),
        pytest.param(
            f"{BASE}[guard]\npause_first = true",
            ["guard.pause_first = true: Input should be a number, not true: expected seconds"],
            id="true-is-no-number",
        ),
        pytest.param(
            f"{BASE}on_expired = {{ policy = 'grace', minutes = true }}",
            ["Grace of minutes=True: expected numbers"],
            id="true-is-no-span",
        ),
        pytest.param(
            f"{BASE}on_expired = {{ policy = 'grace', window = true }}",
            ["Grace of window=True: expected numbers"],
            id="true-is-no-window",
        ),
        pytest.param(
            f"{BASE}[guard]\npause_first = 20\npause_longest = 10",
            ["guard = ", "pause_first=20 is longer than pause_longest=10: expected"],
            id="contradiction",
        ),
        pytest.param(
            f"{BASE}on_expired = {{ policy = 'grase' }}", ["on_expired = ", "'grace'"], id="tag"
        ),
        pytest.param(
            f"{BASE}on_expired = {{ policy = 'grace', minutes = 'ten' }}",
            ["on_expired = ", "ten", "expected numbers"],
            id="grace-text",
        ),
        pytest.param(
            f"{BASE}on_expired = {{ policy = 'grace', minutes = 1, hour = 3 }}",
            ["on_expired.hour = 3", "no such key"],
            id="grace-unknown",
        ),
        pytest.param(
            f"{BASE}on_expired = {{ policy = 'dead-letter', minutes = 1 }}",
            ["on_expired.minutes = 1", "no such key"],
            id="dead-letter-unknown",
        ),
        pytest.param(
            f"{BASE}on_expired = [{{ policy = 'restrict', scopes = 5 }}]",
            ["on_expired.0.scopes = 5", "expected a list"],
            id="restrict-type",
        ),
        pytest.param(
            f"{BASE}[consumers.'orders.placed']\nconcurrency = 0",
            ['consumers."orders.placed".concurrency = 0', "greater than or equal to 1"],
            id="consumer",
        ),
        pytest.param(
            f"{BASE}profile = 'Okta'",
            ["profile = \"Okta\": there is no such value; did you mean 'okta'?"],
            id="profile-misspelt",
        ),
        pytest.param(
            f"{BASE}profile = 3",
            ["profile = 3: there is no such value; expected one of 'lenient', 'at+jwt'"],
            id="profile-number",
        ),
        pytest.param(
            f"{BASE}on_expired = {{ policy = 'grase', minutes = 1 }}",
            ["there is no such policy; did you mean 'grace'?"],
            id="policy-misspelt",
        ),
        pytest.param(
            f"{BASE}on_expired = [{{ policy = 7 }}]",
            ["there is no such policy; expected one of 'grace', 'valid-when-published'"],
            id="policy-number",
        ),
        pytest.param(
            f"{BASE}on_expired = {{ minutes = 1 }}",
            ['it names no policy: expected one, such as { policy = "grace", minutes = 10 }'],
            id="policy-unsaid",
        ),
        pytest.param(
            f"{BASE}[consumers.discard]\nconcurrency = 0",
            ["consumers.discard.concurrency = 0"],
            id="consumer-named-like-a-policy",
        ),
    ],
)
def test_an_error_names_file_key_value_and_what_was_expected(
    text: str, parts: list[str], file: Path
) -> None:
    """Each wrong line of a file is told in one line."""
    file.write_text(text)
    told = wrong(file)
    assert told.startswith(f"{file}: ")
    for part in parts:
        assert part in told
    assert len(told.splitlines()) == 1


def test_every_problem_is_told_at_once(file: Path) -> None:
    """Three mistakes are three lines."""
    file.write_text(f"{BASE}nope = 1\nleeway = -1\n[guard]\nconcurrency = 'x'")
    assert len(wrong(file).splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("BUSAUTH_LEEWAY", "500", ['leeway = "500"', "less than or equal to 300"]),
        ("BUSAUTH_GUARD__CONCURRENCY", "many", ['guard.concurrency = "many"', "valid integer"]),
        ("BUSAUTH_GUARD__NOPE", "1", ["guard.nope", "no such key"]),
        ("BUSAUTH_GUARD", '{"nope": 1}', ["guard.nope = 1", "no such key"]),
        ("BUSAUTH_ON_EXPIRED", "park", ['on_expired = "park"', '{"policy": "park"}']),
        ("BUSAUTH_ON_EXPIRED", '{"policy": "grace"', ["on_expired = ", "expected a table"]),
        ("BUSAUTH_CONSUMERS", '{"q": {"concurrency": 0}}', ["consumers.q.concurrency = 0"]),
        ("BUSAUTH_ALGORITHMS", "RS257", ['algorithms = ["RS257"]', "'RS256'"]),
        ("BUSAUTH_ALGORITHMS", "'RS256', ES256", ['RS256,ES256 or ["RS256", "ES256"]', "quotes"]),
        ("BUSAUTH_ALGORITHMS", "RS256,", ['such as RS256 or ["RS256"]', "empty name"]),
        ("BUSAUTH_AUDIENCE", '["shop"', ["audience = ", 'such as shop or ["shop"]', "delim"]),
        ("BUSAUTH_AUDIENCE", " shop", ['audience = " shop"', "blanks around it"]),
        ("BUSAUTH_ISSUER", '"https://idp.example"', ["issuer = ", "quotes around it"]),
        ("BUSAUTH_ISSUER", "https://idp.example\n", ["issuer = ", "blanks around it"]),
        ("BUSAUTH_JWKS_URL", "'https://idp/keys'", ["jwks_url = ", "quotes around it"]),
        ("BUSAUTH_GUARD__CONCURENCY", "5", ["did you mean concurrency?"]),
        ("BUSAUTH_CONSUMERS", "{nope", ['"{nope"', "expected JSON"]),
        ("BUSAUTH_GUARD", "{", ['"{"', "expected JSON"]),
        ("Busauth_Issuers", "[", ['"["', "expected JSON"]),
    ],
)
def test_an_error_names_variable_key_value_and_what_was_expected(
    name: str, value: str, parts: list[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong variable is named as it was written, though a file was read as well."""
    file.write_text(f"{BASE}[guard]\nmax_hops = 3")
    monkeypatch.setenv(name, value)
    told = wrong(file)
    assert told.startswith(f"environment variable {name}")
    for part in parts:
        assert part in told
    assert len(told.splitlines()) == 1


def test_a_variable_lists_names_with_commas(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a setting takes several names, in whichever table, a variable has commas between."""
    file.write_text(BASE)
    monkeypatch.setenv("BUSAUTH_AUDIENCE", "shop, orders")
    monkeypatch.setenv("BUSAUTH_ALGORITHMS", "ES256")
    monkeypatch.setenv("BUSAUTH_GUARD__REPLY_TO", "replies.*,answers")
    monkeypatch.setenv("BUSAUTH_CONSUMERS__ORDERS__FORMERLY", "a,b")
    monkeypatch.setenv("BUSAUTH_MESSAGES__DECRYPTION__KEY_FILES", "/a.jwk,/b.jwk")
    settings = load_settings(file)
    assert settings.audience == ("shop", "orders")
    assert settings.algorithms == ("ES256",)
    assert settings.guard.reply_to == ("replies.*", "answers")
    assert settings.consumers["orders"].formerly == ("a", "b")
    assert settings.messages.decryption is not None
    assert settings.messages.decryption.key_files == (Path("/a.jwk"), Path("/b.jwk"))


def test_broken_variables_hide_no_other_problem(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told, with what is wrong beside it, and what it may have held is not missed."""
    file.write_text(f"{BASE}leeway = 500\n[guard]\nmax_hops = 0")
    monkeypatch.setenv("BUSAUTH_GUARD", "{")
    monkeypatch.setenv("BUSAUTH_GUARD__CONCURRENCY", "many")
    monkeypatch.setenv("BUSAUTH_ALGORITHMS", "RS256,,ES256")
    monkeypatch.setenv("BUSAUTH_RETIRED", '{"keep_for": 5')
    monkeypatch.setenv("BUSAUTH_MESSAGES", "hunter2 {")
    monkeypatch.setenv("BUSAUTH_MESSAGES__SIGNER__HEADERS", "[hunter2")
    told = wrong(file)
    assert "hunter2" not in told
    assert sorted(line.split(": ")[1].split(" = ")[0] for line in told.splitlines()) == [
        "algorithms",
        "guard",
        "guard.concurrency",
        "guard.max_hops",
        "leeway",
        "messages",
        "messages.signer.algorithm",
        "messages.signer.headers",
        "messages.signer.key_file",
        "messages.signer.name",
        "retired",
    ]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that is not there is an error, not a default."""
    assert "cannot be read: No such file" in wrong(tmp_path / "absent.toml")
    assert "cannot be read" in wrong(tmp_path)


@pytest.mark.parametrize("content", [b"issuer = ", b"issuer = \xff", b"[a]\n[a]\n", b"{}"])
def test_bad_toml_is_told(content: bytes, file: Path) -> None:
    """What is not TOML is told with the file's name."""
    file.write_bytes(content)
    assert wrong(file).startswith(f"{file}: is not TOML: ")


def test_a_value_in_an_error_is_bounded_and_without_tokens(file: Path) -> None:
    """Settings may hold anything by mistake."""
    file.write_text(f"{BASE}nope = '{'x' * 1000}'")
    assert len(wrong(file)) < 500 + len(str(file))  # the keys that there are, among them


@pytest.mark.parametrize("value", ["1979-05-27", "07:32:00"])
def test_a_value_that_json_does_not_know_is_shown(value: str, file: Path) -> None:
    """TOML has dates, and an error can show them."""
    file.write_text(f"{BASE}leeway = {value}")
    assert "leeway = datetime." in wrong(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "issuer = None: expected"),
        ("audience = 'shop'", "issuer = None: expected"),
        ("issuer = 'https://idp.example'", "audience = None: expected"),
        (f"{BASE}on_expired = []", "on_expired is empty"),
        (f"{BASE}on_expired = {{ policy = 'grace', hours = 25 }}", "hard_max_age"),
        (f"{BASE}algorithms = ['HS256']", "public keys"),
        (f"{BASE}jwks_url = 'http://idp/keys'", "expected https"),
        ("issuer = 'http://idp'\naudience = 'shop'", "expected https"),
        (f"{BASE}[[issuers]]\nissuer = 'https://idp.example'\naudience = 'x'", "two for one"),
    ],
)
def test_settings_that_do_not_go_together_make_no_guard(text: str, told: str, file: Path) -> None:
    """What is wrong about the whole is found when the guard is made."""
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        load_settings(file).make_guard()


def test_further_issuers_are_enough(file: Path) -> None:
    """A guard may serve listed issuers only."""
    file.write_text("[[issuers]]\nissuer = 'https://b.example'\naudience = 'shop'")
    assert load_settings(file).make_guard()


@pytest.mark.parametrize("profile", get_args(ProfileName))
def test_every_profile_can_be_named(profile: str, file: Path) -> None:
    """Each preset has a name in the file."""
    file.write_text(f"{BASE}profile = '{profile}'")
    assert load_settings(file).make_guard()


def loaded(file: Path, text: str) -> Settings:
    file.write_text(text)
    return load_settings(file)


async def test_the_guard_is_the_one_that_was_described(file: Path) -> None:
    """Issuer, audience, keys and clock arrive where they count."""
    clock = ManualClock(NOW)
    with IssuerServer(Issuer(algorithm="ES256", clock=clock)) as server:
        settings = loaded(file, f"issuer = '{server.issuer.url}'\naudience = 'shop'\nleeway = 0")
        guard = settings.make_guard(clock=clock)
        raw = server.issuer.token()
        assert (await guard.authenticate(f"Bearer {raw}")).subject == "alice"
    assert server.requests[0] == "/.well-known/openid-configuration"


async def caller_by(file: Path, text: str, **claims: Any) -> Caller:
    """Return whose token it is, by these settings; its keys are asked for over HTTP."""
    clock = ManualClock(NOW)
    with IssuerServer(Issuer(clock=clock)) as server:
        settings = loaded(file, text.replace("KEYS", f"{server.issuer.url}/jwks.json"))
        guard = settings.make_guard(clock=clock)
        raw = server.issuer.token(**claims)
        return await guard.authenticate(f"Bearer {raw}")


async def test_where_claims_are_is_said_in_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that nobody has heard of needs no code."""
    text = f"""{BASE}
        jwks_url = "KEYS"
        types = ["at+jwt", "none"]
        clients = ["shop-web"]

        [claims]
        client = "azp"
        scopes = ["scp", "permissions"]
        roles = "https://shop.example/roles"
        role_keys = ["urn:zitadel:iam:org:project:roles", "/app/roles"]
        required = ["org_id"]
        equals = {{ "/app/stage" = "live" }}
        absent = ["nonce"]
    """
    monkeypatch.setenv("BUSAUTH_CLAIMS__SCOPES", "scp,/app/scopes")
    claims: dict[str, Any] = {
        "iss": "https://idp.example",
        "client_id": "nobody",
        "azp": "shop-web",
        "scp": ["a"],
        "permissions": ["admin"],
        "https://shop.example/roles": ["clerk"],
        "urn:zitadel:iam:org:project:roles": {"approver": {"1": "shop"}},
        "app": {"stage": "live", "roles": {"auditor": True, "admin": False}, "scopes": "b c"},
        "org_id": "1",
    }
    caller = await caller_by(file, text, **claims)
    assert caller.client == "shop-web"
    assert caller.scopes == {"a", "b", "c"}
    assert caller.roles == {"clerk", "approver", "auditor"}
    for change, code in (
        ({"azp": "another"}, "token.client"),
        ({"nonce": "n"}, "token.type"),
        ({"app": {}}, "token.claim_invalid"),
    ):
        with pytest.raises(Refused) as caught:
            await caller_by(file, text, **claims | change)
        assert caught.value.code == code


async def test_many_tenants_are_said_in_the_file(file: Path) -> None:
    """A template, its tenants, and where all of them have their keys."""
    template = "https://login.microsoftonline.com/{tenantid}/v2.0"
    tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    text = f'issuer = "{template}"\naudience = "shop"\nprofile = "entra"'
    served = f'{text}\njwks_url = "KEYS"\ntenants = ["{tenant}"]'
    issuer = template.replace("{tenantid}", tenant)
    caller = await caller_by(file, served, iss=issuer, tid=tenant, scp="a")
    assert (caller.issuer, set(caller.scopes)) == (issuer, {"a"})
    stranger = "9188040d-6c67-4c5b-b112-36a304b66dad"
    with pytest.raises(Refused) as caught:
        await caller_by(file, served, iss=template.replace("{tenantid}", stranger), tid=stranger)
    assert caught.value.code == "token.issuer"
    for said, told in (("", "is a template"), ('tenants = "any"', "expected a jwks_url")):
        settings = loaded(file, f"{text}\n{said}")
        with pytest.raises(ConfigurationError, match=told):
            settings.make_guard()


async def test_keys_may_be_named_instead_of_discovered(file: Path) -> None:
    """With a `jwks_url` nothing is discovered."""
    with IssuerServer(Issuer(algorithm="ES256")) as server:
        url = server.issuer.url
        text = f"issuer = '{url}'\naudience = 'shop'\njwks_url = '{url}/jwks.json'"
        await loaded(file, text).make_guard().authenticate(f"Bearer {server.issuer.token()}")
    assert server.requests == ["/jwks.json"]


# Who counts above whom


async def late_by_a_minute(settings: Settings, queue: str, on_expired: Any) -> Verdict:
    @settings.make_guard()(queue=queue, on_expired=on_expired)
    async def handler(caller: Caller) -> None:
        """Do nothing."""

    late = LateToken(a_caller(expires_at=NOW), NOW + 60, 0)
    consumer = cast("Consumer[..., None]", handler)
    return (await consumer._pipeline._rules.callers.policies.decide(late))[0]


GRACE = Restrict(["by-the-decorator"])


@pytest.mark.parametrize(
    ("queue", "decorated", "scopes"),
    [
        ("told", GRACE, "by-the-operator"),
        ("told", None, "by-the-operator"),
        ("also-told", GRACE, "by-the-operator-in-guard"),
        ("untold", GRACE, "by-the-decorator"),
        ("untold", None, "by-the-guard"),
        ("half-told", GRACE, "by-the-decorator"),
    ],
)
async def test_operator_above_decorator_above_guard(
    queue: str, decorated: Any, scopes: str, file: Path
) -> None:
    """An operator's word about one consumer counts first, the guard's default last."""
    text = f"""
        {BASE}
        on_expired = {{ policy = "restrict", scopes = "by-the-guard" }}
        [consumers.half-told]
        concurrency = 3
        [consumers.told]
        on_expired = {{ policy = "restrict", scopes = "by-the-operator" }}
        [guard.consumers.also-told]
        on_expired = {{ policy = "restrict", scopes = "by-the-operator-in-guard" }}
        [guard.consumers.told]
        on_expired = {{ policy = "discard" }}
    """
    verdict = await late_by_a_minute(loaded(file, text), queue, decorated)
    assert isinstance(verdict, Accept)
    assert verdict.scopes == frozenset({scopes})


READS = """on_expired = { policy = "restrict", scopes = ["orders:read"], roles = ["clerk"] }"""


@pytest.mark.parametrize(
    ("said", "decorated"),
    [
        (READS, None),
        (f"[consumers.orders]\n{READS}", None),
        (f"[consumers.orders]\n{READS}", DeadLetter()),
        (f"[guard.consumers.orders]\n{READS}", DeadLetter()),
        ("", Restrict("orders:read", roles="clerk")),
        ("", [Grace(minutes=1), Restrict("orders:read", roles="clerk")]),
    ],
)
@pytest.mark.parametrize("demand", [{"scopes": "orders:write"}, {"roles": "boss"}])
def test_a_restriction_that_nobody_can_meet_is_found_where_the_consumer_is_made(
    said: str, decorated: Any, demand: dict[str, Any], file: Path
) -> None:
    """Whoever said it, a consumer that would refuse all that it accepts late is not made."""
    guard = loaded(file, f"{BASE}\n{said}").make_guard()

    async def handler(caller: Caller) -> None:
        """Do nothing."""

    bus = Bus("amqp://nowhere.invalid/", guard=guard, service="orders")
    guard(queue="others", scopes="orders:read", roles="clerk", on_expired=decorated)(handler)
    for decorator in (
        guard(queue="orders", on_expired=decorated, **demand),
        bus.consumer("orders", on_expired=decorated, **demand),
    ):
        with pytest.raises(ConfigurationError, match=r"orders:write|boss"):
            decorator(handler)


async def test_a_restriction_that_nobody_can_meet_is_found_before_a_token_is_looked_at(
    file: Path,
) -> None:
    """At an edge as well the mistake is the program's, whoever asks."""
    guard = loaded(file, BASE).make_guard()
    with pytest.raises(ConfigurationError, match="orders:write"):
        await guard.authenticate(None, scopes="orders:write", on_expired=Restrict("orders:read"))


def test_an_operators_concurrency_counts_above_the_guards(file: Path) -> None:
    """A limit for one consumer replaces the common one for that consumer."""
    file.write_text(f"{BASE}[guard]\nconcurrency = 20\n[consumers.told]\nconcurrency = 3")
    guard = load_settings(file).make_guard()

    async def handler(caller: Caller) -> None:
        """Do nothing."""

    async def slots(queue: str) -> int:
        consumer = cast("Consumer[..., None]", guard(queue=queue)(handler))
        return consumer._pipeline._slots._value

    assert [asyncio.run(slots(queue)) for queue in ("told", "untold")] == [3, 20]


def test_a_variable_that_lacks_an_underscore_is_told_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A table and its key have two of them between each other."""
    monkeypatch.setenv("BUSAUTH_GUARD_CONCURRENCY", "5")
    load_settings()
    assert "did you mean BUSAUTH_GUARD__CONCURRENCY?" in caplog.text


@pytest.mark.parametrize("outer", ["consumers", "guard.consumers"])
def test_a_name_with_dots_is_told_to_need_quotes(outer: str, file: Path) -> None:
    """Without them it is a table in a table."""
    file.write_text(f"{BASE}[{outer}.orders.placed]\nconcurrency = 5")
    assert 'needs quotes: [consumers."orders.placed"]' in wrong(file)


def test_a_misspelt_variable_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy that somebody thinks is in force, and is not, is told."""
    monkeypatch.setenv("BUSAUTH_ON_EXPIRD", '{"policy": "discard"}')
    monkeypatch.setenv("BUSAUTH_AMQP_URL", "amqp://localhost/")
    load_settings()
    assert caplog.text.count("is no setting of busauth's") == 1
    assert "BUSAUTH_ON_EXPIRD" in caplog.text
    assert "did you mean BUSAUTH_ON_EXPIRED?" in caplog.text


@pytest.mark.parametrize("kind", [Exception, BusauthError, Refused, Deferred, ValueError])
def test_what_would_make_every_verdict_nobodys_fault(kind: type[Exception]) -> None:
    """Errors that are declared to be nobody's are a library's, never a verdict."""
    wrong = issubclass(kind, BusauthError) or kind is Exception
    with pytest.raises(ConfigurationError) if wrong else nullcontext():
        GuardOptions(transient=(kind,))


def test_kinds_of_errors_are_said_in_code(file: Path) -> None:
    """A file cannot name them; whoever makes the guard can."""
    file.write_text(BASE)
    guard = load_settings(file).make_guard(transient=(KeyError,))
    assert guard.options == GuardOptions(transient=(KeyError,))
    file.write_text(BASE + '[guard]\ntransient = ["KeyError"]\n')
    assert "transient" in wrong(file)


def test_without_a_file_it_is_said_that_none_was_named(file: Path) -> None:
    """Who has written a file and named it nowhere is told so; who has named one is not."""
    file.write_text("audience = 'shop'")
    for path, is_told in ((None, True), (file, False)):
        with pytest.raises(ConfigurationError) as told:
            load_settings(path).make_guard()
        assert ("no settings file was named: --settings, BUS" in str(told.value)) is is_told


def test_plain_http_is_told_in_the_files_words(file: Path) -> None:
    """What would let a host be asked can be pasted into the file."""
    file.write_text("issuer = 'http://idp.lan:8080'\naudience = 'shop'")
    with pytest.raises(ConfigurationError, match=r'unsafe_http = \["idp.lan"\]'):
        load_settings(file).make_guard()
