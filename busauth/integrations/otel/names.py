"""What things are called: the one place to change when OpenTelemetry's conventions do.

The messaging conventions are those of version 1.44, which are in development; what they have no
name for begins with ``busauth.``.
"""

from typing import Final, NamedTuple

SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "busauth"

SYSTEM: Final = "messaging.system"
RABBITMQ: Final = "rabbitmq"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
ROUTING_KEY: Final = "messaging.rabbitmq.destination.routing_key"
DELIVERY_TAG: Final = "messaging.rabbitmq.message.delivery_tag"
MESSAGE_ID: Final = "messaging.message.id"
CONVERSATION: Final = "messaging.message.conversation_id"
BODY_SIZE: Final = "messaging.message.body.size"
HOST: Final = "server.address"
PORT: Final = "server.port"
ERROR: Final = "error.type"
END_USER: Final = "enduser.id"
PSEUDONYM: Final = "enduser.pseudo.id"

PUBLISH, SEND, PROCESS = "publish", "send", "process"
"""Names and types of operations."""

DEFAULT_EXCHANGE: Final = "amq.default"

OUTCOME: Final = "busauth.outcome"
CODE: Final = "busauth.code"
POLICY: Final = "busauth.policy"
ISSUER: Final = "busauth.issuer"
TRANSACTION: Final = "busauth.transaction"
ATTEMPT: Final = "busauth.attempt"
AGE: Final = "busauth.token.age"
LATENESS: Final = "busauth.token.lateness"
LINK: Final = "busauth.link"


class Metric(NamedTuple):
    """One metric, as it is made and documented.

    Attributes:
        name: as OpenTelemetry has it.
        unit: as UCUM has it.
        description: what it measures.
    """

    name: str
    unit: str
    description: str


DECISIONS = Metric("busauth.decisions", "{event}", "What became of messages, by outcome and code")
TOKEN_AGE = Metric("busauth.token.age", "s", "Age of tokens when they were judged")
TOKEN_LATENESS = Metric("busauth.token.lateness", "s", "Seconds past exp of tokens accepted late")
QUEUE_TIME = Metric("busauth.queue.time", "s", "From a trusted published instant to the decision")
PROCESS_DURATION = Metric("messaging.process.duration", "s", "How long handlers ran")
OPERATION_DURATION = Metric(
    "messaging.client.operation.duration", "s", "From a publication to the broker's confirmation"
)
IN_FLIGHT = Metric("busauth.messages.in_flight", "{message}", "Deliveries that are held")
PAUSED = Metric(
    "busauth.consumers.paused", "{consumer}", "Consumers that wait, as they cannot decide"
)
KEYS_AGE = Metric("busauth.keys.age", "s", "Since an issuer's keys were fetched")
FEED_LAG = Metric(
    "busauth.revocation.lag", "s", "Age of the newest heartbeat of the revocation feed"
)

METRICS: Final = (
    *(DECISIONS, TOKEN_AGE, TOKEN_LATENESS, QUEUE_TIME, PROCESS_DURATION, OPERATION_DURATION),
    *(IN_FLIGHT, PAUSED, KEYS_AGE, FEED_LAG),
)
