"""What is measured is there for a Prometheus that scrapes; dashboard and alerts ask for that."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
from aio_pika.abc import AbstractIncomingMessage
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, start_http_server

from busauth import Bus, BusOptions, Grace, Guard
from busauth.errors import PublishError
from busauth.integrations.otel import Telemetry
from busauth.integrations.otel.names import METRICS
from busauth.revocation import FeedOptions, FeedPublisher, RevocationFeed, StreamOptions
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer, IssuerServer, ManualClock
from tests.parties import Party, security
from tests.support import LADDERS, Trail
from tests.unit.revoking import LATENESS, LIFE, signer, transmitters

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "observability.md").read_text("utf-8")
DASHBOARD = json.loads((DOCS / "observability" / "dashboard.json").read_text("utf-8"))
ALERTS = (DOCS / "observability" / "alerts.yaml").read_text("utf-8")
METRIC = re.compile(r"\b(?:busauth|messaging)_[a-z_]+")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


@contextmanager
def scraped() -> Iterator[tuple[MeterProvider, str]]:
    """Serve what a provider's instruments measure; return the address."""
    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(registry=registry)], shutdown_on_exit=False)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield provider, f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()


@asynccontextmanager
async def revocations(url: str, clock: ManualClock) -> AsyncIterator[RevocationFeed]:
    """Return a feed that has read a heartbeat."""
    name = f"t{uuid4().hex[:10]}"
    options = FeedOptions(stream=name, token_life=LIFE, lateness=LATENESS, stale_after=3600)
    feed = RevocationFeed(url, transmitters(), options=options, clock=clock)
    async with FeedPublisher(url, options=StreamOptions(name=name)) as publisher, feed:
        while feed.doubt() is not None:
            await clock.advance(1)
            await publisher.publish(signer().heartbeat(clock.now()))
        yield feed


async def work(bus: Bus, issuer: Issuer, trail: Trail, clock: ManualClock) -> None:
    """Have something of each kind happen, and let strangers say what they like."""

    @bus.consumer("orders")
    async def place(message: AbstractIncomingMessage) -> None:
        if message.body == b"fail":
            await clock.advance(30)
            raise ValueError

    token = issuer.token("ann", exp=int(clock.now()) + 50)  # late at the last attempt
    async with bus:
        await bus.publish("orders", b"{}", token=token)
        await trail.until("handled")
        await bus.publish("orders", b"fail", token=token)
        await trail.until("refused")
        await bus.publish("orders", b"{}", token=Issuer(clock=clock).token("mallory"))
        await trail.until("refused", count=2)
        with suppress(PublishError):
            await bus.publish("a-strangers-reply-queue", b"{}", token=issuer.token("ann"))


async def test_everything_that_is_measured_is_scraped(trail: Trail) -> None:
    """Each metric of the docs is there, and what files ask for; no label has a sender's value."""
    clock, party = ManualClock(), Party("web")
    with IssuerServer(Issuer(clock=clock)) as server, scraped() as (provider, address):
        async with EmbeddedBroker() as broker, revocations(broker.url, clock) as feed:
            guard = Guard(
                issuer=server.issuer.url,
                audience=server.issuer.audience,
                on_expired=Grace(minutes=10),
                revocations=feed,
                messages=security(party.publisher(), signer=party.signer),
                clock=clock,
                auditor=trail,
            )
            options = BusOptions(retry=LADDERS[1])
            bus = Telemetry(meter_provider=provider).watch(
                Bus(broker.url, guard=guard, service="shop", options=options)
            )
            await work(bus, server.issuer, trail, clock)
            async with httpx.AsyncClient() as client:
                found = (await client.get(address)).text
    names = set(re.findall(r"^([a-z_]+)(?:\{| )", found, re.MULTILINE))
    for metric in METRICS:
        assert any(name.startswith(metric.name.replace(".", "_")) for name in names), metric.name
    assert asked() - names == set()
    assert "stranger" not in found
    ours = [line for line in found.splitlines() if line.startswith(("busauth_", "messaging_"))]
    labels = {label for line in ours for label in LABEL.findall(line) if label[0] != "le"}
    assert {(name, value) for name, value in labels if value and not name.startswith("otel_")} == {
        *(("messaging_system", "rabbitmq"), ("messaging_destination_name", "orders")),
        *(("messaging_operation_name", name) for name in ("publish", "process")),
        *(("busauth_outcome", kind) for kind in trail.kinds() if kind != "published"),
        *(("busauth_code", code) for code in ("handler.failed", "token.issuer")),
        *(("error_type", name) for name in ("ValueError", "PublishError")),
        ("busauth_issuer", server.issuer.url),
    }


def asked() -> set[str]:
    """Return which metrics the dashboard's panels and the alert rules ask for."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    alerts = re.findall(r"expr: (.*?)\n +(?:for|labels):", ALERTS, re.DOTALL)
    assert len(alerts) == ALERTS.count("- alert:")
    without_labels = [
        re.sub(r"\{[^}]*\}|\b(?:by|on) \([^)]*\)", "", each) for each in panels + alerts
    ]
    return {name for each in without_labels for name in METRIC.findall(each)}


def test_each_metric_is_documented() -> None:
    """The page's table has each metric with its unit, and no other."""
    rows = re.findall(
        r"^\| `([a-z._]+)` \| `([a-z]+)` \| (?:counter|histogram|gauge) \|", PAGE, re.M
    )
    assert rows == [(metric.name, metric.unit.strip("{}")) for metric in METRICS]
