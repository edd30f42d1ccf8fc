"""Runs a command with a RabbitMQ: ``python scripts/broker.py [--ways W,W] -- CMD ARGS...``.

CMD finds the broker's URL in ``BUSAUTH_AMQP_URL``; the exit code is CMD's. Without a command the
URL is printed and the broker runs until a signal. The ways to a broker, in order:

1. ``url``: ``BUSAUTH_AMQP_URL``, when it is set already.
2. ``node``: a private node of an installed RabbitMQ, with its own ports, folder, cookie and epmd.
3. ``apt``: ``apt-get install rabbitmq-server``, where root on Debian or Ubuntu; then as 2.
4. ``docker``: ``docker compose up`` of this repository's ``compose.yaml``.

When none is open, one sentence names them and the exit code is 1; nothing is ever skipped.
``--ways`` names the ways that may be tried. Whatever a run started is gone when it ends, also
after a signal; what a SIGKILL of this runner leaves is removed by a small second process.

Tests that need to stop and start a broker import `PrivateNode`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import math
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import IO, Self
from urllib.parse import SplitResult, urlsplit

VARIABLE = "BUSAUTH_AMQP_URL"
LOOPBACK = "127.0.0.1"
NO_WAY = (
    f"no broker found: set {VARIABLE} to a broker's URL, or install RabbitMQ (apt-get install "
    "rabbitmq-server, brew install rabbitmq), or run this as root on Debian or Ubuntu, where "
    "apt-get installs it by itself, or start Docker with its compose plugin."
)

READY_SECONDS = 90.0
STOP_SECONDS = 30.0
INIT_SECONDS = 2.0
COMMAND_GRACE_SECONDS = 15.0
CONNECT_SECONDS = 5.0
LOG_TAIL_LINES = 15

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
)
APT = (
    ("apt-get", "-qq", "update"),
    ("apt-get", "-qq", "install", "-y", "--no-install-recommends", "rabbitmq-server"),
)
COMPOSE = ("docker", "compose", "-f", str(Path(__file__).resolve().parent.parent / "compose.yaml"))
COMPOSE_URL = f"amqp://guest:guest@{LOOPBACK}:5672/"

# Below every system's ephemeral range: while a broker restarts, no client's own socket can take
# its port. Starting from the process id keeps two runs at once apart.
PORTS = range(10_000, 16_000)
_port_offsets = itertools.count(os.getpid() * 3)


class BrokerError(Exception):
    """No broker can be had; the text is one sentence for the user."""


class Interrupted(Exception):  # noqa: N818 - a signal is no error
    """A signal came before the command was started."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Remembers signals instead of raising, so that nothing is started and left unrecorded."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._pending: int | None = None

    def install(self) -> None:
        """Listens, except for signals which the caller has us ignore (``nohup``, ``&``)."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._remember)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = self._pending = number

    def take(self) -> int | None:
        """The signal that nobody took yet."""
        number, self._pending = self._pending, None
        return number

    def check(self) -> None:
        """Raises `Interrupted` once a signal came."""
        if self.received is not None:
            raise Interrupted(self.received)


def say(text: str, *, end: str = "\n") -> None:
    """Tells the user on stderr; stdout belongs to the command."""
    print(f"RabbitMQ: {text}", end=end, file=sys.stderr, flush=True)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for a condition; returns whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return true


def tail(log: Path) -> str:
    """The last lines of a log, indented."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return "".join(f"\n    {line}" for line in lines[-LOG_TAIL_LINES:])


