"""What the services of the shop have in common: settings, messages, and how a guard is made.

A token is for the shop as a whole: every service has the same audience. What a caller may do
differs from step to step, so each consumer names its own scopes and roles.
"""

import json
import logging
from dataclasses import asdict
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from busauth import JWKS, Bus, BusOptions, Event, Guard, RetryOptions, Verifier
from busauth.tokens import RFC9068, Fetcher, JWKSOptions, UnsafeHttp

AUDIENCE = "shop"
LOG = logging.getLogger("shop")


class Settings(BaseSettings):
    """Where things are, from the environment.

    Attributes:
        amqp_url: the broker.
        issuer: the `iss` of every token; its keys are found by discovery.
        ledger: the ledger's URL.
        host, port: where a service with an HTTP side listens.
        unsafe_http: hosts that may serve keys over plain http, separated by commas.
        prefix: what all queue names begin with, so that shops can share a broker.
        leeway: seconds of clock skew that are tolerated.
        grace: seconds past `exp` for which a payment is still taken.
        keys_every: shortest time in seconds between two fetches of the issuer's keys.
        timeline: print every decision as one line of JSON.
    """

    model_config = SettingsConfigDict(env_prefix="SHOP_", frozen=True)

    amqp_url: str = Field(
        "amqp://guest:guest@127.0.0.1:5672/", validation_alias="BUSAUTH_AMQP_URL", repr=False
    )
    issuer: str = "http://127.0.0.1:9000"
    ledger: str = "http://127.0.0.1:9001"
    host: str = "127.0.0.1"
    port: int | None = None
    unsafe_http: str = ""
    prefix: str = ""
    leeway: float = 5.0
    grace: float = 600.0
    keys_every: float = 5.0
    timeline: bool = False


settings = Settings()

ORDERS_PLACED = f"{settings.prefix}orders.placed"
PAYMENTS_REQUESTED = f"{settings.prefix}payments.requested"
NOTIFICATIONS_DUE = f"{settings.prefix}notifications.due"
RETRY = RetryOptions(limit=4, first=0.5, longest=4)


class Order(BaseModel):
    """Somebody wants something."""

    id: UUID
    item: str
    quantity: int = Field(ge=1, le=100)


class PaymentRequest(BaseModel):
    """An order that is to be paid, in cents."""

    order: UUID
    amount: int = Field(ge=0)


class Notice(BaseModel):
    """What the customer is to be told about an order."""

    order: UUID
    text: str


def make_guard() -> Guard:
    """Trust one issuer, take RFC 9068 access tokens for this shop, and tell every decision."""
    keys = JWKS.discover(
        settings.issuer,
        options=JWKSOptions(min_interval=settings.keys_every),
        fetcher=Fetcher(unsafe_http=UnsafeHttp(*settings.unsafe_http.replace(",", " ").split())),
    )
    verifier = Verifier(
        keys,
        issuer=settings.issuer,
        audience=AUDIENCE,
        algorithms=["RS256"],
        profile=RFC9068,
        leeway=settings.leeway,
    )
    return Guard(verifier, auditor=tell)


def make_bus(service: str, guard: Guard | None = None) -> Bus:
    """Return a service's bus; it connects when it runs."""
    options = BusOptions(retry=RETRY)
    return Bus(settings.amqp_url, guard=guard or make_guard(), service=service, options=options)


def tell(event: Event) -> None:
    """Tell a decision: to the demo as JSON, to everybody else as a line in the log."""
    if settings.timeline:
        print(json.dumps(asdict(event)), flush=True)
        return
    who = event.subject or "unknown"
    LOG.info("%s %s for %s %s", event.queue, event.kind, who, event.detail or "")


def log_to_stderr() -> None:
    """Set up the log of a service that runs as a program; a line for each request is too much."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
