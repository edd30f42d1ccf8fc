"""What a user would pick, each in a module of its own with a `Contestant` in it."""

from bench.contestants.base import Consuming, Setting, load

__all__ = ["CONTESTANTS", "ENVELOPED", "LABELS", "Consuming", "Setting", "load"]

CONTESTANTS = {
    "a": "plain_aio_pika",
    "b": "aio_pika_pyjwt",
    "c": "faststream_pyjwt",
    "d": "taskiq_pyjwt",
    "e": "busauth_guard",
    "f": "busauth_bus",
}
"""The letter by which results name each, and its module."""

ENVELOPED = frozenset("d")
"""Those that read nothing but taskiq's envelope."""

LABELS = {
    "a": "aio-pika, unchecked",
    "b": "aio-pika and PyJWT",
    "c": "FastStream and PyJWT",
    "d": "taskiq and PyJWT",
    "e": "busauth on aio-pika",
    "f": "busauth Bus, typed",
}
"""What the letters mean, for people."""