# --- Sockets ---------------------------------------------------------------------------------


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((LOOPBACK, port))
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Different free ports; each is offered to one caller of this process only."""
    candidates = (PORTS[n % len(PORTS)] for n in itertools.islice(_port_offsets, len(PORTS)))
    found = list(itertools.islice(filter(is_free, candidates), count))
    if len(found) < count:
        raise BrokerError(f"no free ports between {PORTS.start} and {PORTS.stop}.")
    return found


def accepts(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), CONNECT_SECONDS):
        return True
    return False


def answers_amqp(port: int) -> bool:
    """Whether a broker answers the AMQP 0-9-1 header with Connection.Start."""
    try:
        with socket.create_connection((LOOPBACK, port), CONNECT_SECONDS) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            with connection.makefile("rb") as answer:
                frame = answer.read(11)
    except OSError:
        return False
    return frame[:3] == b"\x01\x00\x00" and frame[7:] == b"\x00\x0a\x00\x0a"


# --- The reaper: a second process, for the case that this one is killed ------------------------


class Reaper:
    """Removes a folder, and the process groups still noted, once its owner closes it or is gone."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve()), "--reap", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def note(self, group: int) -> None:
        """From now on this process group is killed at the end."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """The group has ended; its number may soon belong to somebody else."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.write(line)
                pipe.flush()

    def close(self) -> None:
        """Returns when the folder is gone."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()


def reap(folder: Path, lines: Iterable[str]) -> None:
    """What the reaper does: reads notes until its owner is gone, then cleans up."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        kill_group(group)
    until(lambda: all(map(released, folder.glob("*.log"))), STOP_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def kill_group(group: int) -> None:
    """Ends every process of a group at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def released(log: Path) -> bool:
    """Whether every process that writes to a log has ended.

    Erlang's helpers leave their parent's process group; the lock that they inherit with the log
    tells that they are gone, on every system and without a look at other people's processes.
    """
    with log.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def descendants(process: int) -> list[int]:
    """The processes under a process, where the system tells (Linux)."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    children = [int(child) for child in text.split()]
    return children + [below for child in children for below in descendants(child)]


def await_init(processes: Iterable[int]) -> None:
    """Gives init a moment to bury ended orphans, which would still be listed by ``ps``."""
    entries = [Path(f"/proc/{process}") for process in processes]
    until(lambda: not any(entry.exists() for entry in entries), INIT_SECONDS)


# --- A private node --------------------------------------------------------------------------


def search_path() -> str:
    """PATH, and the folders that hold Erlang on the systems we know."""
    return os.pathsep.join([*filter(None, [os.environ.get("PATH")]), *TOOL_FOLDERS])


def installed_server() -> Path | None:
    """The server script of an installed RabbitMQ that any user may run."""
    known = itertools.chain.from_iterable(sorted(Path("/").glob(name[1:])) for name in SERVERS)
    on_path = map(Path, filter(None, [shutil.which("rabbitmq-server")]))
    return next(filter(is_runnable, itertools.chain(known, on_path)), None)


def is_runnable(script: Path) -> bool:
    """Whether this is no wrapper like Debian's, which demands to be root or ``rabbitmq``."""
    return os.access(script, os.X_OK) and script.resolve().name != "rabbitmq-script-wrapper"


def find_epmd() -> Path:
    """Erlang's port mapper, which some systems keep off PATH."""
    beside = shutil.which("erl", path=search_path())
    if beside is None:
        raise BrokerError("RabbitMQ is installed, but Erlang's `erl` is not on PATH.")
    folder = Path(beside).resolve().parent
    candidates = [folder / "epmd", *sorted(folder.parent.glob("erts-*/bin/epmd"))]
    on_path = shutil.which("epmd", path=search_path())
    found = on_path or next((str(path) for path in candidates if path.exists()), None)
    if found is None:
        raise BrokerError(f"RabbitMQ is installed, but Erlang's `epmd` is not near {folder}.")
    return Path(found)


class PrivateNode:
    """A RabbitMQ of one's own, on loopback ports; a context manager that starts and closes it.

    `start`, `stop`, `restart` and `kill` keep ports, URL and data; `close` removes everything.
    `check` is called while `start` waits, and may raise to give up. Raises `BrokerError` when
    RabbitMQ is not installed, or does not come up within 90 seconds.
    """

    def __init__(
        self, script: Path | None = None, check: Callable[[], None] = lambda: None
    ) -> None:
        found = script or installed_server()
        if found is None:
            raise BrokerError("a private node needs an installed RabbitMQ, and none was found.")
        self._script = found
        self._check = check
        self.port, self._dist_port, self._epmd_port = free_ports(3)
        self.url = f"amqp://guest:guest@{LOOPBACK}:{self.port}/"
        self._folder: Path | None = None
        self._reaper: Reaper | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Returns when the broker answers AMQP; does nothing when it runs already."""
        if self._server is not None and self._server.poll() is None:
            return
        self.kill()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Ends the broker in order, as an operator would; its data stay."""
        self._end(self._server, signal.SIGTERM)
        self._end(self._epmd, signal.SIGKILL)
        self._server = self._epmd = None

    def restart(self) -> None:
        """Stops and starts the broker on the same data, ports and URL."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Ends the broker with SIGKILL, as a crash would; its data stay, `start` revives it."""
        self._end(self._server, signal.SIGKILL)
        self._server = None

    def close(self) -> None:
        """Ends the broker and removes its data; nothing of it is left."""
        self.stop()
        if self._reaper is not None:
            self._reaper.close()
        self._folder = self._reaper = None

    def _start(self) -> None:
        folder = self._folder = self._folder or self._furnish()
        self._reaper = self._reaper or Reaper(folder)
        if self._epmd is None:
            command = [str(find_epmd()), "-port", str(self._epmd_port), "-address", LOOPBACK]
            self._epmd = self._spawn(command, folder / "epmd.log")
            self._await(self._epmd, lambda: accepts(self._epmd_port), folder / "epmd.log")
        self._server = self._spawn([str(self._script)], folder / "server.log")
        self._await(self._server, lambda: answers_amqp(self.port), folder / "server.log")

    def _furnish(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="busauth-rabbitmq-"))
        (folder / "conf.d").mkdir()
        (folder / "env.conf").touch()
        (folder / "plugins").write_text("[].\n")
        (folder / "advanced.config").write_text("[].\n")
        cookie = folder / ".erlang.cookie"
        cookie.touch(0o600)
        cookie.write_text(secrets.token_hex(16))
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}\ndisk_free_limit.absolute = 50MB\n"
        )
        return folder

    def _environment(self, folder: Path) -> dict[str, str]:
        """All of it: no setting of the user or the system may reach a private node."""
        return {
            "PATH": search_path(),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_NODENAME": f"busauth-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _spawn(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            fcntl.flock(output, fcntl.LOCK_SH)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=self._environment(log.parent),
                start_new_session=True,
            )
        if self._reaper is not None:
            self._reaper.note(process.pid)
        return process

    def _await(
        self, process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path
    ) -> None:
        def settled() -> bool:
            self._check()
            return process.poll() is not None or ready()

        began = time.monotonic()
        in_time = until(settled, READY_SECONDS)
        if process.poll() is not None or not in_time:
            seconds = time.monotonic() - began
            what = "did not answer" if process.poll() is None else "ended"
            raise BrokerError(f"{log.stem} {what} after {seconds:.0f} s; its log ends:{tail(log)}")

    def _end(self, process: subprocess.Popen[bytes] | None, number: int) -> None:
        if process is None or self._folder is None:
            return
        helpers = descendants(process.pid)
        process.send_signal(number)
        if number != signal.SIGKILL:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        kill_group(process.pid)
        process.wait()
        log = self._folder / ("epmd.log" if process is self._epmd else "server.log")
        if until(lambda: released(log), STOP_SECONDS) and self._reaper is not None:
            self._reaper.forget(process.pid)
        await_init(helpers)


# --- Commands --------------------------------------------------------------------------------


def run(
    command: Sequence[str],
    signals: Signals,
    env: Mapping[str, str] | None = None,
    stdout: IO[str] | None = None,
) -> int:
    """Runs a command to its end, passing signals on; returns its code as a shell would."""
    try:
        child = subprocess.Popen(command, env=env, stdout=stdout)
    except OSError as error:
        say(f"cannot run {command[0]}: {error.strerror}")
        return 127
    code = follow(child, signals)
    return code if code >= 0 else 128 - code


def follow(child: subprocess.Popen[bytes], signals: Signals) -> int:
    """Waits for a child; one that does not end within 15 seconds of a signal is killed."""
    deadline = math.inf
    while child.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.1)
        number = signals.take()
        if number is not None and not sent_by_terminal(number):
            child.send_signal(number)
            deadline = time.monotonic() + COMMAND_GRACE_SECONDS
        if time.monotonic() > deadline:
            child.kill()
    return child.wait()


