"""How a body becomes what its handler takes, and what is told of one that does not.

Judging a body costs about what decoding it costs, however wrong it is: lists and tables stop at
their first error, and what is told of errors is made for a few of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from pydantic import ValidationError
from pydantic_core import SchemaValidator

from busauth._amqp.delivery import Delivery
from busauth._amqp.handling.kinds import bare_of, is_overridden, kind_of_body
from busauth.audit import LOGGER
from busauth.errors import BadMessage, Deferred, Refused

_TOLD, _SHOWN = 20, 3
"""Errors that are told one by one, and how many of them are shown."""

_CONTAINERS = frozenset(
    ("list", "tuple", "set", "frozenset", "deque", "dict", "frozendict", "ordered-dict", "counter")
)
_PARTS = frozenset(
    (
        *("schema", "items_schema", "keys_schema", "values_schema", "extras_schema"),
        *("lax_schema", "strict_schema", "json_schema", "python_schema", "arguments_schema"),
        *("choices", "steps", "fields", "definitions"),
    )
)
"""Where a core schema has other schemas in it; everything else in it may be anybody's data."""


_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';\s]*)""", re.IGNORECASE)
_UTF_8 = frozenset(("utf-8", "utf8", "us-ascii"))
_UNCHANGED = frozenset(("utf-8", "utf8", "identity"))

Received = Delivery | AbstractIncomingMessage


class BodyReader:
    """Reads bodies as what a handler's parameter is annotated with.

    Args:
        hint: the annotation; see `kinds.is_body`.

    Attributes:
        is_bounded: whether it is held to `GuardOptions.max_body_bytes`.
        name: what a body is read as, for people.

    Raises:
        TypeError: pydantic can make nothing of it.
    """

    def __init__(self, hint: Any) -> None:
        self._kind = kind_of_body(hint)
        bare = bare_of(hint)
        self.name = bare.__name__ if isinstance(bare, type) else str(bare)
        self._is_json = bare not in (bytes, str)
        self._content = _json_of if self._is_json else _bytes_of if bare is bytes else _text_of
        # bytes are there already; what is made of a small body can be a large object
        self.is_bounded = bare is not bytes

    def read(self, message: Received) -> Any:
        """Return the body.

        A model's own validators are held to what is there: they must not ask anybody, and whatever
        they raise speaks of this body, as pydantic lets a `TypeError` through.

        Raises:
            BadMessage: ``body.encoding``, ``body.not_json`` or ``body.invalid``.
            Deferred, Refused: a validator said so.
        """
        content = self._content(message)
        try:
            return self._validate(content)
        except ValidationError as error:
            raise self._refusal(error) from None  # pydantic's own words show what is in the body
        except RecursionError:  # its words are about this program's stack
            raise BadMessage("body.not_json", found="too deep", expected="JSON") from None
        except (Refused, Deferred):  # a verdict, and no mistake in a validator
            raise
        except Exception as error:
            found = f"{type(error).__name__} in the model"
            raise BadMessage("body.invalid", found=found, expected=self._kind.name) from error

    def _refusal(self, error: ValidationError) -> BadMessage:
        """Tell where the body is wrong, in the model's own names, and nothing of what is there."""
        expected, count = self._kind.name, error.error_count()
        if count > _TOLD:
            return BadMessage("body.invalid", found=f"{count} errors", expected=expected)
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        if problems[0]["type"] == "json_invalid":
            return BadMessage("body.not_json", found="a body that is not JSON", expected=expected)
        shown = []
        for problem in problems[:_SHOWN]:
            # member names that the sender chose are data, and data stays in the body
            parts = (
                str(part) if isinstance(part, int) or part in self._names else "*"
                for part in problem["loc"]
            )
            shown.append(f"{'.'.join(parts) or 'body'}: {problem['type']}")
        return BadMessage("body.invalid", found="; ".join(shown), expected=expected)

    @cached_property
    def _validate(self) -> Callable[[Any], Any]:
        """What validates: pydantic's own validator, but for when it stops.

        pydantic offers that for single fields alone.
        """
        kind = self._kind
        own = kind.validate_json if self._is_json else kind.validate_python
        if is_overridden(kind, own.__name__):
            return own  # it may do anything, and is called as it is
        try:
            schema = _at_first_error(kind.schema)
            # private, but pydantic's own way: models in it must not bring their validators along
            made = SchemaValidator(schema, _use_prebuilt=False)
        except Exception as error:  # another pydantic's schemas: slower, and as right
            LOGGER.info("%s: wrong bodies are judged to their end: %s", kind.name, error)
            return own
        return made.validate_json if self._is_json else made.validate_python

    @cached_property
    def _names(self) -> frozenset[str]:
        """The names that the model and the models in it have for their fields."""
        try:
            return frozenset(_properties_in(self._kind.json_schema()))
        except Exception:  # what a model says of its schema is its own code as well
            return frozenset(self._kind.fields)


def _bytes_of(message: Received) -> bytes:
    return message.body


def _json_of(message: Received) -> bytes:
    # JSON that systems exchange is in UTF-8 (RFC 8259, section 8.1)
    _check_encoding(message, "JSON in UTF-8")
    return message.body


def _text_of(message: Received) -> str:
    expected = "text in UTF-8"
    _check_encoding(message, expected)
    charset = _CHARSET.search(str(message.content_type or ""))
    if charset is not None and charset[1].lower() not in _UTF_8:
        raise BadMessage("body.encoding", found=charset[1], expected=expected)
    try:
        return message.body.decode()
    except UnicodeDecodeError:  # its words show what is there
        found = "bytes that are no UTF-8"
        raise BadMessage("body.encoding", found=found, expected=expected) from None


def _check_encoding(message: Received, expected: str) -> None:
    encoding = message.content_encoding
    if encoding and encoding.lower() not in _UNCHANGED:
        raise BadMessage("body.encoding", found=encoding, expected=expected)


def _at_first_error(schema: Mapping[str, Any]) -> Any:
    """Return a core schema like this one whose lists and tables stop at their first error."""
    parts = {key: _part(value) if key in _PARTS else value for key, value in schema.items()}
    return {**parts, "fail_fast": True} if schema.get("type") in _CONTAINERS else parts


def _part(part: Any) -> Any:
    """Do the same with what holds schemas: a list, or a table by names that somebody chose."""
    if isinstance(part, list | tuple):
        return type(part)(map(_part, part))
    if not isinstance(part, Mapping):
        return part  # a label
    if isinstance(part.get("type"), str):
        return _at_first_error(part)
    return {name: _part(each) for name, each in part.items()}


def _properties_in(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _properties_in(part)
