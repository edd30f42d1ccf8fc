"""Files with keys, and the secrets in them: who can read them, and what they are good for.

Nothing of a secret is ever told: only where it stands.
"""

import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings

from busauth._files.keys import read_key
from busauth._tokens.keys.key import thumbprint
from busauth.cli.doctor.catalogue import finding
from busauth.cli.doctor.finding import Finding
from busauth.cli.doctor.subject import Question, Subject
from busauth.errors import ConfigurationError
from busauth.settings import Settings
from busauth.settings.issuers import Table

_FEWEST = 12
"""Different bytes in a secret: 32 random ones, in hex as well, have fewer once in a long life."""

_KEYLESS = re.compile(r"audit\.file|(?:issuers\.\d+\.)?retired\.file")
"""Files without a key: who reads events is no one else by that, and what is retired is public."""

_WORDS = re.compile(rb"(?:[A-Z]?[a-z]+[ _.,-]+){2,}[A-Z]?[a-z]+[^A-Za-z]*")
"""A passphrase: words with something between them."""


def look(subject: Subject, question: Question) -> Iterator[Finding]:
    """Yield what is wrong with keys and where they stand."""
    settings = subject.settings
    if settings is not None:
        for name, path in _files(settings, subject.path):
            yield from _of_mode(name, path)
        yield from _of_purposes(settings)
        yield from _of_workers(settings, question)
    yield from _of_secrets(subject)


def _files(settings: Settings, path: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield files that hold keys, by where the settings name them: most that they name do."""
    yield from ((name, file) for name, file in _named(settings, "") if not _KEYLESS.fullmatch(name))
    if path is not None and settings.bus.url is not None and _has_password(path):
        yield "the settings file, with a password in bus.url", path


def _named(value: object, place: str) -> Iterator[tuple[str, Path]]:
    """Yield the paths in a value, by their keys."""
    if isinstance(value, Path):
        yield place, value
        return
    inner: Iterable[tuple[object, object]] = ()
    if isinstance(value, Table | BaseSettings):
        inner = iter(value)
    elif isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, tuple):
        inner = enumerate(value)
    for name, each in inner:
        yield from _named(each, f"{place}.{name}".lstrip("."))


def _signing(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield files with what signs proofs, or proves them."""
    messages = settings.messages
    if messages.signer is not None:
        yield "messages.signer.key_file", messages.signer.key_file
    for index, each in enumerate(messages.proofs.publishers if messages.proofs else ()):
        if each.key_file is not None:
            yield f"messages.proofs.publishers.{index}.key_file", each.key_file


def _has_password(path: Path) -> bool:
    try:
        return re.search(r"amqps?://[^/\s\"']*:[^/\s\"']*@", path.read_text("utf-8")) is not None
    except (OSError, ValueError):
        return False


def _of_mode(name: str, path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError:  # told by who reads it
        return
    shown = f"{path} has mode {stat.S_IMODE(mode):04o}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield finding("key-file-writable", name, shown)
    if mode & stat.S_IROTH and not _is_public(path):
        yield finding("key-file-readable", name, shown)


def _is_public(path: Path) -> bool:
    """Return whether a file holds public keys alone: those may be read by all."""
    try:
        key = read_key(path)
    except ConfigurationError:
        return False
    if isinstance(key, str):
        return "PRIVATE" not in key
    return isinstance(key, Mapping) and not any("d" in jwk or "k" in jwk for jwk in _jwks(key))


def _jwks(key: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = key.get("keys", [key])
    several = found if isinstance(found, list) else []
    return [jwk for jwk in several if isinstance(jwk, Mapping)]


def _of_purposes(settings: Settings) -> Iterator[Finding]:
    """Compare what encrypts with what signs."""
    messages = settings.messages
    encrypting = [
        *(messages.encryption or {}).values(),
        *(messages.decryption.key_files if messages.decryption else ()),
        *(file for name, file in _named(settings, "") if name.endswith("keep_token")),
    ]
    for path in dict.fromkeys(path for _, path in _signing(settings)):
        if _names(path) & set().union(*map(_names, encrypting)):
            found = f"the key in {path} encrypts as well"
            yield finding("key-two-purposes", "messages", found)


def _names(path: Path) -> frozenset[str]:
    """Return the thumbprints of a file's keys."""
    try:
        key = read_key(path)
    except ConfigurationError:
        return frozenset()
    if not isinstance(key, Mapping):
        return frozenset()
    known = (jwk for jwk in _jwks(key) if jwk.get("kty") in ("RSA", "EC", "OKP", "oct"))
    return frozenset(thumbprint(jwk) for jwk in known)


def _of_workers(settings: Settings, question: Question) -> Iterator[Finding]:
    for issuer in (settings, *settings.issuers):
        if question.workers > 1 and issuer.retired is not None and issuer.retired.file is not None:
            found = f"{issuer.retired.file}, and {question.workers} processes"
            yield finding("retired-file-shared", "retired.file", found)


def _of_secrets(subject: Subject) -> Iterator[Finding]:
    secrets = dict(_secrets(subject))
    for name, secret in secrets.items():
        if is_guessed(secret):
            yield finding("secret-weak", name, f"{len(secret)} bytes that are hardly random")
    for (one, first), (other, second) in combinations(secrets.items(), 2):
        if first == second:
            yield finding("secrets-equal", f"{one}, {other}", "the same secret")


def _secrets(subject: Subject) -> Iterator[tuple[str, bytes]]:
    """Yield shared secrets, by what they are for."""
    seal = {} if subject.guard is None else subject.guard.messages.seal or {}
    for name, secret in seal.items():
        yield f"messages.seal.{name}", secret
    if subject.settings is None:
        return
    for name, path in _signing(subject.settings):
        yield from _bare(name, path)


def _bare(name: str, path: Path) -> Iterable[tuple[str, bytes]]:
    try:
        key = read_key(path)
    except ConfigurationError:
        return ()
    return ((name, key),) if isinstance(key, bytes) else ()


def is_guessed(secret: bytes) -> bool:
    """Return whether a secret looks like words, or like a pattern."""
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    return (
        len(set(secret)) < _FEWEST or len(steps) < _FEWEST or _WORDS.fullmatch(secret) is not None
    )
