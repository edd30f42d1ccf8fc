"""An identity provider for the shop, to try things with: it knows Alice and Bob.

It asks nobody for a password: it prints a token for each, and fresh ones before those expire. Never
run it where anybody else can reach it.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from busauth.testing import Issuer, IssuerServer
from workers import shop

PORT = 9000
LIFETIME_SECONDS = 3600.0

PEOPLE: Mapping[str, Mapping[str, Any]] = {
    "alice": {"scope": "orders:write payments:take ledger:write", "roles": ["customer"]},
    "bob": {"scope": "orders:read", "roles": ["customer"]},
}
"""Alice may buy. Bob may look."""


def token_for(issuer: Issuer, name: str, **changes: Any) -> str:
    """Return a token with what this person may do; `changes` replace its claims."""
    return issuer.token(name, **{**PEOPLE[name], **changes})


def show_tokens(issuer: Issuer) -> None:
    """Print a token for everybody, ready to be pasted."""
    for name in PEOPLE:
        print(f"\n{name}, for {issuer.lifetime / 60:.0f} minutes:\n{token_for(issuer, name)}")
    print(
        "\nTOKEN=... # one of these\n"
        "curl -i http://127.0.0.1:8000/orders "
        '-H "Authorization: Bearer $TOKEN" -d \'{"item": "teapot"}\'',
        flush=True,
    )


def main() -> None:
    """Serve keys until a signal comes."""
    settings = shop.settings
    issuer = Issuer(settings.issuer, audience=shop.AUDIENCE, lifetime=LIFETIME_SECONDS)
    port = settings.port or PORT
    with IssuerServer(issuer, host=settings.host, port=port, url=settings.issuer):
        show_tokens(issuer)
        while not threading.Event().wait(LIFETIME_SECONDS / 2):
            show_tokens(issuer)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
