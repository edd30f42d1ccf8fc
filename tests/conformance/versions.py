"""`@versions("3.10 - 4.3")`: the RabbitMQ versions whose behaviour a case states.

The embedded broker is held to 4.3, and, where a case says `still`, to what RabbitMQ did before.
"""

import pytest

from tests.conformance.client import RawConnection

Version = tuple[int, int]
EMBEDDED: Version = (4, 3)
"""The version that the embedded broker imitates."""


def versions(text: str, *, still: bool = False) -> pytest.MarkDecorator:
    """Return the marker `rabbitmq_versions(first, last)`; `last` is None in "3.10 -".

    Args:
        text: the first and the last version, or "4.3 -".
        still: whether the embedded broker does so, too, though `EMBEDDED` does not.
    """
    first, _, last = (part.strip() for part in text.partition("-"))
    last_one = _version(last) if last else None
    return pytest.mark.rabbitmq_versions(_version(first), last_one, still=still)


def means_embedded(marker: pytest.Mark) -> bool:
    """Whether the embedded broker is held to a case."""
    return covers(marker, EMBEDDED) or marker.kwargs["still"]


def covers(marker: pytest.Mark, version: Version) -> bool:
    """Whether a case states the behaviour of this version."""
    first, last = marker.args
    return bool(first <= version and (last is None or version <= last))


async def version_of(url: str) -> Version:
    """Ask a server which version of RabbitMQ it is."""
    async with RawConnection(url) as connection:
        return _version(connection.server_properties["version"])


def _version(text: str) -> Version:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)