def sent_by_terminal(number: int) -> bool:
    """Whether the child got this signal too: Ctrl-C goes to everybody in the foreground."""
    try:
        return number == signal.SIGINT and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def succeeds(*command: str) -> bool:
    """Whether a command exists and returns 0, quietly."""
    if shutil.which(command[0]) is None:
        return False
    quiet = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return quiet.returncode == 0


# --- The ways to a broker --------------------------------------------------------------------


def from_url(_signals: Signals) -> AbstractContextManager[str] | None:
    """Way 1: the broker that the user named."""
    url = os.environ.get(VARIABLE)
    if not url:
        return None
    host, port = address(urlsplit(url))
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise BrokerError(
            f"{VARIABLE} names {host}:{port}, which takes no connection ({reason})."
        ) from None
    say(f"using {host}:{port}, which {VARIABLE} names")
    return nullcontext(url)


def address(url: SplitResult) -> tuple[str, int]:
    """Host and port of an AMQP URL."""
    try:
        port = url.port
    except ValueError:
        raise BrokerError(f"{VARIABLE} has a port that is no number up to 65535.") from None
    if url.scheme not in {"amqp", "amqps"}:
        raise BrokerError(f"{VARIABLE} does not begin with amqp:// or amqps://.")
    return url.hostname or "localhost", port or (5671 if url.scheme == "amqps" else 5672)


def from_node(signals: Signals) -> AbstractContextManager[str] | None:
    """Way 2: a private node of an installed RabbitMQ."""
    script = installed_server()
    return None if script is None else private(script, signals)


