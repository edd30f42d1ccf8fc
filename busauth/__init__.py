"""Carries a caller's identity across a message bus.

The caller's JWT travels in AMQP headers, is verified in front of every handler, and what to do with
a token that expired in the queue is a declared policy. What a service needs on an ordinary day is
here; the rest is behind `busauth.tokens`, `busauth.messages`, `busauth.expiry`,
`busauth.revocation`, `busauth.letters`, `busauth.settings`, `busauth.testing` and
`busauth.integrations`.
"""

from importlib.metadata import version as _installed
from typing import TYPE_CHECKING, Any

from busauth._amqp.bus import Bus
from busauth._amqp.consuming.intake import Binding
from busauth._amqp.guard import Guard
from busauth._amqp.handling.guarded import GuardedConsumer
from busauth._amqp.headers import bearer_token
from busauth._amqp.options import BusOptions, ConsumerOptions, GuardOptions, OnError, RetryOptions
from busauth._amqp.publishing.batch import Publication
from busauth._amqp.publishing.outbox import ANONYMOUS
from busauth._amqp.readiness import Readiness
from busauth._doors import hand_out
from busauth.audit import Auditor, Event, EventKind, EventLog, log_event
from busauth.caller import Actor, Caller, Late, as_nobody
from busauth.clock import Clock, SystemClock
from busauth.errors import (
    BadMessage,
    BusauthError,
    CallerError,
    ConfigurationError,
    Deferred,
    Forbidden,
    HandlerFailed,
    NotAllPublished,
    NotGenuine,
    PublishError,
    Refused,
    Reject,
    Untimely,
)
from busauth.expiry import DeadLetter, Discard, Grace, Park, Restrict, ValidWhenPublished
from busauth.tokens import JWKS, StaticKeys, Verifier, Verifiers, keycloak

if TYPE_CHECKING:
    from busauth.settings import Settings, load_settings

__all__ = [
    "ANONYMOUS",
    "JWKS",
    "Actor",
    "Auditor",
    "BadMessage",
    "Binding",
    "Bus",
    "BusOptions",
    "BusauthError",
    "Caller",
    "CallerError",
    "Clock",
    "ConfigurationError",
    "ConsumerOptions",
    "DeadLetter",
    "Deferred",
    "Discard",
    "Event",
    "EventKind",
    "EventLog",
    "Forbidden",
    "Grace",
    "Guard",
    "GuardOptions",
    "GuardedConsumer",
    "HandlerFailed",
    "Late",
    "NotAllPublished",
    "NotGenuine",
    "OnError",
    "Park",
    "Publication",
    "PublishError",
    "Readiness",
    "Refused",
    "Reject",
    "Restrict",
    "RetryOptions",
    "Settings",
    "StaticKeys",
    "SystemClock",
    "Untimely",
    "ValidWhenPublished",
    "Verifier",
    "Verifiers",
    "as_nobody",
    "bearer_token",
    "keycloak",
    "load_settings",
    "log_event",
]

__version__ = _installed("busauth")

hand_out(__name__, globals())


def __getattr__(name: str) -> Any:
    """Import what reads settings when it is asked for: it takes as long as a third of the rest."""
    if name not in ("Settings", "load_settings"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from busauth import settings  # noqa: PLC0415 -- that is what this is for

    return getattr(settings, name)
