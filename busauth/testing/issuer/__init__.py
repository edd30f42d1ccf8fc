"""An issuer of one's own: mints tokens, good and hostile, and answers for them over HTTP.

Tokens:

```python
issuer = Issuer(algorithm="ES256", clock=clock)
issuer.token("alice", scope="orders:write")       # verifies; changes are claims, None drops one
issuer.token(header={"typ": "JWT"}, exp=math.inf)  # any header, any claim, any JSON
issuer.token(algorithm="none")                     # or key=SigningKey(...), algorithm="HS256"
issuer.sign(b"no claims at all")                   # any payload
issuer.verbatim(exp="1e999")                       # a claim spelled as this text
issuer.forged("alice")                             # the right kid, somebody else's signature
issuer.hostile()                                   # everything that must be refused, by name
issuer.reference("alice")                          # opaque: only introspection knows it
```

Keys: `rotate` signs with another one, `retire` stops publishing one. Tokens: `revoke` takes one
back, `introspect` says what one is worth.

Over HTTP there are discovery (RFC 8414 and OpenID Connect), the JWK set, introspection (RFC 7662,
signed on demand: RFC 9701), revocation (RFC 7009) and tokens: for tokens (RFC 8693), for JWTs of
issuers that it trusts (RFC 7523), and a client's own. They are for the clients that `register` made
and for `issuer.client`, and are asked in process or on a socket:

```python
async with httpx.AsyncClient(transport=issuer.transport()) as http: ...
Fetcher(transport=issuer.transport())
with IssuerServer(issuer) as server: ...
```

Transport and server remember what was asked (`requests`, `received`), and fail when told: `down`,
`delay`, `broken`, `replies`, `rewrite`.
"""

from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.http.messages import Request, Response
from busauth.testing.issuer.issuer import Issuer
from busauth.testing.issuer.keys import SigningKey
from busauth.testing.issuer.server import IssuerServer
from busauth.testing.issuer.transport import IssuerTransport

__all__ = [
    "Client",
    "Issuer",
    "IssuerServer",
    "IssuerTransport",
    "Request",
    "Response",
    "SigningKey",
]
