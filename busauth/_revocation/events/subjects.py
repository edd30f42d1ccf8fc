"""Whose tokens does an event mean? Subject identifiers, read strictly (RFC 9493, OpenID SSF 1.0).

=============  ==========================  =====================================================
format         members                     means the tokens
=============  ==========================  =====================================================
``jwt_id``     ``iss``, ``jti``            with this id: one token
``iss_sub``    ``iss``, ``sub``            of this subject
``opaque``     ``id``                      of this session; only where a session is revoked
``complex``    ``user``, ``session``,      that all of its members name; an ``iss_sub`` in
               ``application``             ``session`` or ``application`` has the id as its ``sub``
=============  ==========================  =====================================================

An id without an issuer means it at each issuer that the event's transmitter speaks for. A member
that is not known here is refused: without it, more would be revoked than was said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from busauth.errors import BadMessage

_TEXT_LIMIT = 1024  # characters of a name or an id
_MEMBERS: Mapping[str, frozenset[str]] = {
    "jwt_id": frozenset({"iss", "jti"}),
    "iss_sub": frozenset({"iss", "sub"}),
    "opaque": frozenset({"id"}),
}
_FORMATS: Mapping[str, tuple[str, ...]] = {
    "user": ("iss_sub",),
    "session": ("opaque", "iss_sub"),
    "application": ("opaque", "iss_sub"),
}
"""What each member of a complex subject may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The tokens that are meant: all that is named here must be the token's.

    Attributes:
        issuer: the tokens' `iss`.
        token_id: the `jti` of one token.
        subject: the tokens' `sub`.
        session: the session that they belong to.
        client: the client that they were issued to.
    """

    issuer: str
    token_id: str | None = None
    subject: str | None = None
    session: str | None = None
    client: str | None = None

    def identifier(self) -> dict[str, Any]:
        """Return this as a subject identifier."""
        if self.token_id is not None:
            return {"format": "jwt_id", "iss": self.issuer, "jti": self.token_id}
        named = {"user": self.subject, "session": self.session, "application": self.client}
        members = {
            member: {"format": "iss_sub", "iss": self.issuer, "sub": value}
            for member, value in named.items()
            if value is not None
        }
        return members["user"] if members.keys() == {"user"} else {"format": "complex", **members}


@dataclass(frozen=True, slots=True)
class _Named:
    """What one identifier says, its issuer None where it does not."""

    issuer: str | None
    value: str


def targets_of(identifier: object, issuers: Iterable[str], *, session: bool) -> tuple[Target, ...]:
    """Return whose tokens an identifier means, one target for each issuer.

    Args:
        identifier: the `sub_id`.
        issuers: those for which the transmitter speaks.
        session: whether an opaque id is that of a session.

    Raises:
        BadMessage: ``event.subject``.
    """
    given = _object(identifier)
    match given.get("format"):
        case "jwt_id":
            _check_members(given, "jwt_id")
            return (Target(issuer=_text(given, "iss"), token_id=_text(given, "jti")),)
        case "complex":
            return _complex(given, issuers)
        case "opaque" if session:
            return _everywhere({"session": _simple(given)}, issuers)
        case "iss_sub":
            return _everywhere({"user": _simple(given)}, issuers)
        case other:
            raise _odd(f"format={other!r}", "jwt_id, iss_sub, complex, or opaque for a session")


def _complex(given: Mapping[str, Any], issuers: Iterable[str]) -> tuple[Target, ...]:
    members = {name: value for name, value in given.items() if name != "format"}
    unknown = members.keys() - _FORMATS.keys()
    if unknown or not members:
        found = f"a complex subject of {', '.join(sorted(members)) or 'nothing'}"
        raise _odd(found, "user, session and application only")
    named: dict[str, _Named] = {}
    for name, value in members.items():
        member = _object(value)
        if member.get("format") not in _FORMATS[name]:
            raise _odd(f"{name} with format={member.get('format')!r}", " or ".join(_FORMATS[name]))
        named[name] = _simple(member)
    return _everywhere(named, issuers)


def _simple(given: Mapping[str, Any]) -> _Named:
    _check_members(given, given["format"])
    if given["format"] == "opaque":
        return _Named(None, _text(given, "id"))
    return _Named(_text(given, "iss"), _text(given, "sub"))


def _everywhere(named: Mapping[str, _Named], issuers: Iterable[str]) -> tuple[Target, ...]:
    said = {each.issuer for each in named.values() if each.issuer is not None}
    if len(said) > 1:
        raise _odd("members of several issuers", "one issuer")
    user, session, client = (
        named[name].value if name in named else None for name in ("user", "session", "application")
    )
    target = Target(issuer="", subject=user, session=session, client=client)
    return tuple(replace(target, issuer=issuer) for issuer in sorted(said or set(issuers)))


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _odd(f"a subject of type {type(value).__name__}", "an object")
    return value


def _check_members(given: Mapping[str, Any], name: str) -> None:
    if given.keys() != _MEMBERS[name] | {"format"}:
        found = f"{name} with {', '.join(sorted(given.keys() - {'format'})) or 'nothing'}"
        raise _odd(found, f"{' and '.join(sorted(_MEMBERS[name]))} only")


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given[name]
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_LIMIT:
        raise _odd(f"a {name} that is no text, or none", f"1 to {_TEXT_LIMIT} characters")
    return value


def _odd(found: str, expected: str) -> BadMessage:
    return BadMessage("event.subject", found=found, expected=expected)
