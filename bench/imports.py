"""What `import busauth` takes, as a ratio to what it is built on: ``python -m bench.imports``."""

import subprocess
import sys
from statistics import median
from time import perf_counter

_ROUNDS = 15
_NOTHING = "pass"
# `import pydantic` alone opens a lazy door; whoever uses it imports this.
_BASE = "import aio_pika, cryptography, jwt; from pydantic import BaseModel"
_BUSAUTH = "import busauth"


def main() -> None:
    """Start fresh interpreters in turn, and print medians: what is imported, and the ratio."""
    taken: dict[str, list[float]] = {_NOTHING: [], _BASE: [], _BUSAUTH: []}
    for code in (each for _ in range(_ROUNDS) for each in taken):
        started = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        taken[code].append(perf_counter() - started)
    nothing, base, ours = (median(taken[each]) for each in (_NOTHING, _BASE, _BUSAUTH))
    print(f"{_BASE}: {1000 * (base - nothing):.0f} ms")
    print(f"{_BUSAUTH}: {1000 * (ours - nothing):.0f} ms")
    print(f"ratio: {(ours - nothing) / (base - nothing):.2f}")


if __name__ == "__main__":
    main()
