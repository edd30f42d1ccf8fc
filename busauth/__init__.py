"""Carries a caller's identity across a message bus.

The caller's JWT travels in AMQP headers, is verified in front of every handler, and what to do with
a token that expired in the queue is a declared policy.
"""

from busauth._amqp.bus import Bus
from busauth._amqp.connecting.tolerant import (
    TolerantConnection,
    TolerantRobustConnection,
    TolerantTransport,
)
from busauth._amqp.consuming.consumer import GuardedConsumer
from busauth._amqp.consuming.intake import Binding
from busauth._amqp.consuming.security import MessageSecurity
from busauth._amqp.feed import FeedOptions, FeedPublisher, RevocationFeed, keep_beating
from busauth._amqp.guard import Guard
from busauth._amqp.headers import bearer_token
from busauth._amqp.options import (
    BusOptions,
    ConsumerOptions,
    GuardOptions,
    OnError,
    RetryOptions,
)
from busauth._amqp.publishing.batch import Publication
from busauth._amqp.publishing.outbox import ANONYMOUS
from busauth._amqp.readiness import Readiness
from busauth._amqp.resending.again import Released
from busauth._amqp.resending.letters import Letter, dead_letters
from busauth._amqp.resending.redrive import Redrive
from busauth._amqp.resending.release import Release
from busauth._expiry import (
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
from busauth._messages.proof import ProofDemand, Proofs, ProofSigner, Proven, Publisher, Route
from busauth._messages.provenance import BROKER_STAMP, Origin
from busauth._messages.replay import InProcessReplay, ReplayMemory
from busauth._revocation import CheckpointFile
from busauth._revocation.events import EventSigner, SecurityEvent, Transmitter, Transmitters
from busauth._revocation.revocations import Revocations
from busauth._tokens.asking.client_auth import ClientSecretBasic, ClientSecretPost, PrivateKeyJwt
from busauth._tokens.asking.introspection import Introspection, IntrospectionOptions
from busauth._tokens.asking.sessions import Session, Sessions, SessionStore
from busauth._tokens.encryption.encryption import Decryption, TokenEncryption, shared_encryption_key
from busauth._tokens.fetch import Fetcher, UnsafeHttp
from busauth._tokens.keys.jwks import JWKS, JWKSOptions
from busauth._tokens.keys.key import StaticKeys, shared_secret
from busauth._tokens.keys.retired import RetiredKeys
from busauth._tokens.profiles import (
    AUTH0,
    COGNITO,
    ENTRA,
    LENIENT,
    RFC9068,
    Profile,
    keycloak,
)
from busauth._tokens.verifier import Verifier, Verifiers
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
from busauth.settings import Settings, load_settings

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
