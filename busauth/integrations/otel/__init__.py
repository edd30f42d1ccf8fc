"""What a service's messages meet, as traces and metrics of OpenTelemetry's (extra ``otel``)."""

from busauth._doors import hand_out
from busauth._extras import needs

with needs(__name__, "otel", "opentelemetry"):
    from busauth.integrations.otel.logs import AuditLogs
    from busauth.integrations.otel.telemetry import Telemetry

__all__ = ["AuditLogs", "Telemetry"]

hand_out(__name__, globals())
