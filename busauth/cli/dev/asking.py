"""`busauth token`: a token from the issuer of `busauth dev`, alone on standard output."""

import json
import re
from typing import Annotated, Any

import httpx
import typer

from busauth._tokens.fetch import is_loopback
from busauth.cli.dev.web.gate import PORT
from busauth.cli.options import AsJson, fail
from busauth.errors import evidence

_SECONDS = 5.0
_TOKEN = re.compile(r"[A-Za-z0-9_.-]+")

Subject = Annotated[str, typer.Argument(help="Whose token it is: its `sub`.")]
Scope = Annotated[
    list[str] | None, typer.Option(help="What it allows; repeatable, or with blanks between.")
]
Lifetime = Annotated[float, typer.Option(help="Seconds until it expires.")]
Claim = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A further claim, as JSON or as text; repeatable."),
]
Url = Annotated[str, typer.Option(help="Where `busauth dev` says its page is.")]


def token(
    subject: Subject,
    *,
    scope: Scope = None,
    lifetime: Lifetime = 300.0,
    claim: Claim = None,
    url: Url = f"http://127.0.0.1:{PORT}",
    as_document: AsJson = False,
) -> None:
    """Print a token that the issuer of a running `busauth dev` signs for whoever you name.

    Example: curl -H "Authorization: Bearer $(busauth token alice --scope orders:write)" ...

    With --json it is one document, as of a token endpoint (RFC 6749, section 5.1).
    """
    wanted = {
        "subject": subject,
        "scope": " ".join(scope or ()),
        "lifetime": lifetime,
        "claims": dict(_claim(each) for each in claim or ()),
    }
    minted = _asked(_mint_url(url), _body(wanted))
    answer = {"access_token": minted, "token_type": "Bearer", "expires_in": lifetime}
    typer.echo(json.dumps(answer) if as_document else minted)
    typer.echo(f"A token of {subject}'s for {lifetime:g} s, for development alone.", err=True)


def _mint_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        fail(f"--url {url}: {error}")
    if parsed.scheme != "http" or not is_loopback(parsed.host):
        fail(f"--url {url}: expected http:// and loopback, such as http://127.0.0.1:{PORT}")
    return parsed.join("/mint")


def _body(wanted: dict[str, Any]) -> bytes:
    try:
        return json.dumps(wanted, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeError:
        fail("the subject, a scope or a claim is no text: expected UTF-8")
    except ValueError:  # Python reads NaN and Infinity, which are no JSON
        fail("NaN and infinities are no JSON: expected another --lifetime or --claim")


def _claim(given: str) -> tuple[str, Any]:
    name, equals, text = given.partition("=")
    if not (name and equals):
        fail(f"--claim {given}: expected NAME=VALUE")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def _asked(url: httpx.URL, body: bytes) -> str:
    place = url.netloc.decode("ascii").rpartition("@")[2]
    try:
        # No proxy of the environment: it is on this machine.
        with httpx.Client(trust_env=False, timeout=_SECONDS) as client:
            answer = client.post(url, content=body, headers={"content-type": "application/json"})
        said = answer.json()
    except httpx.RequestError as error:
        fail(f"nothing answers at {place}: start `busauth dev` first ({error})")
    except ValueError:
        said = None
    # Whoever listens there may be anybody's: what it says is held to a token, or to one line.
    if not isinstance(said, dict) or not {"access_token", "error_description"} & said.keys():
        fail(f"what answers at {place} is no `busauth dev`")
    token = said.get("access_token")
    if not answer.is_success or not isinstance(token, str) or not _TOKEN.fullmatch(token):
        fail(evidence(said.get("error_description")) or f"it answered {answer.status_code}")
    return token
