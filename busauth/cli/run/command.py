"""`busauth run`: a bus in production, in one process or in several that are kept alive."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from busauth._amqp.bus import Bus
from busauth._tokens.keys.development import is_for_development
from busauth.cli.options import Exit, fail, warn
from busauth.cli.run.health import Ready, answering
from busauth.cli.run.logs import LogLevel, configure_logs
from busauth.cli.run.process import NUMBER
from busauth.cli.run.supervisor import HOPELESS, GaveUpError, Supervisor
from busauth.cli.run.worker import work
from busauth.cli.target import bus_or_traceback
from busauth.errors import ConfigurationError
from busauth.settings import Settings, load_settings
from busauth.settings.bus import Address, read_address
from busauth.settings.loading import SETTINGS

_MOST = 64

Target = Annotated[str, typer.Argument(metavar="MODULE:BUS", help="Such as shop.orders:bus.")]
Workers = Annotated[
    int, typer.Option(min=1, max=_MOST, help="Processes, each with an event loop of its own.")
]
Health = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Where /live and /ready are answered; default: the settings'."
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--settings", envvar=SETTINGS, help="What `load_settings()` reads; variables count above."
    ),
]
Level = Annotated[
    LogLevel,
    typer.Option(
        "--log-level",
        case_sensitive=False,
        help="From which level on log lines are shown, where the program configures no logging.",
    ),
]
Link = Annotated[int | None, typer.Option(hidden=True, help="Of a worker, to its supervisor.")]


def run(
    target: Target,
    *,
    workers: Workers = 1,
    health: Health = None,
    settings: File = None,
    log_level: Level = LogLevel.INFO,
    link: Link = None,
) -> None:
    """Run a bus until SIGTERM or SIGINT, then let its handlers finish.

    Example: busauth run shop.orders:bus --workers 4 --health 0.0.0.0:8080

    A second signal breaks them off; what is not finished stays with the broker. Of several workers
    one that dies is started again, and SIGHUP starts them anew, one after the other.
    """
    if settings is not None:
        os.environ[SETTINGS] = str(settings)  # for the bus's module, here and in workers
    if link is not None:
        _work(target, link, log_level)
        return
    with _telling(Exit.FAILED):
        said = load_settings(settings)
        address = _address(health, said)
        if workers == 1:
            asyncio.run(_alone(_bus(target, log_level), address))
            return
        _check_shared(said)
        drained = asyncio.run(_supervised(target, workers, address, log_level))
    raise typer.Exit(Exit.DONE if drained else Exit.FAILED)


def _work(target: str, link: int, level: LogLevel) -> None:
    with _telling(HOPELESS):
        asyncio.run(work(_bus(target, level, os.environ.get(NUMBER, "")), link))


async def _alone(bus: Bus, address: Address | None) -> None:
    async with _probed(address, lambda: bus.ready):
        await bus.run()


async def _supervised(target: str, workers: int, address: Address | None, level: LogLevel) -> bool:
    command = (sys.executable, "-m", "busauth", "run", target, f"--log-level={level}")
    supervisor = Supervisor(command, workers, tell=warn)
    async with _probed(address, lambda: supervisor.ready):
        return await supervisor.run()


@asynccontextmanager
async def _probed(address: Address | None, ready: Ready) -> AsyncIterator[None]:
    async with answering(address, ready) as where:
        if where is not None:
            with suppress(OSError):  # as `warn`
                typer.echo(f"Health: http://{where}/live and http://{where}/ready", err=True)
        yield


def _bus(target: str, level: LogLevel, worker: str = "") -> Bus:
    bus = bus_or_traceback(target)
    configure_logs(level, worker)  # the module may have done so itself
    _check_no_development(bus)
    return bus


def _check_no_development(bus: Bus) -> None:
    """Refuse an issuer that gives anybody a token in anybody's name."""
    for issuer in filter(is_for_development, bus.guard.issuers):
        raise ConfigurationError(
            f"{issuer!r} is an issuer of `busauth dev`, which signs whatever it is asked for: "
            "expected your identity provider's"
        )


def _address(health: str | None, said: Settings) -> Address | None:
    text = said.bus.health if health is None else health
    if text is None:
        return None
    try:
        return read_address(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"--health {text}: {error}") from None


def _check_shared(said: Settings) -> None:
    """Refuse a file that each process must have for itself: the settings name one for all."""
    for each in (said, *said.issuers):
        if each.retired is not None and each.retired.file is not None:
            raise ConfigurationError(
                f"retired.file = {each.retired.file}: one process may write it, and --workers has "
                "several: expected none, or a guard of code with a file for each, such as "
                f'RetiredKeys(file=f"keys.{{os.environ[{NUMBER!r}]}}", ...)'
            )


@contextmanager
def _telling(code: int) -> Iterator[None]:
    """End with a sentence for what can go wrong, and with this code where waiting helps nothing."""
    try:
        yield
    except ConfigurationError as error:
        warn(str(error))
        raise typer.Exit(code) from None
    except (GaveUpError, ConnectionError) as error:
        fail(str(error))
