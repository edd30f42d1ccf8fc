"""`busauth keys`: what it makes is what a guard takes, and nothing private is printed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc.jwk import ECKey
from typer.testing import CliRunner, Result

from busauth._files.keys import read_jwk, read_secret
from busauth._messages.seal import Seal
from busauth.cli import app
from busauth.letters import Letters
from busauth.messages import ProofSigner
from busauth.tokens import Decryption, TokenEncryption

MADE = ["letters", "encryption", "proof", "seal"]


def run(*given: object) -> Result:
    return CliRunner().invoke(app, ["keys", *map(str, given)])


@pytest.mark.parametrize("use", MADE)
def test_a_new_key_is_of_the_kind_that_its_use_needs(use: str, tmp_path: Path) -> None:
    """It is read by its owner alone, taken where the settings line says, and printed nowhere."""
    file = tmp_path / "key"
    result = run("new", file, "--for", use, "--id", "k1")
    assert (result.exit_code, file.stat().st_mode & 0o777) == (0, 0o600)
    assert str(file) in result.stdout
    if use == "seal":
        secret = read_secret(file)
        Seal("q", {"k1": secret})
        private = secret.decode()
    else:
        jwk = read_jwk(file)
        private = jwk["d"]
        taken: dict[str, Callable[[], object]] = {
            "letters": lambda: Letters(keep_token=file),
            "encryption": lambda: Decryption(jwk),
            "proof": lambda: ProofSigner("web", jwk, algorithm="ES256"),
        }
        taken[use]()
        assert jwk["kid"] == "k1"
    shown = run("show", file)
    assert private not in result.output + shown.output + run("show", file, "--json").output
    assert (shown.exit_code, "its owner" in shown.output) == (0, True)


def test_a_public_half_has_nothing_private(tmp_path: Path) -> None:
    """It encrypts for the private one, which has the same thumbprint, and that as its id."""
    private, public = tmp_path / "a.jwk", tmp_path / "a.public.jwk"
    made = json.loads(run("new", private, "--public", public, "--json").stdout)
    jwk = read_jwk(public)
    assert "d" not in jwk
    assert (
        jwk["kid"] == made["kid"] == made["thumbprint"] == ECKey.import_key(dict(jwk)).thumbprint()
    )
    shown = json.loads(run("show", public, "--json").stdout)
    assert shown["keys"] == [{**shown["keys"][0], "kind": "public EC P-256", "bits": 256}]
    assert shown["keys"][0]["thumbprint"] == made["thumbprint"]
    TokenEncryption({"a": jwk})
    with pytest.raises(Exception, match="no private half"):
        Decryption(jwk)


def test_no_file_is_written_over(tmp_path: Path) -> None:
    """What is there stays, and so it ends with 1."""
    file = tmp_path / "key"
    file.write_text("precious")
    assert run("new", file, "--public", tmp_path / "public").exit_code == 1
    assert run("new", tmp_path / "other", "--public", file).exit_code == 1
    assert run("new", tmp_path / "seal", "--for", "seal", "--public", file).exit_code == 1
    assert [each.name for each in tmp_path.iterdir()] == ["key"]
    assert file.read_text() == "precious"


def test_a_private_key_that_others_can_read_is_told(tmp_path: Path) -> None:
    """A warning says how to change that; a public one is for everybody."""
    private, public = tmp_path / "a.jwk", tmp_path / "a.public.jwk"
    run("new", private, "--public", public)
    private.chmod(0o644)
    public.chmod(0o644)
    assert "chmod 600" in run("show", private).stderr
    assert run("show", public).stderr == ""
    assert run("show", tmp_path / "missing").exit_code == 1
