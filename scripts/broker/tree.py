"""A RabbitMQ of today on an older Debian: in a tree of its own, which its programs see as `/`."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

# In a mount namespace of its own, which ends with its process: nothing is left to unmount, and
# whoever removes files out here cannot reach what is bound there. The process id stays.
ENTER = """
mount --bind /proc "$0/proc"
mount --rbind /dev "$0/dev"
mount --bind /tmp "$0/tmp"
mkdir -p "$0$1"
mount --bind "$1" "$0$1"
root=$0
shift
exec chroot "$root" "$@"
"""
ALONE = ("unshare", "--mount", "--propagation", "private")


@dataclass(frozen=True)
class Tree:
    """A folder that holds a Debian with RabbitMQ; folders for temporary files are everybody's."""

    root: Path

    def broker(self) -> list[str]:
        """The command of the server."""
        return self._inside("/usr/lib/rabbitmq/bin/rabbitmq-server")

    def control(self) -> list[str]:
        """The command of `rabbitmqctl`."""
        return self._inside("/usr/lib/rabbitmq/bin/rabbitmqctl")

    def epmd(self) -> list[str]:
        """The command of its Erlang's port mapper."""
        return self._inside("/usr/bin/epmd")

    def _inside(self, program: str) -> list[str]:
        return [*ALONE, "sh", "-ec", ENTER, str(self.root), tempfile.gettempdir(), program]
