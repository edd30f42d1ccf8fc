"""Many tenants of one provider: issuer, `tid` and key have to agree to the letter."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import NotGenuine, StaticKeys, Verifier
from busauth._tokens.profiles.tenants import tenants_of
from busauth._tokens.verifier import Verifiers
from busauth.errors import ConfigurationError
from busauth.tokens import ENTRA, LENIENT
from tests.unit.support import AUDIENCE, Signer, authenticate, payload, proven_by, refusal, verifier

TEMPLATE = "https://login.microsoftonline.com/{tenantid}/v2.0"
FIRST = "https://sts.windows.net/{tenantid}/"
OURS = "72f988bf-86f1-41af-91ab-2d7cd011db47"
PARTNER = "0f6c2b9e-1d53-4c4e-9a9e-5b7f0f0a1c22"
STRANGER = "9188040d-6c67-4c5b-b112-36a304b66dad"


def issuer(tenant: str, template: str = TEMPLATE) -> str:
    return template.replace("{tenantid}", tenant)


def signed(tid: Any, iss: Any = None, **changes: Any) -> str:
    """Sign a token of Entra's; its signature holds, whatever it says."""
    iss = issuer(str(tid)) if iss is None else iss
    return Signer().sign(payload(iss=iss, tid=tid, scope=..., scp="Orders.Read", **changes))


async def code(raw: str, tenants: Any = (OURS, PARTNER), **said: Any) -> str:
    usual: dict[str, Any] = {"issuer": TEMPLATE, "profile": ENTRA, "tenants": tenants}
    return (await refusal(raw, **usual | said)).code


@pytest.mark.parametrize("tenants", [OURS, [OURS], (OURS, PARTNER), "any"], ids=str)
@pytest.mark.parametrize("template", [TEMPLATE, FIRST])
async def test_a_tenants_token_is_its_issuers(tenants: Any, template: str) -> None:
    """The caller's issuer is one tenant's: a subject is unique within that alone."""
    raw = signed(OURS, issuer(OURS, template))
    verified = await authenticate(raw, issuer=template, profile=ENTRA, tenants=tenants)
    assert verified.caller.issuer == issuer(OURS, template)
    assert verified.caller.scopes == {"Orders.Read"}


async def test_two_tenants_are_told_apart() -> None:
    """The same subject of two tenants is two callers."""
    both = Verifiers(verifier(issuer=TEMPLATE, profile=ENTRA, tenants=[OURS, PARTNER]))
    callers = [(await proven_by(both, signed(each))).caller for each in (OURS, PARTNER)]
    assert [each.issuer for each in callers] == [issuer(OURS), issuer(PARTNER)]
    assert both.takes(signed(OURS))
    assert not both.takes(signed(STRANGER))


async def test_a_tenant_that_is_not_listed_is_refused() -> None:
    """Its signature holds, as all tenants' do."""
    assert await code(signed(STRANGER)) == "token.issuer"


@pytest.mark.parametrize(
    ("tid", "expected"),
    [
        (..., "token.claim_missing"),
        (PARTNER, "token.claim_invalid"),
        (OURS.upper(), "token.claim_invalid"),
        (f"{OURS} ", "token.claim_invalid"),
        (f"{OURS}\n", "token.claim_invalid"),
        (f"{OURS}/", "token.claim_invalid"),
        (OURS.replace("-", "%2D"), "token.claim_invalid"),
        (f"{{{OURS}}}", "token.claim_invalid"),
        ("", "token.claim_invalid"),
        (None, "token.claim_invalid"),
        (True, "token.claim_invalid"),
        ([OURS], "token.claim_invalid"),
        ({OURS: OURS}, "token.claim_invalid"),
    ],
)
@pytest.mark.parametrize("profile", [ENTRA, LENIENT])
@pytest.mark.parametrize("tenants", [(OURS, PARTNER), "any"], ids=str)
async def test_tid_is_the_tenant_in_iss(
    tid: Any, expected: str, profile: Any, tenants: Any
) -> None:
    """It is there, is text, and is the same to the letter, whatever the profile asks for."""
    assert await code(signed(tid, issuer(OURS)), tenants, profile=profile) == expected


@pytest.mark.parametrize(
    "iss",
    [
        TEMPLATE,
        issuer("common"),
        issuer("organizations"),
        issuer(""),
        issuer("*"),
        issuer(OURS.upper()),
        issuer(OURS.replace("-", "")),
        issuer(OURS.replace("-", "%2D")),
        issuer(f"{OURS}/{PARTNER}"),
        issuer(f"{PARTNER}/../{OURS}"),
        issuer(f"%2e%2e/{OURS}"),
        issuer(f"{OURS}%2F"),
        issuer(f" {OURS}"),
        issuer(f"{OURS}\u2010"),
        issuer("72f988bf-86f1-41af-91ab-2d7cd011db4\uff17"),
        f"{issuer(OURS)}/",
        f"{issuer(OURS)}\n",
        f"{issuer(OURS)}?a=b",
        f"{issuer(OURS)}#",
        issuer(OURS).removesuffix("/v2.0"),
        issuer(OURS).replace("https", "http"),
        issuer(OURS).upper(),
        issuer(OURS).replace("login.", "login.evil."),
        issuer(OURS).replace(".com", ".com.evil.example"),
        issuer(OURS).replace("https://", "https://evil@"),
        f"https://evil.example/{issuer(OURS)}",
        issuer(OURS, FIRST),
        OURS,
        5,
        None,
        [issuer(OURS)],
        {},
    ],
    ids=ascii,
)
@pytest.mark.parametrize("tenants", [(OURS, PARTNER), "any"], ids=str)
async def test_iss_is_the_template_with_a_tenant_in_it(iss: Any, tenants: Any) -> None:
    """Nothing like it counts: no part of it, no other spelling, not the template itself."""
    assert await code(Signer().sign(payload(iss=iss, tid=OURS)), tenants) == "token.issuer"


