"""Plays the scenes: ``python -m workers.demo``. Exits with 0 if all went as expected, else with 1.

The broker is the one at ``BUSAUTH_AMQP_URL``. Queues get names of this run's own and are deleted at
the end; processes are ended whatever happens.
"""

import asyncio
import signal
import sys
from uuid import uuid4

import httpx
from aio_pika.exceptions import AMQPError

from workers.demo import playbill
from workers.demo.playbill import Row
from workers.demo.record import Trouble
from workers.demo.scenes import SCENES, SECONDS, Scene
from workers.demo.stage import Stage, set_up
from workers.demo.timeline import Timeline
from workers.shop import settings

FAILED, INTERRUPTED, TERMINATED = 1, 130, 143


async def main() -> int:
    """Play, show, compare; return the exit code."""
    _be_cancelled_by(signal.SIGTERM, signal.SIGHUP)
    prefix = f"demo-{uuid4().hex[:8]}."
    timeline = Timeline(prefix)
    timeline.console.print("Starting the shop: issuer, gateway, ledger, three workers.")
    async with set_up(settings.amqp_url, timeline, prefix) as stage:
        timeline.columns()
        rows = [await perform(stage, number, scene) for number, scene in enumerate(SCENES, 1)]
    playbill.show(rows, timeline.console)
    timeline.console.print(playbill.last_word(rows, timeline.seconds), style="bold")
    return 0 if all(row.equal for row in rows) else FAILED


async def perform(stage: Stage, number: int, scene: Scene) -> Row:
    """Play one scene; what keeps it from its end is part of the outcome."""
    stage.timeline.scene(number, scene.title, scene.play.__doc__ or "")
    stage.record.begin()
    trouble = ""
    try:
        stage.record.check()
        async with asyncio.timeout(SECONDS):
            await scene.play(stage)
            await stage.record.until(*scene.expected)
    except TimeoutError:
        trouble = f"given up after {SECONDS:g} s"
    except (Trouble, httpx.HTTPError, AMQPError, OSError) as error:
        trouble = str(error) or type(error).__name__
    return Row(scene.title, scene.expected, stage.record.seen(scene.expected), trouble)


def _be_cancelled_by(*signals: signal.Signals) -> None:
    """End by unwinding, as on Ctrl-C, so that nothing stays behind."""
    task = asyncio.current_task()
    if task is not None:
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def run() -> int:
    """Run the demo, and say in one line why it could not begin."""
    try:
        return asyncio.run(main())
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    except (Trouble, TimeoutError, AMQPError, OSError) as error:
        print(f"The demo could not be set up: {error or type(error).__name__}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(run())
