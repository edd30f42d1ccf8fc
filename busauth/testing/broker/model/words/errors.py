"""Why a channel or a connection is closed (AMQP 0-9-1, section 1.2), in RabbitMQ's words."""

CONTENT_TOO_LARGE = 311
NO_ROUTE = 312
CONNECTION_FORCED = 320
INVALID_PATH = 402
ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
FRAME_ERROR = 501
SYNTAX_ERROR = 502
COMMAND_INVALID = 503
CHANNEL_ERROR = 504
UNEXPECTED_FRAME = 505
NOT_ALLOWED = 530
NOT_IMPLEMENTED = 540
INTERNAL_ERROR = 541

_NAMES = {
    311: "CONTENT_TOO_LARGE",
    312: "NO_ROUTE",
    320: "CONNECTION_FORCED",
    402: "INVALID_PATH",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}
_CHANNEL_ERRORS = frozenset({311, 403, 404, 405, 406})


class AMQPError(Exception):
    """A method that cannot be done; the wire closes what it must.

    Attributes:
        code: the reply code.
        text: the reply text: the code's name, and what was found and expected.
        closes_connection: a hard error; otherwise only the channel closes.
    """

    def __init__(self, code: int, text: str, *, closes_connection: bool | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = f"{_NAMES[code]} - {text}"
        self.closes_connection = (
            code not in _CHANNEL_ERRORS if closes_connection is None else closes_connection
        )
