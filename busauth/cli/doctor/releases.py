"""Series of RabbitMQ, and when the community's support for each ended.

As told by the release notes of each series and on rabbitmq.com/release-information. Until 3.12 a
date was announced for each; since then a series ends when the next one is released. A new row is
added here and in docs/doctor.md, and nowhere else.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

Series = tuple[int, int]

ENDS: Mapping[Series, str | None] = {
    (3, 8): "2022-07-31",
    (3, 9): "2023-01-31",
    (3, 10): "2023-07-31",
    (3, 11): "2023-12-31",
    (3, 12): "2024-06-30",
    (3, 13): "2024-09-17",
    (4, 0): "2025-04-15",
    (4, 1): "2026-01-30",
    (4, 2): None,
    (4, 3): None,
}
"""The day; None where it is not known to have come."""

OLDEST: Series = (3, 10)
"""What busauth is held to."""


def series_of(version: str) -> Series | None:
    """Return a version's series, None where it is no version."""
    read = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", version)
    return (int(read[1]), int(read[2])) if read else None


def ended(series: Series, now: float) -> str | None:
    """Return the day on which the support of a series ended, None where it has not.

    Args:
        series: which; one that is older than the table ended before it.
        now: seconds since the epoch.
    """
    oldest = min(ENDS)
    day = ENDS.get(max(series, oldest))
    if day is None or datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() >= now:
        return None
    return day if series >= oldest else f"{day} or before"


def largest_message(series: Series) -> int:
    """Return the bytes of a message that a broker takes by default (max_message_size)."""
    return 16 * 1024 * 1024 if series >= (4, 0) else 128 * 1024 * 1024
