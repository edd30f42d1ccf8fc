"""`busauth broker`: an AMQP 0-9-1 broker in memory, for any client."""

import asyncio
import signal
from typing import Annotated

import typer

from busauth._tokens.fetch import is_loopback
from busauth.cli.options import fail
from busauth.testing.broker import Broker, Limits

_MIB = 2**20

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")]
User = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME:PASSWORD", help="Who may log in; instead of guest:guest."),
]
VHost = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="A virtual host; / is always there.")
]
Memory = Annotated[
    int, typer.Option(min=1, metavar="MIB", help="Messages it holds before publishers must wait.")
]
Stamps = Annotated[
    bool, typer.Option("--stamps", help="Write when each message came, over what its sender wrote.")
]


def broker(
    *,
    host: Host = "127.0.0.1",
    port: Port = 5672,
    user: User = None,
    vhost: VHost = None,
    memory: Memory = 256,
    stamps: Stamps = False,
) -> None:
    """Run an AMQP 0-9-1 broker in memory, for tests and demos.

    Example: busauth broker --port 0 --user orders:secret

    It speaks to any client as RabbitMQ would, keeps nothing when it ends, and ends on a signal.
    """
    if not is_loopback(host) and not user:
        fail(f"{host} may be reached by others: name who may log in with --user NAME:PASSWORD")
    pairs = [each.partition(":") for each in user or ["guest:guest"]]
    for name, colon, _ in pairs:  # a password may be empty, and may have colons
        if not (name and colon):
            fail("--user takes NAME:PASSWORD, got a name or a password without the other")
    server = Broker(
        host=host,
        port=port,
        users={name: password for name, _, password in pairs},
        vhosts=("/", *(vhost or ())),
        limits=Limits(memory=memory * _MIB),
        stamps=stamps,
    )
    asyncio.run(_serve(server))


async def _serve(server: Broker) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):  # before it listens: who sees it may end it
        loop.add_signal_handler(number, ended.set)
    try:
        await server.start()
    except OSError as error:
        reason = error.strerror or error
        fail(f"cannot listen on {server.host}:{server.port} ({reason}); try --port 0")
    except UnicodeError as error:
        fail(f"--host {server.host}: no host can have that name ({error})")
    typer.echo(server.url)  # alone on standard output, for scripts: port 0 took a free one
    typer.echo(
        "In memory: messages are gone when it ends. For tests and demos. Ctrl-C ends it.", err=True
    )
    await ended.wait()
    messages = server.messages()  # before it stops: nothing is left to be counted then
    await server.stop()
    noun = "message" if messages == 1 else "messages"
    gone = f"; {messages} {noun} went with it" if messages else ""
    typer.echo(f"Ended{gone}.", err=True)
