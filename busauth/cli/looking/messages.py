"""A message in a file, as JSON, such as a broker's page or a log has it."""

import json
import sys
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from busauth._amqp.judging.received import Received
from busauth.cli.options import fail

_KNOWN = ("headers", "properties", "body", "body_base64", "exchange", "routing_key", "redelivered")
_PROPERTIES = (
    *("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id"),
    *("reply_to", "expiration", "message_id", "timestamp", "type", "user_id", "app_id"),
    "cluster_id",
)


def read_message(path: Path, queue: str) -> Received:
    """Read a message; ``-`` is standard input.

    Raises:
        typer.Exit: it is none, which has been said without any of it.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
        said = json.loads(text)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    except (ValueError, RecursionError):  # nothing of it is shown: it holds a token
        fail(f"{path} is no JSON: {_expected()}")
    if not isinstance(said, dict):
        fail(f"{path} holds JSON of another kind: {_expected()}")
    return _received(said, path, queue)


def _received(said: Mapping[str, Any], path: Path, queue: str) -> Received:
    headers, properties = _table(said, "headers", path), _table(said, "properties", path)
    headers = {**_table(properties, "headers", path), **headers}  # as RabbitMQ's page has them
    odd = [*(said.keys() - set(_KNOWN)), *(properties.keys() - {*_PROPERTIES, "headers"})]
    if odd:
        fail(f"{path}: {', '.join(sorted(odd))}: {_expected()}")
    named = {name: value for name, value in properties.items() if name != "headers"}
    return Received(
        body=_body(said, path),
        exchange=said.get("exchange", ""),
        routing_key=said.get("routing_key", queue),
        redelivered=said.get("redelivered") is True,
        headers=headers,
        **named,
    )


def _table(said: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = said.get(name) or {}
    return table if isinstance(table, dict) else fail(f"{path}: {name} is no table")


def _body(said: Mapping[str, Any], path: Path) -> bytes:
    body, encoded = said.get("body"), said.get("body_base64")
    if (body is None) == (encoded is None):
        fail(f"{path}: expected one of body, as text or as JSON, and body_base64")
    if encoded is None:  # a body of JSON may be written as what it is
        text = body if isinstance(body, str) else json.dumps(body)
        try:
            return text.encode()
        except UnicodeEncodeError:
            fail(f"{path}: body is no text that has bytes: expected body_base64")
    try:
        return b64decode(encoded, validate=True)
    except (ValueError, TypeError):
        fail(f"{path}: body_base64 is no base64")


def _expected() -> str:
    return (
        "expected an object with `headers` and `properties` (tables), `body` or `body_base64`, "
        "and, where it did not come by the default exchange, `exchange` and `routing_key`"
    )
