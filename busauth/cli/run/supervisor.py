"""Keeps workers alive: starts them, starts them again, lets them drain; it knows no bus itself."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from busauth._amqp.readiness import Readiness
from busauth.cli.options import Exit
from busauth.cli.run.lives import Lives, Pace
from busauth.cli.run.process import Life, Patience

Tell = Callable[[str], None]

HOPELESS = 78
"""What a worker ends with whom another start would not help: EX_CONFIG of sysexits.h."""

_HOPELESS = frozenset({HOPELESS, Exit.USAGE})
_STOPPING = "the service is stopping"


class GaveUpError(Exception):
    """A worker does not come up, time after time: why, for people."""


class Supervisor:
    """Several workers, a process each.

    Args:
        command: starts one of them.
        workers: how many.
        tell: is told, in sentences, what becomes of them.
        pace: how fast they are started again.
        patience: how long they are waited for.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        *,
        tell: Tell,
        pace: Pace | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._tell = tell
        self._hurried = asyncio.Event()
        terms = _Terms(command, tell, self._hurried, patience or Patience())
        numbers = range(1, workers + 1)
        self._places = [_Place(number, Lives(pace or Pace()), terms) for number in numbers]
        self._is_stopping = False
        self._renewing: asyncio.Task[None] | None = None
        self._is_due = False  # to start them anew, once more where that goes on

    @property
    def ready(self) -> Readiness:
        """Return whether every worker is ready, as each has said."""
        own = (_STOPPING,) if self._is_stopping else ()
        return Readiness((*own, *(doubt for place in self._places for doubt in place.doubts())))

    async def run(self) -> bool:
        """Keep them alive until a signal says otherwise; return whether all of them drained.

        Raises:
            GaveUpError: one did not come up; the others have drained.
        """
        with self._told_by_signals():
            kept = await asyncio.gather(*map(self._keep, self._places), return_exceptions=True)
            if self._renewing is not None:
                self._renewing.cancel()
        for fault in kept:
            if isinstance(fault, BaseException):
                raise fault
        return all(kept)

    def stop(self) -> None:
        """Let them drain; said again, let them break off."""
        if self._is_stopping:
            self._hurried.set()
            return
        self._is_stopping = True
        for place in self._places:
            place.stop()

    def renew(self) -> None:
        """Start each of them anew, one after the other, each once the one before is ready.

        Said again meanwhile, all of them once more: who has begun already has not what came since.
        """
        self._is_due = True
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_each())

    async def _renew_each(self) -> None:
        while self._is_due:
            self._is_due = False
            for place in self._places:
                await place.renewed()
        self._tell("all workers were started anew")

    async def _keep(self, place: "_Place") -> bool:
        try:
            return await place.keep()
        finally:  # one that is given up, or whatever else is wrong here, ends the others, too
            if not self._is_stopping:
                self.stop()

    @contextmanager
    def _told_by_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        told = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self.renew}
        for number, tell in told.items():
            loop.add_signal_handler(number, tell)
        try:
            yield
        finally:
            for number in told:
                loop.remove_signal_handler(number)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What holds for all workers; see `Supervisor`."""

    command: Sequence[str]
    tell: Tell
    hurried: asyncio.Event
    patience: Patience


class _Place:
    """Where a worker is, and the next one after it."""

    def __init__(self, number: int, lives: Lives, terms: _Terms) -> None:
        self._number, self._lives, self._terms = number, lives, terms
        self._life: Life | None = None
        self._is_stopping = False
        self._asked = asyncio.Event()  # to end, whether another one follows or not
        self._readied = asyncio.Event()

    def doubts(self) -> Iterator[str]:
        doubts = ("not running",) if self._life is None else self._life.doubts()
        yield from (f"worker {self._number}: {doubt}" for doubt in doubts)

    def stop(self) -> None:
        self._is_stopping = True
        self._asked.set()

    async def renewed(self) -> None:
        """Ask for another one, and return once that is ready."""
        self._readied.clear()
        self._asked.set()
        await self._readied.wait()

    async def keep(self) -> bool:
        """Keep one alive until it shall stop; return whether the last one drained.

        Raises:
            GaveUpError: none comes up.
        """
        has_drained = True
        while not self._is_stopping:
            self._asked.clear()
            has_drained = await self._lived()
        return has_drained

    async def _lived(self) -> bool:
        """Live through one life; return whether it drained, where it was asked to end."""
        try:
            life = self._life = await Life.begun(self._terms.command, self._number)
        except OSError as error:
            await self._rest(f"cannot be started ({error.strerror})", self._lives.ended(0))
            return True
        ended = asyncio.create_task(life.ended(self._came_up))
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if self._asked.is_set():
            await life.end(self._terms.hurried, self._terms.patience)
        code, self._life = await ended, None
        if self._asked.is_set():
            return self._has_drained(life, code)
        is_hopeless = code in _HOPELESS
        pause = self._lives.ended(life.seconds, was_ready=life.was_ready, is_hopeless=is_hopeless)
        await self._rest(f"(process {life.pid}) {_told(code)}", pause)
        return True

    def _came_up(self) -> None:
        self._lives.came_up()
        if not self._asked.is_set():  # it ends already: the next one is waited for
            self._readied.set()

    def _has_drained(self, life: Life, code: int) -> bool:
        # One that has not begun yet ends by the signal itself: nothing of it is to be drained.
        if code == 0 or (not life.was_ready and code == -signal.SIGTERM):
            return True
        self._terms.tell(
            f"worker {self._number} (process {life.pid}) did not drain, and {_told(code)}: what it "
            "had not finished stays with the broker"
        )
        return False

    async def _rest(self, what: str, pause: float | None) -> None:
        if pause is None:
            raise GaveUpError(
                f"worker {self._number} {what}, and none is started again: never ready "
                f"{self._lives.unready} times in a row; why stands above"
            )
        self._terms.tell(f"worker {self._number} {what}: another one starts in {pause:g} s")
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._asked.wait()


def _told(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a signal in real time, which has no name
        return f"was ended by signal {-code}"
