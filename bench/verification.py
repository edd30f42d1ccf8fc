"""What one verification costs, as ratios of what nobody can leave out.

The floor of a cold verification is the bare signature check on decoded bytes, and `json.loads` of
header and payload. Whatever is compared runs in turns within one process, and medians of the rounds
are told: machines are shared, and absolute times are worth little.

    python -m bench.verification [--rounds N] [--tokens N] [--json FILE]
"""

import argparse
import gc
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from random import shuffle
from statistics import median
from time import perf_counter
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key
from jwt.utils import base64url_decode, raw_to_der_signature
from rich.console import Console
from rich.table import Table

from busauth import StaticKeys, Verifier, Verifiers
from busauth.testing import Issuer

ALGORITHMS = {"RS256": "RS256", "ES256": "ES256", "EdDSA": "Ed25519"}
_TOKENS = 200
_SLICE = 5
"""Steps at a time: short turns, so that a busy neighbour meets all contestants alike."""

_MICRO = 1e6
Step = Callable[[], object]


def issuer_of(algorithm: str, number: int = 0) -> Issuer:
    """Return an issuer whose tokens last longer than any run."""
    return Issuer(f"https://issuer-{number}.test", algorithm=algorithm, lifetime=1e6)


def verifier_for(issuer: Issuer) -> Verifier:
    """Return a verifier that trusts one issuer."""
    algorithms = (issuer.signing.algorithm,)
    keys = StaticKeys(issuer.jwks())
    return Verifier(keys, issuer=issuer.url, audience=issuer.audience, algorithms=algorithms)


def tokens_of(issuer: Issuer, count: int = _TOKENS) -> list[str]:
    """Return tokens of many callers, with the claims that RFC 9068 asks for."""
    scope = "orders:read orders:write stock:reserve"
    return [issuer.token(f"caller-{number}", scope=scope) for number in range(count)]


def bare_check(issuer: Issuer) -> Callable[[bytes, bytes], object]:
    """Return the signature check itself, by cryptography."""
    public = issuer.signing.private.public_key()
    if issuer.signing.algorithm == "RS256":
        return lambda text, signature: public.verify(signature, text, padding.PKCS1v15(), SHA256())
    if issuer.signing.algorithm == "ES256":
        return lambda text, signature: public.verify(signature, text, ec.ECDSA(SHA256()))
    return lambda text, signature: public.verify(signature, text)


def floor(issuer: Issuer, tokens: list[str]) -> Step:
    """Return what no verification can leave out."""
    check = bare_check(issuer)
    decoded = cycle([_decoded(issuer, token) for token in tokens])

    def step() -> None:
        text, header, payload, signature = next(decoded)
        check(text, signature)
        json.loads(header)
        json.loads(payload)

    return step


def _decoded(issuer: Issuer, token: str) -> tuple[bytes, bytes, bytes, bytes]:
    text = token.rpartition(".")[0].encode()
    header, payload, signature = map(base64url_decode, token.split("."))
    if issuer.signing.algorithm == "ES256":
        signature = raw_to_der_signature(signature, ec.SECP256R1())
    return text, header, payload, signature


def cold(issuer: Issuer, tokens: list[str]) -> Step:
    """Return a verification by busauth of a token that it does not remember."""
    recall, each = Verifiers(verifier_for(issuer), cache_size=0).recall, cycle(tokens)
    return lambda: recall(next(each))


def by_pyjwt(issuer: Issuer, tokens: list[str]) -> Step:
    """Return PyJWT's verification under comparable rules."""
    key, each = jwt.PyJWK(issuer.signing.public_jwk()), cycle(tokens)
    names = [key.algorithm_name]
    return lambda: jwt.decode(next(each), key, names, audience="shop", issuer=issuer.url)


def by_joserfc(issuer: Issuer, tokens: list[str]) -> Step:
    """Return joserfc's verification under comparable rules."""
    key, each = import_key(issuer.signing.public_jwk()), cycle(tokens)
    registry = jws.JWSRegistry(algorithms=[issuer.signing.algorithm], strict_check_header=False)
    claims = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer.url},
        aud={"essential": True, "value": "shop"},
        exp={"essential": True},
    )
    return lambda: claims.validate(
        joserfc_jwt.decode(next(each), key, algorithms=None, registry=registry).claims
    )


def warm(issuer: Issuer, tokens: list[str]) -> Step:
    """Return the recall of a token that busauth remembers."""
    return among([issuer], tokens)


