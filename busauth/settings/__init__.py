"""Settings from a TOML file and from environment variables, as the objects that code would make."""

from busauth._amqp.shadowing.shadow import Shadow
from busauth._doors import hand_out
from busauth.settings.audit import AuditSettings
from busauth.settings.bus import BusSettings
from busauth.settings.console import (
    ConsoleFeedSettings,
    ConsoleSettings,
    TransmitterSettings,
)
from busauth.settings.issuers import ClaimSettings, IssuerSettings, RetiredSettings
from busauth.settings.loading import load_settings
from busauth.settings.messages import (
    DecryptionSettings,
    LetterSettings,
    MessageSettings,
    ProofSettings,
    PublisherSettings,
    ReplaySettings,
    RouteSettings,
    SignerSettings,
)
from busauth.settings.model import Settings

__all__ = [
    "AuditSettings",
    "BusSettings",
    "ClaimSettings",
    "ConsoleFeedSettings",
    "ConsoleSettings",
    "DecryptionSettings",
    "IssuerSettings",
    "LetterSettings",
    "MessageSettings",
    "ProofSettings",
    "PublisherSettings",
    "ReplaySettings",
    "RetiredSettings",
    "RouteSettings",
    "Settings",
    "Shadow",
    "SignerSettings",
    "TransmitterSettings",
    "load_settings",
]

hand_out(__name__, globals())
