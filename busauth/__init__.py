"""Carries a caller's identity across a message bus.

The caller's JWT travels in AMQP headers, is verified in front of every handler, and what to do with
a token that expired in the queue is a declared policy.
"""

from busauth.amqp.again import Released
from busauth.amqp.batch import Publication
from busauth.amqp.bus import Bus
from busauth.amqp.consumer import GuardedConsumer
from busauth.amqp.feed import FeedOptions, FeedPublisher, RevocationFeed, keep_beating
from busauth.amqp.guard import Guard
from busauth.amqp.headers import bearer_token
from busauth.amqp.intake import Binding
from busauth.amqp.letters import Letter, dead_letters
from busauth.amqp.options import (
    BusOptions,
    ConsumerOptions,
    GuardOptions,
    OnError,
    RetryOptions,
)
from busauth.amqp.outbox import ANONYMOUS
from busauth.amqp.readiness import Readiness
from busauth.amqp.redrive import Redrive
from busauth.amqp.release import Release
from busauth.amqp.security import MessageSecurity
from busauth.amqp.tolerant import (
    TolerantConnection,
    TolerantRobustConnection,
    TolerantTransport,
)
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
from busauth.late.events import EventSigner, SecurityEvent, Transmitter, Transmitters
from busauth.late.expiry import (
    Accept,
    DeadLetter,
    Discard,
    Drop,
    ExpiryPolicy,
    Grace,
    Hold,
    LateToken,
    Park,
    Refuse,
    Restrict,
    ValidWhenPublished,
)
from busauth.late.proof import ProofDemand, Proofs, ProofSigner, Proven, Publisher, Route
from busauth.late.published import BROKER_STAMP, Origin
from busauth.late.replay import InProcessReplay, ReplayMemory
from busauth.late.revocation import Revocations
from busauth.late.revoked import CheckpointFile
from busauth.settings import Settings, load_settings
from busauth.tokens.client_auth import ClientSecretBasic, ClientSecretPost, PrivateKeyJwt
from busauth.tokens.encryption import Decryption, TokenEncryption, shared_encryption_key
from busauth.tokens.fetch import Fetcher, UnsafeHttp
from busauth.tokens.introspection import Introspection, IntrospectionOptions
from busauth.tokens.jwks import JWKS, JWKSOptions
from busauth.tokens.keys import StaticKeys, shared_secret
from busauth.tokens.providers import (
    AUTH0,
    COGNITO,
    ENTRA,
    LENIENT,
    RFC9068,
    Profile,
    keycloak,
)
from busauth.tokens.retired import RetiredKeys
from busauth.tokens.sessions import Session, Sessions, SessionStore
from busauth.tokens.verifier import Verifier, Verifiers

__all__ = [
    "ANONYMOUS",
    "AUTH0",
    "BROKER_STAMP",
    "COGNITO",
    "ENTRA",
    "JWKS",
    "LENIENT",
    "RFC9068",
    "Accept",
    "Actor",
    "Auditor",
    "BadMessage",
    "Binding",
    "Bus",
    "BusOptions",
    "BusauthError",
    "Caller",
    "CallerError",
    "CheckpointFile",
    "ClientSecretBasic",
    "ClientSecretPost",
    "Clock",
    "ConfigurationError",
    "ConsumerOptions",
    "DeadLetter",
    "Decryption",
    "Deferred",
    "Discard",
    "Drop",
    "Event",
    "EventKind",
    "EventLog",
    "EventSigner",
    "ExpiryPolicy",
    "FeedOptions",
    "FeedPublisher",
    "Fetcher",
    "Forbidden",
    "Grace",
    "Guard",
    "GuardOptions",
    "GuardedConsumer",
    "HandlerFailed",
    "Hold",
    "InProcessReplay",
    "Introspection",
    "IntrospectionOptions",
    "JWKSOptions",
    "Late",
    "LateToken",
    "Letter",
    "MessageSecurity",
    "NotAllPublished",
    "NotGenuine",
    "OnError",
    "Origin",
    "Park",
    "PrivateKeyJwt",
    "Profile",
    "ProofDemand",
    "ProofSigner",
    "Proofs",
    "Proven",
    "Publication",
    "PublishError",
    "Publisher",
    "Readiness",
    "Redrive",
    "Refuse",
    "Refused",
    "Reject",
    "Release",
    "Released",
    "ReplayMemory",
    "Restrict",
    "RetiredKeys",
    "RetryOptions",
    "RevocationFeed",
    "Revocations",
    "Route",
    "SecurityEvent",
    "Session",
    "SessionStore",
    "Sessions",
    "Settings",
    "StaticKeys",
    "SystemClock",
    "TokenEncryption",
    "TolerantConnection",
    "TolerantRobustConnection",
    "TolerantTransport",
    "Transmitter",
    "Transmitters",
    "UnsafeHttp",
    "Untimely",
    "ValidWhenPublished",
    "Verifier",
    "Verifiers",
    "as_nobody",
    "bearer_token",
    "dead_letters",
    "keep_beating",
    "keycloak",
    "load_settings",
    "log_event",
    "shared_encryption_key",
    "shared_secret",
]
