"""What ends a connection, in RabbitMQ's words."""

from typing import Final

from busauth.testing.broker.model.words import erlang
from busauth.testing.broker.model.words.errors import (
    FRAME_ERROR,
    INTERNAL_ERROR,
    UNEXPECTED_FRAME,
    AMQPError,
)

Ids = tuple[int, int]
"""A class and a method."""

NO_METHOD: Final[Ids] = (0, 0)
_SHOWN = 16


class HangUp(Exception):  # noqa: N818 - a verdict on the client, no error of this code
    """The socket is closed without a word."""


class Fault(Exception):  # noqa: N818 - as HangUp
    """The connection is closed with a word.

    Attributes:
        code: the reply code.
        text: the reply text; octets that are no UTF-8 are escaped as surrogates.
        ids: the class and the method that failed.
        out_of_step: where the next frame starts is unknown.
    """

    def __init__(
        self, code: int, text: str, ids: Ids = NO_METHOD, *, out_of_step: bool = False
    ) -> None:
        super().__init__(code, ids)
        self.code = code
        self.text = text
        self.ids = ids
        self.out_of_step = out_of_step


def fault(code: int, text: str, ids: Ids = NO_METHOD) -> Fault:
    """Return a fault whose text starts with the code's name."""
    return Fault(code, AMQPError(code, text).text, ids)


def internal() -> Fault:
    """Return the fault for what went wrong on this side, or was too odd to be described."""
    return Fault(INTERNAL_ERROR, "INTERNAL_ERROR")


def out_of_step(kind: int, payload: bytes, reason: str) -> Fault:
    """Return the fault after which no frame can be found any more."""
    text = f"FRAME_ERROR - {_snippet(kind, payload)}: {reason}"
    return Fault(FRAME_ERROR, text, out_of_step=True)


def unknown_frame(kind: int, payload: bytes) -> Fault:
    """Return the fault for a frame that is none."""
    return fault(FRAME_ERROR, f"{_snippet(kind, payload)}: unknown_frame")


def unexpected_frame(kind: int, payload: bytes) -> Fault:
    """Return the fault for a frame that has no place on its channel."""
    return fault(UNEXPECTED_FRAME, _snippet(kind, payload))


def undecodable(arguments: bytes, ids: Ids) -> Fault:
    """Return the fault for a method whose arguments end early or late."""
    numbers = ",".join(map(str, arguments))
    return Fault(FRAME_ERROR, f"FRAME_ERROR - cannot decode <<{numbers}>>", ids)


def _snippet(kind: int, payload: bytes) -> str:
    quantity = "all" if len(payload) <= _SHOWN else f"first {_SHOWN}"
    return f"type {kind}, {quantity} octets = {erlang.binary(payload[:_SHOWN])}"
