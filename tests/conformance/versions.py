"""`@versions("3.10 - 4.2")`: the RabbitMQ versions whose behaviour a case states."""

import pytest

from tests.conformance.client import RawConnection

Version = tuple[int, int]


def versions(text: str) -> pytest.MarkDecorator:
    """Return the marker `rabbitmq_versions(first, last)`; `last` is None in "3.10 -"."""
    first, _, last = (part.strip() for part in text.partition("-"))
    return pytest.mark.rabbitmq_versions(_version(first), _version(last) if last else None)


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
