"""The one switch: `Telemetry().watch(bus)`."""

from typing import TypeVar
from weakref import WeakKeyDictionary

from opentelemetry.metrics import MeterProvider, get_meter, get_meter_provider
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import TracerProvider, get_tracer

from busauth._amqp.bus import Bus
from busauth._amqp.guard import Guard
from busauth._amqp.publishing.watching import Passage
from busauth._arguments import checked
from busauth.errors import ConfigurationError
from busauth.integrations.otel import names
from busauth.integrations.otel.metrics import Metrics
from busauth.integrations.otel.spans import Sending, Tracing

Watched = TypeVar("Watched", Bus, Guard)

_global = get_meter_provider
"""Stands for the global provider, whichever that is: it may be set later."""

_measuring: WeakKeyDictionary[object, Metrics] = WeakKeyDictionary()
"""Who measures, for each provider."""


class Telemetry:
    """Traces and measures the messages of services.

    ```python
    bus = Telemetry().watch(Bus("amqp://localhost/", guard=guard, service="orders"))
    ```

    By itself it exports nothing: an application configures OpenTelemetry's SDK as ever, and its
    samplers, exporters and views hold here as well.

    Args:
        tracer_provider: makes the spans; default: the global one.
        meter_provider: makes the metrics; default: the global one.
        propagator: reads and writes trace context; default: the global one, as configured when a
            bus or a guard is watched.
        subjects: spans name the caller (``enduser.id``): personal data, wherever they go.
    """

    @checked
    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        subjects: bool = False,
    ) -> None:
        self._propagator = propagator
        self._subjects = subjects
        self._tracer = get_tracer(
            names.SCOPE, tracer_provider=tracer_provider, schema_url=names.SCHEMA
        )
        self._metrics = _metrics_of(meter_provider)

    def watch(self, watched: Watched) -> Watched:
        """Watch what a bus or a guard publishes and handles from now on, and return it.

        Raises:
            ConfigurationError: somebody watches it already; or its proofs speak of headers that
                trace context travels in, which are written after a proof is signed.
        """
        guard = watched.guard if isinstance(watched, Bus) else watched
        propagator = self._propagator or get_global_textmap()
        _check(guard, propagator)
        tracing = Tracing(tracer=self._tracer, propagator=propagator, subjects=self._subjects)
        guard.core.watch(_Watcher(tracing, self._metrics))
        self._metrics.watch(guard.core)
        return watched


class _Watcher:
    """Watches one guard's messages."""

    def __init__(self, tracing: Tracing, metrics: Metrics) -> None:
        self._tracing, self._metrics = tracing, metrics
        self.handling = tracing.handling
        self.told = metrics.told

    def publishing(self, passage: Passage) -> Sending:
        """Begin to watch a publication."""
        return self._tracing.publishing(passage, self._metrics.published)


def _metrics_of(provider: MeterProvider | None) -> Metrics:
    """Return the one that measures for a provider, the global one if it is None or that.

    Of two instruments of a name the SDK keeps the first: a second one's gauges would be lost.
    """
    key = _global if provider in (None, get_meter_provider()) else provider
    if key not in _measuring:
        meter = get_meter(names.SCOPE, meter_provider=provider, schema_url=names.SCHEMA)
        _measuring[key] = Metrics(meter)
    return _measuring[key]


def _check(guard: Guard, propagator: TextMapPropagator) -> None:
    if guard.core.watcher is not None:
        raise ConfigurationError(f"{guard!r} is watched already: expected one Telemetry for each")
    signer = guard.messages.signer
    bound = propagator.fields.intersection(signer.headers if signer else ())
    if bound:
        raise ConfigurationError(
            f"proofs speak of {', '.join(sorted(bound))}, in which trace context travels: expected "
            "a ProofSigner without, as trace context is written after a proof, and decides nothing"
        )
