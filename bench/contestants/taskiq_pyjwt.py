"""(d) taskiq on aio-pika with a middleware that calls PyJWT.

A message whose check fails stays unacknowledged until the connection ends: taskiq has no answer to
an error in a middleware. Its task takes the body as a model, as the handler of (f) does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from taskiq import TaskiqMessage, TaskiqMiddleware
from taskiq.receiver import Receiver
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

from bench import messages
from bench.contestants.base import PyJWT, Setting

_WORKER_TASKS = 100
"""What taskiq's worker runs at once unless told otherwise."""


class Checked(TaskiqMiddleware):
    """Lets no bad token pass."""

    def __init__(self, pyjwt: PyJWT) -> None:
        super().__init__()
        self._pyjwt = pyjwt

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Check the token before the task runs."""
        self._pyjwt.check(message.labels[messages.HEADER])
        return message


class Contestant:
    """A worker as taskiq's command line makes it, in this process."""

    checks: ClassVar = True

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._pyjwt = PyJWT(setting)

    @property
    def checked(self) -> int:
        """Return how many tokens were accepted."""
        return self._pyjwt.accepted

    @asynccontextmanager
    async def consuming(self, queue: str) -> AsyncIterator[None]:
        """Consume a queue while inside."""
        broker = self._broker(queue)
        beyond = self._setting.prefetch - _WORKER_TASKS
        receiver = Receiver(broker, max_async_tasks=_WORKER_TASKS, max_prefetch=beyond)
        finish = asyncio.Event()
        listening = asyncio.create_task(receiver.listen(finish))
        try:
            yield
        finally:
            finish.set()
            await listening
            await broker.shutdown()

    def _broker(self, queue: str) -> AioPikaBroker:
        broker = AioPikaBroker(
            self._setting.url,
            qos=self._setting.prefetch,
            exchange=Exchange(name="amq.topic", declare=False),
            task_queues=[Queue(name=queue, declare=False)],
            dead_letter_queue=Queue(name=f"{queue}.dead", declare=False),
        ).with_middlewares(Checked(self._pyjwt))
        broker.is_worker_process = True
        handled = self._setting.handled

        @broker.task(task_name=messages.TASK)
        async def place_order(order: messages.Order) -> Any:
            handled()

        return broker
