"""An issuer: whether it can be reached, what its metadata says, and whether the clocks agree."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from yarl import URL

from busauth._tokens.fetch import Fetcher, Reply, Unusable, is_loopback, shown
from busauth._tokens.keys.development import is_for_development
from busauth._tokens.keys.discovery import metadata_urls
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.verifier import Verifier
from busauth.cli.doctor.catalogue import Findings, finding
from busauth.cli.doctor.finding import Finding, told
from busauth.cli.doctor.looks import keys
from busauth.clock import Clock
from busauth.errors import ConfigurationError, Deferred

_OK = 200
_NOT_FOUND = 404
_DRIFT = 5.0
_LEEWAY = 120.0
_LONG_CACHED = 3600.0


@dataclass(slots=True)
class _Looked:
    """What was found at one issuer so far."""

    verifier: Verifier
    clock: Clock
    findings: Findings
    has_time: bool = False

    @property
    def issuer(self) -> str:
        return self.verifier.issuer

    def add(self, code: str, found: str) -> None:
        self.findings.add(code, self.issuer, found)

    async def ask(self, fetcher: Fetcher, url: str) -> Reply:
        """Return an answer, and compare the clocks once."""
        fetcher.check_url(url)
        if not _is_safe(url):
            self.add("unsafe-http", f"{shown(url)} is asked over plain http")
        began = self.clock.now()
        reply = await fetcher.look(url)
        if not self.has_time and "date" in reply.headers:
            self.has_time = True
            self._compare(reply.headers["date"], began, self.clock.now())
        return reply

    def _compare(self, date: str, began: float, ended: float) -> None:
        try:
            said = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        # Whole seconds, said at some instant in between: that much nobody knows.
        skew = max(began - (said + 1), said - ended, 0.0)
        code = "clock-skew" if skew > self.verifier.leeway else "clock-drift"
        if skew > (leeway := self.verifier.leeway) or skew > _DRIFT:
            self.add(code, f"the clocks are {skew:.0f} s apart, the leeway is {leeway:g} s")


async def look(verifier: Verifier, clock: Clock, findings: Findings) -> None:
    """Find what is wrong with an issuer, its keys included.

    Args:
        verifier: who trusts it.
        clock: this service's.
        findings: what is found is added.
    """
    findings += _of_trust(verifier)
    looked = _Looked(verifier, clock, findings)
    if isinstance(verifier.keys, JWKS):
        try:
            await _look_there(looked, verifier.keys)
        except Unusable as error:
            looked.add("metadata-unusable", told(error))
        except (Deferred, ConfigurationError) as error:
            looked.add("issuer-unreachable", told(error))


def _of_trust(verifier: Verifier) -> Iterator[Finding]:
    issuer = verifier.issuer
    if is_for_development(issuer):
        yield finding("development-issuer", issuer, "an issuer of `busauth dev`")
    if issuer.rstrip("/") in {each.rstrip("/") for each in verifier.audience}:
        yield finding("audience-is-issuer", issuer, "the audience is the issuer's own name")
    if verifier.tenants is not None and verifier.tenants.accepted is None:
        yield finding("tenants-any", issuer, 'tenants = "any"')
    if verifier.leeway > _LEEWAY:
        yield finding("leeway-wide", issuer, f"leeway is {verifier.leeway:g} s")


async def _look_there(looked: _Looked, place: JWKS) -> None:
    url = place.url
    if place.issuer is not None:
        url = await _found(looked, place.fetcher, place.issuer)
    if url is None:
        return
    reply = await looked.ask(place.fetcher, url)
    if reply.status != _OK:
        looked.add("issuer-unreachable", f"{shown(url)}: status {reply.status}, expected 200")
        return
    entries = _object(reply).get("keys")
    if not isinstance(entries, list):
        looked.add("metadata-unusable", f"{shown(url)}: expected `keys`, a list")
        return
    verifier = looked.verifier
    looked.findings += keys.look(looked.issuer, entries, verifier.algorithms, looked.clock.now())
    cached = _max_age(reply.headers.get("cache-control", ""))
    if cached > _LONG_CACHED:
        looked.add("jwks-cached-long", f"{shown(url)} may be cached for {cached:g} s")


async def _found(looked: _Looked, fetcher: Fetcher, issuer: str) -> str | None:
    """Return where the metadata says that the keys are, None where that is told."""
    statuses = []
    for url in metadata_urls(issuer):
        reply = await looked.ask(fetcher, url)
        statuses.append(reply.status)
        if reply.status == _OK:
            return _jwks_uri(looked, shown(url), _object(reply))
    code = "metadata-unusable" if set(statuses) == {_NOT_FOUND} else "issuer-unreachable"
    looked.add(code, f"no metadata: statuses {' and '.join(map(str, statuses))}, expected 200")
    return None


def _jwks_uri(looked: _Looked, where: str, metadata: Mapping[str, Any]) -> str | None:
    if metadata.get("issuer") != looked.issuer:
        found = f"{where} speaks for {told(metadata.get('issuer'))}"
        looked.add("issuer-mismatch", found)
        return None
    uri = metadata.get("jwks_uri")
    if not isinstance(uri, str):
        looked.add("metadata-unusable", f"{where} names no jwks_uri")
        return None
    return uri


def _object(reply: Reply) -> Mapping[str, Any]:
    """Return a JSON object; nothing, where it is none."""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _max_age(said: str) -> float:
    """Return for how many seconds caches may keep an answer (RFC 9111, section 5.2.2)."""
    parts = dict(each.strip().lower().partition("=")[::2] for each in said.split(","))
    if "no-store" in parts or "no-cache" in parts:
        return 0.0
    ages = [parts.get(name, "") for name in ("s-maxage", "max-age")]
    return max(float(each) if each.isdecimal() and len(each) < 12 else 0.0 for each in ages)  # noqa: PLR2004


def _is_safe(url: str) -> bool:
    parsed = URL(url)
    return parsed.scheme == "https" or is_loopback(parsed.host or "")