def among(issuers: list[Issuer], tokens: list[str]) -> Step:
    """Return the recall of remembered tokens, next to so many issuers."""
    verifiers = Verifiers(*map(verifier_for, issuers))
    for token in tokens:
        verifiers.recall(token)
    recall, each = verifiers.recall, cycle(tokens)
    return lambda: recall(next(each))


def cold_among(issuers: list[Issuer], tokens: list[str]) -> Step:
    """Return the cold verification of tokens, next to so many issuers."""
    recall, each = Verifiers(*map(verifier_for, issuers), cache_size=0).recall, cycle(tokens)
    return lambda: recall(next(each))


def measured(steps: Mapping[str, Step], rounds: int) -> dict[str, float]:
    """Return microseconds for one step each: medians of rounds, in turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(rounds):
        shuffle(order)  # who runs after whom matters to what is in the processor's caches
        for name in order:
            times[name].append(_timed(steps[name]))
    return {name: median(found) for name, found in times.items()}


def _timed(step: Step) -> float:
    began = perf_counter()
    for _ in range(_SLICE):
        step()
    return (perf_counter() - began) / _SLICE * _MICRO


def algorithms(rounds: int) -> Iterator[dict[str, Any]]:
    """Measure each algorithm against its floor."""
    for algorithm, name in ALGORITHMS.items():
        issuer = issuer_of(algorithm)
        tokens = tokens_of(issuer)
        makers = {
            "floor": floor,
            "cold": cold,
            "pyjwt": by_pyjwt,
            "joserfc": by_joserfc,
            "warm": warm,
        }
        steps = {what: make(issuer, tokens) for what, make in makers.items()}
        yield {"algorithm": name, **measured(steps, rounds)}


def issuers(rounds: int) -> dict[str, float]:
    """Measure the same number of tokens, from one issuer and from a hundred."""
    each = [issuer_of("EdDSA", number) for number in range(100)]
    one, many = tokens_of(each[0]), [token for i in each for token in tokens_of(i, _TOKENS // 100)]
    steps = {
        "warm, 1": among(each[:1], one),
        "warm, 100": among(each, many),
        "cold, 1": cold_among(each[:1], one),
        "cold, 100": cold_among(each, many),
    }
    return measured(steps, rounds)


def remembered(count: int) -> dict[str, float]:
    """Measure in a process of its own, so that nothing else is counted."""
    command = [sys.executable, "-m", "bench.verification", "--remember", str(count)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {"tokens": count, "megabytes": float(answer)}


def remember(count: int) -> float:
    """Return the megabytes by which this process grew while it verified so many tokens."""
    issuer = issuer_of("EdDSA")
    verifiers = Verifiers(verifier_for(issuer), cache_size=count)
    for token in tokens_of(issuer):
        verifiers.recall(token)  # whatever is loaded on first use is here now
    gc.collect()
    before = resident()
    for number in range(count):
        verifiers.recall(issuer.token(f"caller-{number}", scope="orders:read orders:write"))
    gc.collect()
    return resident() - before


def resident() -> float:
    """Return the megabytes that this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def tables(found: dict[str, Any]) -> Iterator[Table]:
    """Show what was found, ratios first."""
    costs = Table("algorithm", title="One verification, in floors (and microseconds)")
    for name in ("floor", "cold", "pyjwt", "joserfc", "warm"):
        costs.add_column(name, justify="right")
    for row in found["algorithms"]:
        values = {name: value for name, value in row.items() if name != "algorithm"}
        shown = (f"{value / row['floor']:.2f} ({value:.1f})" for value in values.values())
        costs.add_row(row["algorithm"], *shown)
    yield costs
    flat = Table("path", "1 issuer", "100 issuers", "ratio", title="Issuers (microseconds)")
    for path in ("warm", "cold"):
        one, many = (found["issuers"][f"{path}, {number}"] for number in (1, 100))
        flat.add_row(path, f"{one:.2f}", f"{many:.2f}", f"{many / one:.2f}")
    yield flat
    memory = Table("remembered tokens", "megabytes", title="Memory")
    memory.add_row(f"{found['memory']['tokens']:,}", f"{found['memory']['megabytes']:.0f}")
    yield memory


def main() -> None:
    """Measure, show, and write JSON where asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--remember", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.remember:
        print(remember(asked.remember))
        return
    found = {
        "algorithms": list(algorithms(asked.rounds)),
        "issuers": issuers(asked.rounds),
        "memory": remembered(asked.tokens),
    }
    Console().print(*tables(found))
    text = json.dumps(found, indent=2)
    if asked.json:
        asked.json.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
