"""How a handler is called, worked out once from its annotations when it is decorated.

A parameter is injected for what it is annotated with, never for what it is called: `Caller`,
`Proven`, the aio-pika message, or the one body without a default (`kinds`).
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

from aio_pika.abc import AbstractIncomingMessage
from aio_pika.message import IncomingMessage

from busauth._amqp.delivery import Delivery
from busauth._amqp.handling.bodies import BodyReader
from busauth._amqp.handling.guarded import GuardedConsumer
from busauth._amqp.handling.kinds import BODIES, bare_of, is_body, told
from busauth._arguments import kind_of
from busauth._callables import hints_of, is_async, name_of, parameters_of, wraps_async, yields
from busauth._messages.proof import ProofDemand, Proofs, Proven
from busauth.caller import Actor, Caller, Late
from busauth.errors import ConfigurationError

Handler = Callable[..., Awaitable[Any]]

_MESSAGE_TYPES = (AbstractIncomingMessage, IncomingMessage)
_PROVEN = frozenset((Caller, Actor, Late, Proven, *_MESSAGE_TYPES))
"""What is told of a message, and never read out of its body."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Which parameter takes what.

    Attributes:
        handler: the bare function or method, a partial of one, or an object with a `__call__`.
        caller, proven, message, body: names of the parameters that take them, if any do.
        reader: what reads the body.
        needs_proof: whether `proven` cannot be None.
        demands: the type of which nobody has one, where it takes such; None where it can be called
            for nobody.
        call: what is awaited: the handler, where it is async; one that blocks is put into a thread
            by who has some.
        blocks: whether the handler is a plain function.
    """

    handler: Callable[..., Any]
    caller: str | None
    message: str | None
    body: str | None
    reader: BodyReader | None
    proven: str | None
    needs_proof: bool
    demands: type | None
    call: Handler
    blocks: bool

    @property
    def takes_nobody(self) -> bool:
        """Return whether it can be called for nobody."""
        return self.demands is None

    def arguments(
        self,
        message: Delivery | AbstractIncomingMessage,
        caller: Caller | None,
        proven: Proven | None = None,
    ) -> dict[str, Any]:
        """Return the handler's arguments.

        Raises:
            BadMessage: ``body.encoding``, ``body.not_json`` or ``body.invalid``.
        """
        given: dict[str, Any] = {}
        if self.caller is not None:
            given[self.caller] = caller
        if self.message is not None:
            given[self.message] = message.message if isinstance(message, Delivery) else message
        if self.proven is not None:
            given[self.proven] = proven
        if self.body is not None and self.reader is not None:
            given[self.body] = self.reader.read(message)
        return given


def compile_plan(handler: Callable[..., Any]) -> CallPlan:
    """Work out how to call a handler.

    Raises:
        TypeError: a parameter cannot be injected; says which, and what to change.
    """
    name = name_of(handler)
    if isinstance(handler, GuardedConsumer):  # async itself, it would be taken for a handler
        raise TypeError(
            f"{handler.__name__}: got the guarded consumer of {handler.queue!r}, expected the bare "
            f"function; for another queue as well, decorate {handler.__name__}.handler"
        )
    wrong = _what_is_wrong(handler)
    if wrong is not None:
        raise TypeError(f"{name}: got {wrong}")
    hints = _hints(handler, name)
    slots: dict[str, tuple[str, Any]] = {}
    parameters = _parameters(handler, name)
    for parameter in parameters:
        slot = _slot(parameter, hints.get(parameter.name), name)
        if slot is None:
            continue
        if slot in slots:
            raise TypeError(
                f"{name}: {slots[slot][0]} and {parameter.name} are both its {slot}; expected one: "
                "bind the other with functools.partial, or give it a default"
            )
        slots[slot] = (parameter.name, hints[parameter.name])
    if "body" not in slots:
        _check_no_body_is_left_out(parameters, hints, name)
    named = {slot: found[0] for slot, found in slots.items()}
    return CallPlan(
        handler,
        named.get("caller"),
        named.get("message"),
        named.get("body"),
        _reader(*slots["body"], name) if "body" in slots else None,
        proven=named.get("proven"),
        needs_proof="proven" in slots and bare_of(slots["proven"][1]) is Proven,
        demands=_demanded(hint for _, hint in slots.values()),
        call=cast("Handler", handler),
        blocks=not is_async(handler),
    )


def _demanded(hints: Iterable[Any]) -> type | None:
    bare = {bare_of(hint) for hint in hints}
    return next((each for each in (Caller, Proven) if each in bare), None)


def _reader(parameter: str, hint: Any, name: str) -> BodyReader:
    try:
        return BodyReader(hint)
    except TypeError as error:
        raise TypeError(f"{name}: parameter {parameter!r} cannot be injected: {error}") from error


def check_proven(plan: CallPlan, proofs: Proofs | None) -> None:
    """Refuse a handler that counts on a proof which may not be there.

    Raises:
        ConfigurationError: says what to change.
    """
    if plan.needs_proof and (proofs is None or proofs.demand is not ProofDemand.REQUIRED):
        raise ConfigurationError(
            f"{name_of(plan.handler)}: {plan.proven} is annotated as Proven, and no message needs "
            "a proof here: annotate it as `Proven | None`, or demand proofs with "
            "proofs=Proofs([...])"
        )


def _what_is_wrong(handler: object) -> str | None:
    """Say what was handed in that is no handler, and what to do; None where it is one."""
    if is_async(handler):
        return None
    if isinstance(handler, type):
        return "a class, expected an instance of it, with a `__call__`"
    if not callable(handler):
        return f"{kind_of(handler)} that cannot be called, expected an `async def` or a function"
    if yields(handler):
        return "a generator, which runs nothing when it is called; expected it without a `yield`"
    if wraps_async(handler):
        return (
            "a wrapper that is not async around a function that is, expected the wrapper to be an "
            "`async def` that awaits it"
        )
    return None


def _parameters(handler: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        return parameters_of(handler)
    except (TypeError, ValueError):  # their words show what a partial binds, secrets included
        raise TypeError(
            f"{name}: its parameters cannot be told; expected a signature, and of a partial that "
            "it binds no more than there is"
        ) from None


def _hints(handler: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return hints_of(handler)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise TypeError(
            f"{name}: an annotation cannot be resolved ({error}); import what it names at run time "
            "(not under TYPE_CHECKING) and define it at module level"
        ) from error


def _slot(parameter: inspect.Parameter, hint: Any, name: str) -> str | None:
    """Return what a parameter takes, None where its own default serves."""
    keyword = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    bare = bare_of(hint)
    if keyword and bare in (Caller, Caller | None):
        return "caller"
    if keyword and bare in (Proven, Proven | None):
        return "proven"
    if keyword and bare in _MESSAGE_TYPES:
        return "message"
    if parameter.default is not parameter.empty:
        _check_default(parameter, hint, name)
        return None
    if keyword and is_body(hint, _PROVEN):
        return "body"
    if bare is not Caller and Caller in _members(hint):
        raise TypeError(
            f"{name}: parameter {parameter.name!r} is annotated as {told(hint)}: expected Caller, "
            "or `Caller | None`, which is None where a consumer in shadow hands over as nobody"
        )
    raise TypeError(
        f"{name}: parameter {parameter.name!r} cannot be injected; annotate it as Caller, as "
        f"Proven, as AbstractIncomingMessage or as what the body is ({BODIES}), or give it a "
        "default"
    )


def _check_default(parameter: inspect.Parameter, hint: Any, name: str) -> None:
    """Refuse a default that would win always over what somebody hopes to be given."""
    meant = next((each for each in _members(hint) if each in _PROVEN), None)
    if meant is None:
        return
    annotation = "`Proven | None`" if meant is Proven else f"{meant.__name__} alone"
    if meant is Caller:
        annotation = "Caller or `Caller | None`"
    expected = (
        f"expected {annotation}, without a default, as it is given always"
        if meant in (Caller, Proven, *_MESSAGE_TYPES)
        else "expected a Caller, which has it"
    )
    raise TypeError(
        f"{name}: parameter {parameter.name!r} would be its default with each message, and never "
        f"what came with it; {expected}"
    )


def _check_no_body_is_left_out(
    parameters: Iterable[inspect.Parameter], hints: Mapping[str, Any], name: str
) -> None:
    """Refuse what reads as a body that may be missing, where nothing else is the body."""
    for each in parameters:
        if each.default is None and is_body(hints.get(each.name), _PROVEN):
            raise TypeError(
                f"{name}: parameter {each.name!r} would be None with each message, and its body "
                "would be read by nobody; leave out the default where it is the body (a body of "
                "`null` is None by `| None`), and bind with functools.partial what is none"
            )


def _members(hint: Any) -> Iterator[type]:
    """Yield the plain types that a union is made of; of such a type, that."""
    bare = bare_of(hint)
    if get_origin(bare) in (Union, UnionType):
        for each in get_args(bare):
            yield from _members(each)
    elif isinstance(bare, type):
        yield bare
