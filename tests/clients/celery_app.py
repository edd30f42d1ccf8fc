"""A Celery application for workers in processes of their own, with a broker named from outside."""

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery  # type: ignore[import-untyped]

BROKER, PREFIX = "CLIENT_TEST_BROKER", "CLIENT_TEST_PREFIX"


def application(broker: str, prefix: str) -> Any:
    """Settings that keep names apart; the rest is as Celery has it."""
    app = Celery("shop", broker=broker, backend="rpc://", set_as_current=False)
    app.conf.update(
        task_default_queue=f"{prefix}.q",
        event_queue_prefix=f"{prefix}.event",
        control_exchange=f"{prefix}.control",
        event_exchange=f"{prefix}.event",
        result_exchange=f"{prefix}.result",
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )
    return app


app = application(os.environ.get(BROKER, "amqp://"), os.environ.get(PREFIX, "celery"))


@app.task(name="add")  # type: ignore[untyped-decorator]
def add(left: int, right: int) -> int:
    return left + right


@app.task(name="fail")  # type: ignore[untyped-decorator]
def fail(reason: str) -> None:
    raise ValueError(reason)


@app.task(name="flaky", bind=True, max_retries=3)  # type: ignore[untyped-decorator]
def flaky(self: Any, failures: int) -> list[int]:
    """Fails a few times; each attempt comes later than the one before."""
    if self.request.retries < failures:
        raise self.retry(countdown=0.1)
    return [self.request.retries, self.request.delivery_info["redelivered"]]


@app.task(name="once", bind=True, acks_late=True, reject_on_worker_lost=True)  # type: ignore[untyped-decorator]
def once(self: Any, marker: str) -> bool:
    """Hangs the first time; says whether it was redelivered."""
    started = Path(marker)
    if not started.exists():
        started.touch()
        time.sleep(600)
    return bool(self.request.delivery_info["redelivered"])
