"""HTTP as values: what was asked and what is answered, whichever way it travels."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request; it prints without headers and body, where tokens and secrets are.

    Attributes:
        method: in capitals.
        target: path and query, as they were sent.
        headers: names in lower case.
        body: what came after the headers.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; it prints without its body."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    def head(self) -> dict[str, str]:
        """Return the headers as they are sent, with the length of the body."""
        return {**self.headers, "Content-Length": str(len(self.body))}


def json_response(
    value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON object as an answer."""
    return Response(
        status, {"Content-Type": JSON, **(headers or {})}, json.dumps(dict(value)).encode()
    )
