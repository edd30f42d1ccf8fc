"""A form in a request's body (RFC 6749, section 3.2 and appendix B)."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from busauth.testing.issuer.http.errors import OAuthError
from busauth.testing.issuer.http.messages import Request

_MEDIA_TYPE = "application/x-www-form-urlencoded"


class Form:
    """The parameters of a request; those without a value count as left out."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: Mapping[str, tuple[str, ...]] = {
            name: tuple(value for other, value in pairs if other == name and value)
            for name, _ in pairs
        }

    @classmethod
    def read(cls, request: Request) -> "Form":
        """Read a request's body.

        Raises:
            OAuthError: ``invalid_request``, it is no form.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != _MEDIA_TYPE:
            raise OAuthError("invalid_request", f"expected a body of type {_MEDIA_TYPE}")
        try:
            return cls(parse_qsl(request.body.decode(), errors="strict"))
        except ValueError:
            raise OAuthError("invalid_request", "the form is not readable as UTF-8") from None

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a parameter that may be repeated."""
        return self._values.get(name, ())

    def one(self, name: str) -> str | None:
        """Return the value of a parameter, None where it was left out.

        Raises:
            OAuthError: ``invalid_request``, it is there more than once.
        """
        values = self.all(name)
        if len(values) > 1:
            raise OAuthError("invalid_request", f"{name} is there more than once")
        return values[0] if values else None

    def required(self, name: str) -> str:
        """Return the value of a parameter that must be there.

        Raises:
            OAuthError: ``invalid_request``, it is missing, or there more than once.
        """
        value = self.one(name)
        if value is None:
            raise OAuthError("invalid_request", f"{name} is missing")
        return value
