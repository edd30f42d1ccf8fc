"""Errors of the endpoints (RFC 6749, section 5.2)."""

from busauth.testing.issuer.http.messages import NO_STORE, Response, json_response

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="issuer", charset="UTF-8"'}
_STATUSES = {"invalid_client": 401}
_BAD_REQUEST = 400


class OAuthError(Exception):
    """A request that is refused.

    Args:
        code: the registered `error`.
        description: for people; never a token or a secret.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description

    def response(self) -> Response:
        """Return the error as an answer; an unknown client is challenged."""
        body = {"error": self.code, "error_description": self.description}
        status = _STATUSES.get(self.code, _BAD_REQUEST)
        challenge = _CHALLENGE if self.code in _STATUSES else {}
        return json_response(body, status, {**NO_STORE, **challenge})
