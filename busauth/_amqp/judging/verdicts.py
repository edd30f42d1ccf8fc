"""What a consumer would do with a message, told to whoever has it in hand."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from busauth._amqp.judging.received import Received
from busauth._messages.proof import Proven
from busauth.caller import Caller
from busauth.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A message to publish in place of the one in hand, before that is acknowledged.

    Publish it on the default exchange with `queue` as its routing key, ``mandatory``, on a channel
    with publisher confirms, and wait until the broker has confirmed that it was routed. Change
    nothing of it: where its consumer seals, a seal covers all of it.

    Attributes:
        queue: where it goes: ``<queue>.dead``, ``.rejected``, ``.parked``, or back.
        body: its bytes.
        headers: its headers table: the reason, and what a redrive or a release needs.
        properties: all others of its properties, by AMQP's names; `timestamp` in seconds.
    """

    queue: str
    body: bytes = field(repr=False)
    headers: Mapping[str, Any] = field(repr=False)
    properties: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a consumer would do: it is an `Accepted`, a `Refusal`, `Held` or `NotNow`.

    Attributes:
        copy: what to publish, inside of the block, before the message is acknowledged; None where
            nothing takes over from it.
    """

    copy: Copy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Outcome):
    """Its work may be done, inside of the block; after that, acknowledge.

    Attributes:
        caller: for whom; also found by `publish` in the block, and ended with it.
        proven: who published it, and when, where a proof says so.
        attempt: which attempt this is, from 1 on; without a seal, a hint of its sender's.
    """

    caller: Caller
    proven: Proven | None = None
    attempt: int = 1
    _failed: Callable[[Exception], Awaitable[Outcome]] | None = field(
        default=None, repr=False, compare=False
    )

    async def failed(self, error: Exception) -> Outcome:
        """Say that its work failed, and return what a consumer does then.

        The caller's lease ends with this. What is returned has a copy as a rule: for the dead
        letters, or for another attempt where the rules say `OnError.RETRY`.

        Args:
            error: why; a `Reject` says that no other attempt would succeed.

        Raises:
            ConfigurationError: it was said already, the block is over, or it is no exception.
        """
        if self._failed is None:
            raise ConfigurationError("failed(...): expected what a judge has accepted")
        return await self._failed(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(Outcome):
    """Its work must not be done: publish the copy, if there is one, then acknowledge.

    There is none where it was handled before (``replay.duplicate``), or a policy discards it.

    Attributes:
        code: the stable code, as docs/refusals.md lists them.
        detail: the evidence as one line, without a token.
    """

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Outcome):
    """Late, and to wait for its caller: publish the copy, then acknowledge.

    Attributes:
        copy: what is parked, for a release.
        code: ``token.expired``.
        detail: the evidence as one line, without a token.
    """

    copy: Copy
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNow(Outcome):
    """It cannot be decided now, and is not guilty of it: stop consuming, give it back, and wait.

    Attributes:
        reason: what is out of reach, for people.
        seconds: how long a consumer would pause, longer each time in a row.
    """

    reason: str
    seconds: float


class Judge(ABC):
    """Judges one queue's messages for whoever has them in hand; `Guard.judge` makes it.

    ```python
    judge = guard.judge(queue="orders.placed", scopes={"orders:write"})

    async with judge(message) as judged:
        match judged:
            case Accepted(caller=caller):
                ...  # do its work
            case Refusal(copy=copy) | Held(copy=copy):
                ...  # publish the copy, if there is one, and wait until that is confirmed
    ...  # acknowledge; after `NotNow`, and whatever was raised: give back
    ```

    Inside of the block stands what must be done before the message is acknowledged. Left without an
    error, it is noted as done in the replay memory. Left with one, it is not: what was accepted is
    forgotten there, as where a handler puts its message back, and may come again. What is cancelled
    in its block stays in flight there, and comes again as a redelivery. Each message has a slot of
    its queue's `concurrency` for as long as its work goes on.

    Two blocks at once for one message are two deliveries. With a replay memory the second one is a
    copy, and refused; as a redelivery it is `NotNow` until the first block is over, as nobody here
    knows whether the first one's connection is gone. Without a memory both are accepted.

    Attributes:
        queue: whose messages it judges.
    """

    queue: str

    def __repr__(self) -> str:
        return f"<Judge of messages from {self.queue!r}>"

    @abstractmethod
    def __call__(
        self, message: Received | AbstractIncomingMessage
    ) -> AbstractAsyncContextManager[Outcome]:
        """Return what judges one message as it is entered, in the task that goes on with it.

        Entering it raises a ConfigurationError where it was entered before, or where the guard's
        consumers run in another thread's event loop. Leaving it raises `Deferred` where the
        program itself failed as it was to be settled: then give the message back, too.

        Args:
            message: aio-pika's, or another client's as a `Received`.

        Raises:
            ConfigurationError: it was settled already, came from another queue, or is no message.
        """
