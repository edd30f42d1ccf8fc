"""What runs while `busauth dev` does: broker, issuer, edge, and buses, anew after each change."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from yarl import URL

from busauth._amqp.bus import Bus
from busauth._tokens.keys.development import ISSUER_PATH
from busauth.audit import Event, EventKind
from busauth.caller import Actor
from busauth.cli.dev.edge import EDGE_PATH, Edge
from busauth.cli.dev.process import Orders, running
from busauth.cli.dev.rows import BrokerRows, Tone, decided, note
from busauth.cli.dev.terminal import Terminal
from busauth.cli.dev.timeline import Timeline
from busauth.cli.dev.watching import watched
from busauth.cli.dev.web.gate import PORT
from busauth.cli.dev.web.routes import DevIssuer, port_of
from busauth.cli.options import fail
from busauth.testing.broker import Broker
from busauth.testing.broker.model.journal import Record
from busauth.testing.issuer import IssuerServer

EXAMPLE = "busauth.cli.dev.example:bus"
_HOST = "127.0.0.1"
_CURL = """\
curl http://{place}/publish/orders.placed -d '{{"item": "teapot"}}' \\
  -H "Authorization: Bearer $(busauth token alice --scope orders:write --lifetime 5{url})\""""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes:
        targets: each a ``module:bus``; none for the example.
        url: a broker on loopback; None for the embedded one.
        port: of page, issuer and edge.
        amqp_port: of the embedded broker.
    """

    targets: tuple[str, ...]
    url: str | None
    port: int
    amqp_port: int


class Stage:
    """Everything but the processes of the buses themselves.

    Args:
        plan: what is asked for.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._terminal = Terminal()
        self._timeline = Timeline(self._terminal.show)
        self._issuer = DevIssuer(self._timeline)
        self._targets = plan.targets or (EXAMPLE,)
        self._about: dict[str, Mapping[str, Any]] = {}  # what each target's bus tells of itself
        self._broker_rows = BrokerRows()
        self._stopped = asyncio.Event()

    async def perform(self) -> None:
        """Run until a signal comes."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):  # before it listens: who sees it may end it
            loop.add_signal_handler(number, self._stopped.set)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._server())  # first: the issuer's name has its port
            broker = self._plan.url
            if broker is None:
                broker = await stack.enter_async_context(self._broker())
            edge = Edge(self._issuer, broker, self._timeline.add, self._queues)
            if not await self._is_entered(stack, edge.bus):
                return
            edge.open()
            self._issuer.edge = edge.answer
            folder = Path.cwd() if self._plan.targets else None  # the example's file is nobody's
            changed = await stack.enter_async_context(watched(folder))
            self._greet(broker)
            await self._keep_running(broker, changed)
            self._timeline.settle()
            self._terminal.say("Ending.", "dim")

    async def _is_entered(self, stack: AsyncExitStack, bus: Bus) -> bool:
        """Connect, unless a signal comes first: a broker that does not answer takes its time."""
        entering = asyncio.ensure_future(stack.enter_async_context(bus))
        await self._first_of(entering, self._stopped.wait())
        await asyncio.wait((entering,))
        return not entering.cancelled() and entering.result() is bus

    @asynccontextmanager
    async def _broker(self) -> AsyncIterator[str]:
        broker = Broker(host=_HOST, port=self._plan.amqp_port)
        try:
            await broker.start()
        except OSError as error:
            _fail_taken(self._plan.amqp_port, "--amqp-port", error)
        broker.node.journal.listen(self._moved)
        try:
            yield broker.url
        finally:
            await broker.stop()

    def _server(self) -> IssuerServer:
        try:
            server = IssuerServer(self._issuer, host=_HOST, port=self._plan.port, remembers=False)
        except OSError as error:
            _fail_taken(self._plan.port, "--port", error)
        self._issuer.url += ISSUER_PATH
        return server

    def _greet(self, broker: str) -> None:
        place = URL(broker)
        kind = "your own" if self._plan.url else "embedded, in memory"
        here = f"http://{_HOST}:{port_of(self._issuer)}"
        places = {
            "page": f"{here}/  (mints tokens; this timeline)",
            "issuer": self._issuer.url,
            "broker": f"amqp://{place.host}:{place.port}  ({kind})",
            "edge": f"POST {here}{EDGE_PATH}<queue>",
            "bus": ", ".join(self._plan.targets) or "the example, busauth/cli/dev/example.py:",
        }
        self._terminal.greet(places)
        if not self._plan.targets:
            self._terminal.example()

    # --- the buses ------------------------------------------------------------------------------

    async def _keep_running(self, broker: str, changed: asyncio.Event) -> None:
        while not self._stopped.is_set():
            changed.clear()
            over = asyncio.Event()
            async with asyncio.TaskGroup() as group:  # together, so that their ends take one while
                for target in self._targets:
                    group.create_task(self._run(target, broker, over))
                await self._first_of(changed.wait(), self._stopped.wait())
                over.set()
            if not self._stopped.is_set():
                which = "the buses start" if len(self._targets) > 1 else "the bus starts"
                self._note(f"a file has changed: {which} anew, the queues are as they were")

    async def _run(self, target: str, broker: str, over: asyncio.Event) -> None:
        orders = Orders(
            target=target,
            broker=broker,
            issuer=self._issuer.url,
            declares=self._plan.url is None,  # nobody else has been there
        )
        async with running(orders, partial(self._heard, target)) as process:
            await self._first_of(process.wait(), over.wait())
        if not over.is_set():
            which = target if len(self._targets) > 1 else "the bus"
            words = f"{which} ended with {process.returncode}; it starts again after a change"
            self._note(words, Tone.BAD)

    @staticmethod
    async def _first_of(*awaited: Any) -> None:
        tasks = [asyncio.ensure_future(each) for each in awaited]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    def _heard(self, target: str, said: Mapping[str, Any]) -> None:
        if "about" in said:
            self._learned(target, said["about"])
        elif "ready" in said:
            taken = tokens_taken(said["ready"], self._issuer.url)
            self._note(f"{self._about[target]['bus']}; {taken}")
            self._invite()
        else:
            self._decided(said["event"])

    def _invite(self) -> None:
        """Say what to try with the example, once it can be tried."""
        if not self._plan.targets:
            port = port_of(self._issuer)
            url = "" if port == PORT else f" --url http://{_HOST}:{port}"
            self._timeline.settle()
            self._terminal.invite(_CURL.format(place=f"{_HOST}:{port}", url=url))

    def _decided(self, said: Mapping[str, Any]) -> None:
        actors = tuple(Actor(**each) for each in said["actors"])
        event = Event(**{**said, "kind": EventKind(said["kind"]), "actors": actors})
        # The embedded broker tells that itself, and where to.
        if self._plan.url or event.kind is not EventKind.PUBLISHED:
            self._timeline.add(decided(event))

    def _learned(self, target: str, about: Mapping[str, Any]) -> None:
        self._about[target] = about
        self._issuer.adapt([self._about[each] for each in self._targets if each in self._about])

    def _queues(self) -> list[str]:
        return sorted({queue for about in self._about.values() for queue in about["queues"]})

    # --- what happens ---------------------------------------------------------------------------

    def _moved(self, record: Record) -> None:
        row = self._broker_rows.row(record)
        if row is not None:
            self._timeline.add(row)

    def _note(self, text: str, tone: Tone = Tone.NOTE) -> None:
        self._timeline.add(note(text, time.time(), tone))


def _fail_taken(port: int, option: str, error: OSError) -> NoReturn:
    reason = error.strerror or error
    fail(f"cannot listen on {_HOST}:{port} ({reason}): does another one run? Try {option}")


def tokens_taken(named: str, issuer: str) -> str:
    """Say whose tokens a bus takes here, where its guard names somebody."""
    return "it takes this issuer's tokens" + (f", and none of {named}" if named != issuer else "")
