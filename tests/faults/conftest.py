"""RabbitMQ is the point here: what it keeps when something breaks."""

import pytest


@pytest.fixture
def url(rabbitmq_url: str) -> str:
    return rabbitmq_url
