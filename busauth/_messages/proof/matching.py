"""Does a proof speak of this message, and of a way to here?

1. The token, its caller where one is named, the body, the id, the properties and the declared
   headers are the message's own.
2. It was published to where this consumer is bound, by whom may publish there. What the delivery
   says of its exchange and key plays no part: a copy made by a retry came another way, and so did a
   message that somebody moved; the declared routes tell them apart.
3. An original inside speaks of the same message, for the token that was recorded with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from busauth._messages.canonical import NotCanonical
from busauth._messages.proof.binding import (
    MAX_HEADERS,
    TOKEN_ISS,
    TOKEN_SHA256,
    TOKEN_SUB,
    SeenMessage,
    bound_header,
    bound_properties,
    digest,
    digest_of_hex,
    token_digests,
)
from busauth._messages.proof.publishers import Signed
from busauth._messages.proof.routes import Route
from busauth.errors import BadMessage, Forbidden

_SAME = ("body", "message_id", "exchange", "routing_key")


def check_token(claims: Mapping[str, Any], seen: SeenMessage) -> None:
    """Hold a proof to both tokens, there or not: neither can be swapped, added or taken away.

    Raises:
        BadMessage: ``proof.token``.
    """
    ath, tth = token_digests(seen)
    if claims.get("ath") != ath or claims.get("tth") != tth:
        name = "tth" if claims.get("ath") == ath else "ath"
        raise _another_token(f"the proof of another token ({name})")


def check_recorded(claims: Mapping[str, Any], token_sha256: object) -> None:
    """Hold a proof to a token of which only the hex SHA-256 is left.

    Raises:
        BadMessage: ``proof.token``.
    """
    if not _is_of(claims, token_sha256):
        raise _another_token("the proof of another token than the recorded one")


def check_message(
    signed: Signed, seen: SeenMessage, routes: Sequence[Route], *, skew: float
) -> None:
    """Hold a proof to all of a message but its token.

    Args:
        signed: a proof, proven to be its publisher's.
        seen: the message.
        routes: how messages get to this consumer.
        skew: seconds by which an original may be younger than its release.

    Raises:
        BadMessage: it speaks of another message.
        Forbidden: it is not for here.
    """
    body = digest(seen.body)  # once: an original is held to it as well
    _check_caller(signed.claims, seen)
    _check_content(signed.claims, seen, body)
    _check_way_here(signed.claims, routes)
    if signed.publisher.routes is not None:
        _check_route(signed.claims, signed.publisher.routes)
    if signed.original is not None:
        _check_original(signed, signed.original, seen, body)
        if signed.original.published_at > signed.published_at + skew:
            raise _not_the_original("published after its release")


def _check_original(signed: Signed, original: Signed, seen: SeenMessage, body: str) -> None:
    """Hold the original to the same message; its token was another, and is gone."""
    for name in _SAME:
        if original.claims[name] != signed.claims[name]:
            raise _not_the_original(f"another {name}")
    if not _is_of(original.claims, signed.claims.get(TOKEN_SHA256)):
        raise _not_the_original(f"the proof of another token than {TOKEN_SHA256}")
    try:
        _check_caller(original.claims, seen)
        _check_content(original.claims, seen, body)
        if original.publisher.routes is not None:
            _check_route(original.claims, original.publisher.routes)
    except (BadMessage, Forbidden) as refused:
        raise _not_the_original(refused.detail) from None


def _is_of(claims: Mapping[str, Any], token_sha256: object) -> bool:
    try:
        recorded = digest_of_hex(token_sha256) if isinstance(token_sha256, str) else None
    except ValueError:  # a record is a header: what is no digest is of no proof
        return False
    return recorded is not None and recorded in (claims.get("ath"), claims.get("tth"))


def _check_caller(claims: Mapping[str, Any], seen: SeenMessage) -> None:
    """Where a proof names whose token it was, it is this one's, or that of a fresh one."""
    for name, value in ((TOKEN_ISS, seen.issuer), (TOKEN_SUB, seen.subject)):
        if name in claims and claims[name] != value:
            found = f"the proof of another caller ({name})"
            raise BadMessage("proof.caller", found=found, expected="the proof of this one")


def _check_content(claims: Mapping[str, Any], seen: SeenMessage, body: str) -> None:
    if claims["body"] != body:
        raise BadMessage("proof.body", found="another body", expected="the one that was signed")
    if claims["message_id"] != seen.message_id:
        found = seen.message_id or "no message id"
        raise BadMessage("proof.message_id", found=found, expected=claims["message_id"])
    signed, properties = claims.get("properties", {}), bound_properties(seen.properties)
    if signed != properties:
        # Named without their values, which may be anybody's secrets.
        names = signed.keys() | properties.keys()
        odd = sorted(name for name in names if signed.get(name, ...) != properties.get(name, ...))
        another = f"another {', '.join(odd)}"
        raise BadMessage("proof.property", found=another, expected="as it was signed")
    if "headers" in claims:
        _check_headers(claims["headers"], seen.headers)


def _check_headers(signed: Mapping[str, Any], headers: Mapping[str, Any]) -> None:
    if len(signed) > MAX_HEADERS:
        count = f"{len(signed)} headers"
        raise BadMessage("proof.malformed", found=count, expected=f"{MAX_HEADERS} at most")
    for name, value in signed.items():
        try:
            found = bound_header(headers, name)
        except NotCanonical as error:
            raise BadMessage("proof.header", found=error, expected="a canonical value") from None
        if value != found:
            another = f"another {name}"
            raise BadMessage("proof.header", found=another, expected="as it was signed")


def _check_way_here(claims: Mapping[str, Any], routes: Sequence[Route]) -> None:
    """Hold a message to the consumer's routes; one to another queue by name may be from before."""
    try:
        _check_route(claims, routes)
    except Forbidden as refused:
        if claims["exchange"]:
            raise
        hint = "; a queue that was renamed says formerly=(...) with that name"
        expected = f"{refused.expected}{hint}"
        raise Forbidden("proof.route", found=refused.found, expected=expected) from None


def _check_route(claims: Mapping[str, Any], routes: Sequence[Route]) -> None:
    exchange, key = claims["exchange"], claims["routing_key"]
    for route in routes:
        if route.covers(exchange, key):
            return
    expected = " or ".join(map(str, routes)) or "a declared route"
    raise Forbidden("proof.route", found=str(Route(exchange, key)), expected=expected)


def _another_token(found: str) -> BadMessage:
    return BadMessage("proof.token", found=found, expected="the proof of this one")


def _not_the_original(found: str) -> BadMessage:
    return BadMessage("proof.original", found=found, expected="the first proof of this message")
