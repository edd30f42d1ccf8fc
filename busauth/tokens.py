"""Who proves what: verifiers, keys and profiles; introspection and sessions; encryption."""

from busauth._doors import hand_out
from busauth._tokens.asking.answers import Answer, AnswerOptions, Freshness
from busauth._tokens.asking.client_auth import (
    ClientAuthentication,
    ClientSecretBasic,
    ClientSecretPost,
    Credentials,
    MutualTls,
    PrivateKeyJwt,
)
from busauth._tokens.asking.introspection import Introspection, IntrospectionOptions
from busauth._tokens.asking.sessions import Session, Sessions, SessionStore
from busauth._tokens.authenticators import Authenticator, Authenticators
from busauth._tokens.compact import CompactToken
from busauth._tokens.encryption.encryption import (
    Decryption,
    KeptFor,
    TokenEncryption,
    shared_encryption_key,
)
from busauth._tokens.evidence import Evidence, SignedBy, Verified
from busauth._tokens.fetch import Fetcher, Reply, Transport, UnsafeHttp
from busauth._tokens.keys.jwks import JWKS, JWKSOptions
from busauth._tokens.keys.key import Key, KeyMissing, KeySource, StaticKeys, shared_secret
from busauth._tokens.keys.retired import FormerKey, Retired, RetiredKeys
from busauth._tokens.keys.waiting import AnswerMissing, KeyUnknown, NotAtHand, answered, found
from busauth._tokens.profiles.profile import Profile
from busauth._tokens.profiles.providers import (
    AUTH0,
    COGNITO,
    ENTRA,
    LENIENT,
    OKTA,
    RFC9068,
    ZITADEL,
    keycloak,
)
from busauth._tokens.verifier import Verifier, Verifiers

__all__ = [
    "AUTH0",
    "COGNITO",
    "ENTRA",
    "JWKS",
    "LENIENT",
    "OKTA",
    "RFC9068",
    "ZITADEL",
    "Answer",
    "AnswerMissing",
    "AnswerOptions",
    "Authenticator",
    "Authenticators",
    "ClientAuthentication",
    "ClientSecretBasic",
    "ClientSecretPost",
    "CompactToken",
    "Credentials",
    "Decryption",
    "Evidence",
    "Fetcher",
    "FormerKey",
    "Freshness",
    "Introspection",
    "IntrospectionOptions",
    "JWKSOptions",
    "KeptFor",
    "Key",
    "KeyMissing",
    "KeySource",
    "KeyUnknown",
    "MutualTls",
    "NotAtHand",
    "PrivateKeyJwt",
    "Profile",
    "Reply",
    "Retired",
    "RetiredKeys",
    "Session",
    "SessionStore",
    "Sessions",
    "SignedBy",
    "StaticKeys",
    "TokenEncryption",
    "Transport",
    "UnsafeHttp",
    "Verified",
    "Verifier",
    "Verifiers",
    "answered",
    "found",
    "keycloak",
    "shared_encryption_key",
    "shared_secret",
]

hand_out(__name__, globals())
