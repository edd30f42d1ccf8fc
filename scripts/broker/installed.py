"""Where an installed RabbitMQ and its Erlang are."""

import itertools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from scripts.broker.telling import BrokerError

SERVERS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
)
# Where Erlang and the shell's own tools are, whatever PATH the caller has.
TOOL_FOLDERS = (
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/erlang/bin",
    "/usr/local/bin",
    "/usr/local/opt/erlang/bin",
    "/usr/bin",
    "/bin",
    "/usr/lib/erlang/bin",
    "/usr/sbin",
)


def search_path() -> str:
    """PATH, and the folders that hold Erlang on the systems we know."""
    return os.pathsep.join([*filter(None, [os.environ.get("PATH")]), *TOOL_FOLDERS])


def installed_server() -> Path | None:
    """The server script of an installed RabbitMQ that any user may run."""
    known = itertools.chain.from_iterable(sorted(Path("/").glob(name[1:])) for name in SERVERS)
    on_path = map(Path, filter(None, [shutil.which("rabbitmq-server")]))
    return next(filter(is_runnable, itertools.chain(known, on_path)), None)


@dataclass(frozen=True)
class Installed:
    """A RabbitMQ that is installed, with an Erlang beside it."""

    script: Path

    def broker(self) -> list[str]:
        """The command of the server."""
        return [str(self.script)]

    def control(self) -> list[str]:
        """The command of `rabbitmqctl`."""
        return [str(self.script.with_name("rabbitmqctl"))]

    def epmd(self) -> list[str]:
        """The command of Erlang's port mapper; raises `BrokerError` when it is not found."""
        return [find_epmd()]


def is_runnable(script: Path) -> bool:
    """Whether this is no wrapper like Debian's, which demands to be root or ``rabbitmq``."""
    return os.access(script, os.X_OK) and script.resolve().name != "rabbitmq-script-wrapper"


def find_epmd() -> str:
    """Erlang's port mapper, which some systems keep off PATH."""
    erl = shutil.which("erl", path=search_path())
    if erl is None:
        raise BrokerError("RabbitMQ is installed, but Erlang's `erl` is not on PATH.")
    beside = Path(erl).resolve().parent
    folders = [search_path(), str(beside), *map(str, sorted(beside.parent.glob("erts-*/bin")))]
    epmd = shutil.which("epmd", path=os.pathsep.join(folders))
    if epmd is None:
        raise BrokerError(f"RabbitMQ is installed, but Erlang's `epmd` is not near {beside}.")
    return epmd
