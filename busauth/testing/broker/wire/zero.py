"""Channel 0: methods about the connection itself."""

from pamqp.base import Frame
from pamqp.constants import FRAME_HEARTBEAT, FRAME_METHOD

from busauth.testing.broker.wire.faults import (
    NO_METHOD,
    Fault,
    HangUp,
    Ids,
    internal,
    unexpected_frame,
)
from busauth.testing.broker.wire.framing import decoding
from busauth.testing.broker.wire.framing.content import check_frame


def method_on_zero(kind: int, payload: bytes) -> tuple[Frame, Ids] | None:
    """Decode a method on channel 0; None for a heartbeat.

    Raises:
        Fault: 505, content has no place here; 541, the method cannot be decoded.
        HangUp: there is no such method.
    """
    check_frame(kind, payload, on_channel=False)
    if kind == FRAME_HEARTBEAT:
        return None
    if kind != FRAME_METHOD:
        raise unexpected_frame(kind, payload)
    ids = decoding.ids_of(payload)
    try:
        return decoding.method(payload), ids
    except Fault as error:
        if error.ids == NO_METHOD:
            raise Fault(error.code, error.text, ids) from error
        raise internal() from error
    except HangUp as error:
        raise internal() from error
