"""The issuer of `busauth dev`, which signs a token for whoever asks, is known by its name."""

from urllib.parse import urlsplit

ISSUER_PATH = "/busauth-dev"
"""The path of its `iss`, and of nobody else's."""


def is_for_development(issuer: str) -> bool:
    """Return whether an issuer is one of `busauth dev`: no service that counts may trust it.

    Its name says so wherever it listens, and its tokens carry that name; nobody is asked.

    Args:
        issuer: the `iss` that is trusted.
    """
    try:
        path = urlsplit(issuer).path
    except ValueError:  # such as "https://[": told by whoever would ask it for its keys
        return False
    return path.rstrip("/").lower().endswith(ISSUER_PATH)
