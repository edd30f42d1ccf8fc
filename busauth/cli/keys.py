"""`busauth keys`: makes a key of the right kind for its use, and tells what one is.

Nothing private is printed: not when a key is made, and not when one is shown.
"""

import json
import os
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Annotated, Any

import typer

from busauth._files.keys import read_key, readers_of
from busauth._messages.seal import is_key_id
from busauth._tokens.keys.making import (
    KeyUse,
    bits_of,
    kind_of_key,
    new_private_jwk,
    public_half,
    thumbprint,
)
from busauth.cli.options import EXITS, AsJson, fail, warn
from busauth.errors import ConfigurationError

_PRIVATE, _PUBLIC = 0o600, 0o644
_SECRET_BYTES = 48
_IS_THERE = "{} is there already, and is never written over: name another file"
_LONGEST_ID = 128  # characters: it travels in each header

keys = typer.Typer(no_args_is_help=True, help="Make keys, and look at them.", epilog=EXITS)

Made = Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes.")]
Shown = Annotated[Path, typer.Argument(metavar="FILE", help="A JWK, a JWK set, or a secret.")]
For = Annotated[KeyUse, typer.Option("--for", help="What it is for.")]
Id = Annotated[
    str | None, typer.Option("--id", metavar="KID", help="Its id; default: its thumbprint.")
]
Public = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where its public half goes, as a JWK.")
]


@keys.command(epilog=EXITS)
def new(
    file: Made,
    *,
    use: For = KeyUse.LETTERS,
    key_id: Id = None,
    public: Public = None,
    as_json: AsJson = False,
) -> None:
    """Make a private key that only you can read; no file is ever written over.

    For letters and encryption it is a JWK for ECDH-ES on P-256, for proofs one for ES256, and for
    seals a secret of 48 random bytes in base64. What is printed says which settings use it.

    Example: busauth keys new letters.jwk --for letters --public letters.public.jwk
    """
    if file.exists():  # before a public half is written that would belong to nothing
        fail(_IS_THERE.format(file))
    if use is KeyUse.SEAL:
        made = _secret(key_id, public)
        content = b64encode(token_bytes(_SECRET_BYTES)).decode("ascii")
    else:
        if key_id is not None and not (0 < len(key_id) <= _LONGEST_ID and key_id.isascii()):
            fail(f"--id: expected 1 to {_LONGEST_ID} characters of ASCII")
        jwk = new_private_jwk(use, key_id)
        made, content = _told(jwk), json.dumps(jwk, indent=2)
        if public is not None:
            _write(public, json.dumps(public_half(jwk), indent=2), _PUBLIC)
    _write(file, content, _PRIVATE)
    line = _settings(use, file, made["kid"])
    if as_json:
        said = {"file": str(file), "public": str(public) if public else None, "for": use.value}
        typer.echo(json.dumps({**said, **made, "settings": line}))
        return
    typer.echo(f"{file}: {_sentence(made)}; only you can read it")
    if public is not None:
        typer.echo(f"{public}: its public half")
    typer.echo(f"\nIn the settings file:\n\n{line}")


@keys.command(epilog=EXITS)
def show(file: Shown, *, as_json: AsJson = False) -> None:
    """Tell what a key is: its id, kind, size and thumbprint, and who can read its file.

    Example: busauth keys show letters.jwk
    """
    try:
        found = read_key(file)
    except ConfigurationError as error:
        fail(str(error))
    told = [_told(each) for each in _jwks(found)] or [_told_bare(found)]
    readers = readers_of(file)
    if as_json:
        typer.echo(json.dumps({"file": str(file), "readers": readers, "keys": told}))
    else:
        for each in told:
            typer.echo(f"{file}: {_sentence(each)}")
        typer.echo(f"Can be read by {readers}")
    is_secret = any(not str(each["kind"]).startswith("public") for each in told)
    if is_secret and readers != "its owner":
        warn(f"{file} can be read by {readers}: expected its owner alone: chmod 600 {file}")


def _jwks(found: Mapping[str, Any] | str | bytes) -> list[Mapping[str, Any]]:
    if not isinstance(found, Mapping):
        return []
    several = found.get("keys", [found])
    return [each for each in several if isinstance(each, Mapping)]


def _told(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may be told of a key: nothing of its private half."""
    return {
        "kid": jwk.get("kid"),
        "kind": kind_of_key(jwk),
        "alg": jwk.get("alg"),
        "bits": bits_of(jwk),
        "thumbprint": thumbprint(jwk),
    }


def _told_bare(found: object) -> dict[str, Any]:
    bits = 8 * len(found) if isinstance(found, bytes) else None
    kind = "shared secret" if isinstance(found, bytes) else "PEM"
    return {"kid": None, "kind": kind, "alg": None, "bits": bits, "thumbprint": None}


def _secret(key_id: str | None, public: Path | None) -> dict[str, Any]:
    if public is not None:
        fail("--public: a seal's key is a secret, which has no public half")
    name = key_id or datetime.now(UTC).strftime("%Y-%m-%d")
    if not is_key_id(name):
        fail(f"--id {name}: expected 1 to 64 of [A-Za-z0-9_-]")
    encoded = 8 * len(b64encode(bytes(_SECRET_BYTES)))
    bare = {"kind": "shared secret", "alg": None, "bits": encoded, "thumbprint": None}
    return {"kid": name, **bare}


def _sentence(told: Mapping[str, Any]) -> str:
    words = {"kid": told["kid"], "alg": told["alg"], "thumbprint": told["thumbprint"]}
    said = [f"{name} {value}" for name, value in words.items() if value]
    size = [f"{told['bits']} bits"] if told["bits"] else []
    return ", ".join([str(told["kind"]), *size, *said])


def _settings(use: KeyUse, file: Path, key_id: str) -> str:
    path = json.dumps(str(file))
    match use:
        case KeyUse.LETTERS:
            return f"[letters]\nkeep_token = {path}"
        case KeyUse.SEAL:
            return f"[messages.seal]\n{key_id} = {path}"
        case KeyUse.PROOF:
            return f'[messages.signer]\nname = "..."\nkey_file = {path}\nalgorithm = "ES256"'
        case KeyUse.ENCRYPTION:
            return f"[messages.decryption]\nkey_files = [{path}]"


def _write(path: Path, content: str, mode: int) -> None:
    """Write a file that was not there."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{content}\n")
    except FileExistsError:
        fail(_IS_THERE.format(path))
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")