@contextmanager
def private(script: Path, signals: Signals) -> Iterator[str]:
    """A private node, announced."""
    node = PrivateNode(script, signals.check)
    say(f"starting a private node on port {node.port} ...", end="")
    began = time.monotonic()
    try:
        node.start()
        print(f" ready in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        yield node.url
    except (BrokerError, Interrupted):
        print(file=sys.stderr)
        raise
    finally:
        node.close()


def from_apt(signals: Signals) -> AbstractContextManager[str] | None:
    """Way 3: the distribution's package, never its system service."""
    if not may_install():
        return None
    with alone(Path("/etc/apt"), signals), services_held_back():
        installed = installed_server() is not None or install(signals)
    signals.check()
    if not installed:
        say("apt-get could not install rabbitmq-server")
    return from_node(signals)


def may_install() -> bool:
    """Whether this is root on Debian, Ubuntu or a relative."""
    release = Path("/etc/os-release")
    return (
        os.geteuid() == 0
        and shutil.which("apt-get") is not None
        and release.exists()
        and is_debian(release.read_text("utf-8"))
    )


def is_debian(release: str) -> bool:
    """Whether an os-release text names Debian or Ubuntu, or a system made like them."""
    entries = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    names = f"{entries.get('ID', '')} {entries.get('ID_LIKE', '')}".replace('"', "").split()
    return not {"debian", "ubuntu"}.isdisjoint(names)


def install(signals: Signals) -> bool:
    """Runs apt-get; its words go to stderr."""
    say(f"none is installed and {VARIABLE} is not set: installing rabbitmq-server with apt-get")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return all(run(command, signals, env, sys.stderr) == 0 for command in APT)


@contextmanager
def alone(folder: Path, signals: Signals) -> Iterator[None]:
    """Two runs at once take turns; locking a folder leaves no file behind."""

    def locked() -> bool:
        signals.check()
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    handle = os.open(folder, os.O_RDONLY)
    try:
        until(locked, math.inf)
        yield
    finally:
        os.close(handle)


@contextmanager
def services_held_back(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Packages start no service meanwhile (Debian's invoke-rc.d asks this file)."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def from_docker(signals: Signals) -> AbstractContextManager[str] | None:
    """Way 4: the service `rabbitmq` of compose.yaml, where a Docker engine runs."""
    engine = ("docker", "info", "--format", "{{.ServerVersion}}")
    if not (succeeds(*COMPOSE, "version") and succeeds(*engine)):
        return None
    return composed(signals)


@contextmanager
def composed(signals: Signals) -> Iterator[str]:
    """Compose's RabbitMQ; taken down afterwards when it did not run before."""
    query = [*COMPOSE, "ps", "-q", "--status", "running", "rabbitmq"]
    before = subprocess.run(query, capture_output=True, check=False).stdout.strip()
    say("starting docker compose's rabbitmq" if not before else "using docker compose's rabbitmq")
    try:
        if run([*COMPOSE, "up", "-d", "--wait", "rabbitmq"], signals, stdout=sys.stderr) != 0:
            signals.check()
            raise BrokerError("docker compose could not start the service rabbitmq.")
        yield COMPOSE_URL
    finally:
        if not before:
            run([*COMPOSE, "down"], signals, stdout=sys.stderr)


WAYS: Mapping[str, Callable[[Signals], AbstractContextManager[str] | None]] = {
    "url": from_url,
    "node": from_node,
    "apt": from_apt,
    "docker": from_docker,
}


def find(ways: Iterable[str], signals: Signals) -> AbstractContextManager[str]:
    """The first open way; raises `BrokerError` when there is none."""
    for way in ways:
        broker = WAYS[way](signals)
        if broker is not None:
            return broker
    raise BrokerError(NO_WAY)


# --- The command line ------------------------------------------------------------------------


def ways(text: str) -> list[str]:
    """Parses ``--ways``."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(WAYS)):
        raise argparse.ArgumentTypeError(
            f"got {', '.join(unknown)}, expected some of {','.join(WAYS)}"
        )
    return names


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and the command after ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", type=ways, default=list(WAYS), help=",".join(WAYS))
    parser.add_argument("--reap", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments[:end]), arguments[end + 1 :]


def serve(command: Sequence[str], url: str, signals: Signals) -> int:
    """Runs the command, or waits for a signal when there is none."""
    signals.check()
    if command:
        return run(command, signals, os.environ | {VARIABLE: url})
    print(url, flush=True)
    until(lambda: signals.received is not None, math.inf)
    return 0


def main(arguments: list[str]) -> int:
    """The whole program; returns its exit code."""
    options, command = parse(arguments)
    if options.reap is not None:
        reap(options.reap, sys.stdin)
        return 0
    signals = Signals()
    signals.install()
    try:
        with find(options.ways, signals) as url:
            return serve(command, url, signals)
    except BrokerError as error:
        say(str(error))
        return 1
    except Interrupted as interrupted:
        return 128 + interrupted.number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
