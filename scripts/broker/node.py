"""A RabbitMQ of one's own, which can be stopped, killed and started again."""

import signal
from collections.abc import Callable, Iterable
from typing import Self

from scripts.broker.daemon import Daemon
from scripts.broker.ports import LOOPBACK, accepts, answers_amqp, free_ports
from scripts.broker.reaper import Reaper
from scripts.broker.server import Server, at_hand
from scripts.broker.settings import environment, furnish
from scripts.broker.telling import BrokerError


class PrivateNode:
    """A RabbitMQ of one's own, on loopback ports; a context manager that starts and closes it.

    `start`, `stop`, `restart` and `kill` keep ports, URL and data; `close` removes everything.
    `check` is called while `start` waits, and may raise to give up. Raises `BrokerError` when
    RabbitMQ is not installed, or does not come up within 90 seconds. `settings` are further lines
    of its rabbitmq.conf, `plugins` are enabled; `server` is what runs, by default the RabbitMQ at
    hand.
    """

    def __init__(
        self,
        check: Callable[[], None] = lambda: None,
        *,
        server: Server | None = None,
        settings: Iterable[str] = (),
        plugins: Iterable[str] = (),
    ) -> None:
        found = server or at_hand()
        if found is None:
            raise BrokerError("a private node needs an installed RabbitMQ, and none was found.")
        self._program = found
        self._check = check
        self._settings, self._plugins = settings, plugins
        self.port, self._dist_port, self._epmd_port = free_ports(3)
        self.url = f"amqp://guest:guest@{LOOPBACK}:{self.port}/"
        self._reaper: Reaper | None = None
        self._epmd: Daemon | None = None
        self._server: Daemon | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Returns when the broker answers AMQP; does nothing when it runs already."""
        if self._server is not None and self._server.runs():
            return
        self.kill()
        try:
            self._start(self._reaper or self._furnished())
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Ends the broker in order, as an operator would; its data stay."""
        if self._server is not None:
            self._server.end(signal.SIGTERM)
        if self._epmd is not None:
            self._epmd.end(signal.SIGKILL)
        self._server = self._epmd = None

    def restart(self) -> None:
        """Stops and starts the broker on the same data, ports and URL."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Ends the broker with SIGKILL, as a crash would; its data stay, `start` revives it."""
        if self._server is not None:
            self._server.end(signal.SIGKILL)
        self._server = None

    def close(self) -> None:
        """Ends the broker and removes its data; nothing of it is left."""
        self.stop()
        if self._reaper is not None:
            self._reaper.close()
        self._reaper = None

    def control(self) -> list[str]:
        """The command of a `rabbitmqctl` for this node, once it was started."""
        if self._reaper is None:
            raise BrokerError("nothing controls a node that was not started.")
        told = [f"{name}={value}" for name, value in self._environment(self._reaper).items()]
        return ["env", "-i", *told, *self._program.control()]

    def _environment(self, reaper: Reaper) -> dict[str, str]:
        return environment(reaper.folder, self.port, self._dist_port, self._epmd_port)

    def _furnished(self) -> Reaper:
        self._reaper = Reaper()
        furnish(self._reaper.folder, self.port, self._settings, self._plugins)
        return self._reaper

    def _start(self, reaper: Reaper) -> None:
        env = self._environment(reaper)
        if self._epmd is None:
            command = [*self._program.epmd(), "-port", str(self._epmd_port), "-address", LOOPBACK]
            self._epmd = Daemon("epmd", command, env, reaper)
            self._epmd.until_ready(lambda: accepts(self._epmd_port), self._check)
        self._server = Daemon("server", self._program.broker(), env, reaper)
        self._server.until_ready(lambda: answers_amqp(self.port), self._check)
