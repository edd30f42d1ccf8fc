"""Plays a chain's scenes: ``python -m workers.demo [shop|rides|streaming|agents]``.

Exits with 0 if all went as expected, else with 1.

The broker is the one at ``BUSAUTH_AMQP_URL``. Queues get names of this run's own and are deleted at
the end; processes are ended whatever happens.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from aio_pika.exceptions import AMQPError

from workers.demo import playbill
from workers.demo.chains.agents import AGENTS
from workers.demo.chains.rides import RIDES
from workers.demo.chains.streaming import STREAMING
from workers.demo.play import Chain
from workers.demo.record import Trouble
from workers.demo.scenes import SHOP
from workers.demo.timeline import Timeline
from workers.shop import settings

FAILED, INTERRUPTED, TERMINATED = 1, 130, 143
CHAINS: Mapping[str, Chain[Any]] = {
    "shop": SHOP,
    "rides": RIDES,
    "streaming": STREAMING,
    "agents": AGENTS,
}


async def main(chain: str) -> int:
    """Play, show, compare; return the exit code."""
    _be_cancelled_by(signal.SIGTERM, signal.SIGHUP)
    prefix = f"demo-{uuid4().hex[:8]}."
    timeline = Timeline(prefix)
    rows = await CHAINS[chain].play(settings.amqp_url, timeline, prefix)
    playbill.show(rows, timeline.console)
    timeline.console.print(playbill.last_word(rows, timeline.seconds), style="bold")
    return 0 if all(row.equal for row in rows) else FAILED


def _be_cancelled_by(*signals: signal.Signals) -> None:
    """End by unwinding, as on Ctrl-C, so that nothing stays behind."""
    task = asyncio.current_task()
    if task is not None:
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def run(chain: str) -> int:
    """Run the demo, and say in one line why it could not begin."""
    logging.getLogger("busauth").addHandler(logging.NullHandler())  # the timeline tells it all
    try:
        return asyncio.run(main(chain))
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    except (Trouble, TimeoutError, AMQPError, OSError) as error:
        print(f"The demo could not be set up: {error or type(error).__name__}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m workers.demo", description="Plays a chain.")
    parser.add_argument("chain", nargs="?", default="shop", choices=CHAINS)
    sys.exit(run(parser.parse_args().chain))
