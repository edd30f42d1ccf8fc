"""Which RabbitMQ a private node runs: the one of a tree that is named, or an installed one."""

import os
from pathlib import Path
from typing import Protocol

from scripts.broker.installed import Installed, installed_server
from scripts.broker.telling import TREE
from scripts.broker.tree import Tree


class Server(Protocol):
    """How the programs of a RabbitMQ are run."""

    def broker(self) -> list[str]:
        """The command of the server itself."""
        ...

    def control(self) -> list[str]:
        """The command of `rabbitmqctl`."""
        ...

    def epmd(self) -> list[str]:
        """The command of Erlang's port mapper; raises `BrokerError` when it is not found."""
        ...


def at_hand() -> Server | None:
    """The RabbitMQ of the tree that ``BUSAUTH_RABBITMQ_TREE`` names, else an installed one."""
    if named := os.environ.get(TREE):
        return Tree(Path(named))
    script = installed_server()
    return None if script is None else Installed(script)