@given(st.text(st.sampled_from("0123456789abcdefABCDEF-{}/% \n")) | st.uuids().map(str))
def test_any_tenant_is_any_identifier_and_nothing_else(text: str) -> None:
    """What stands in the place of a tenant is one, in lower case, or the issuer is nobody's."""
    tenants = tenants_of(TEMPLATE, "any")
    assert tenants is not None
    parts = text.split("-")
    is_one = [*map(len, parts)] == [8, 4, 4, 4, 12] and set(text) <= set("0123456789abcdef-")
    assert tenants.tenant_of(issuer(text)) == (text if is_one else None)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (None, None),
        (TEMPLATE, None),
        (issuer(OURS), None),
        (issuer(STRANGER), "token.signature"),
        (FIRST, "token.signature"),
        ("", "token.signature"),
        (5, "token.signature"),
    ],
)
async def test_a_key_of_another_tenants_signs_for_none_of_ours(
    of: Any, expected: str | None
) -> None:
    """A key set of all tenants may have keys that are one tenant's, as its JWK says."""
    keys = StaticKeys(Signer().jwk(issuer=of))
    said: dict[str, Any] = {"issuer": TEMPLATE, "tenants": "any", "profile": ENTRA, "keys": keys}
    if expected is None:
        assert (await authenticate(signed(OURS), **said)).caller.subject == "alice"
    else:
        assert (await refusal(signed(OURS), **said)).code == expected


def test_what_is_expected_is_told() -> None:
    """A refused tenant's issuer looks like the template: it is told that it is not listed."""
    with pytest.raises(NotGenuine) as caught:
        Verifiers(verifier(issuer=TEMPLATE, tenants=[OURS])).recall(signed(STRANGER))
    assert f"expected {TEMPLATE} of a tenant that is listed" in caught.value.detail


@pytest.mark.parametrize(
    ("issuer", "tenants", "told"),
    [
        (TEMPLATE, None, "is a template: expected the tenants"),
        ("https://idp.example/{tenant}", None, "is a template: expected the tenants"),
        ("https://idp.example", [OURS], "with {tenantid} in it, once"),
        ("https://idp.example", "any", "with {tenantid} in it, once"),
        ("https://idp.example/{tenant}", [OURS], "with {tenantid} in it, once"),
        ("https://idp.example/{tenantid}/{tenantid}", [OURS], "in it, once"),
        ("https://idp.example/{tenantid}/{other}", [OURS], "in it, once"),
        (TEMPLATE, [], "tenants=[]: expected tenants' identifiers"),
        (TEMPLATE, ["contoso.example"], "tenants=['contoso.example']"),
        (TEMPLATE, [OURS.upper()], "in lower case"),
        (TEMPLATE, [OURS, "any"], "or 'any' alone"),
        (TEMPLATE, "common", "tenants=['common']"),
    ],
)
def test_what_would_trust_another_than_is_meant_is_refused(
    issuer: str, tenants: Any, told: str
) -> None:
    """A template and its tenants are said together, and everybody's are said out loud."""
    with pytest.raises(ConfigurationError) as caught:
        verifier(issuer=issuer, tenants=tenants)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("other", "tenants", "fits"),
    [
        (issuer(OURS), [OURS], False),
        (issuer(OURS), "any", False),
        (issuer(STRANGER), [OURS], True),
        (issuer(OURS, FIRST), [OURS], True),
    ],
)
def test_no_issuer_has_two_verifiers(other: str, tenants: Any, *, fits: bool) -> None:
    """A tenant that has a verifier of its own is not in the template's list as well."""
    both = (verifier(issuer=TEMPLATE, tenants=tenants), verifier(issuer=other))
    if fits:
        assert Verifiers(*both).issuers == {TEMPLATE, other}
        return
    with pytest.raises(ConfigurationError, match="two for one"):
        Verifiers(*both)


async def test_other_keys_are_of_the_same_tenants() -> None:
    """`with_keys` keeps whose tokens are taken."""
    first = Verifier(StaticKeys(Signer().jwk()), issuer=TEMPLATE, audience=AUDIENCE, tenants=[OURS])
    again = Verifiers(first.with_keys(first.keys))
    assert (await proven_by(again, signed(OURS))).caller.issuer == issuer(OURS)
    with pytest.raises(NotGenuine):
        again.recall(signed(STRANGER))
