"""What only the broker's management knows: policies, effective arguments, bindings, tags, flags.

Asked with the user and the password of the broker's URL, and answered for what they may see.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from yarl import URL

from busauth._tokens.fetch import Fetcher, shown
from busauth.cli.doctor.catalogue import Findings, finding
from busauth.cli.doctor.finding import Finding, told
from busauth.cli.doctor.looks.service import CONSUMER_TIMEOUT
from busauth.cli.doctor.subject import Consumed, Question, Subject
from busauth.errors import ConfigurationError, Deferred

_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404
_BOUNDS = ("max-length", "max-length-bytes", "message-ttl", "delivery-limit")
_PATHS = ("dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy", "overflow")
_DROPS = ("expires", *_BOUNDS, *_PATHS)
"""What a policy may say that drops messages, or sends them elsewhere."""

_BYTES = 1024 * 1024


class _Api:
    """Asks one management."""

    def __init__(self, base: str, broker: URL, unsafe_http: tuple[str, ...]) -> None:
        self._base = base.rstrip("/")
        self._vhost = quote(broker.path[1:] or "/", safe="")
        user, password = broker.user or "guest", broker.password or "guest"
        self._headers = {"Authorization": _basic(user, password)}
        self._fetcher = Fetcher(max_bytes=_BYTES, unsafe_http=unsafe_http)

    async def get(self, path: str) -> Any:
        """Return what is answered, None where it is not there.

        Args:
            path: below ``/api/``; ``{vhost}`` in it stands for the broker's.

        Raises:
            Deferred: it is not to be had.
        """
        url = f"{self._base}/api/{path.replace('{vhost}', self._vhost)}"
        reply = await self._fetcher.look(url, self._headers)
        if reply.status == _NOT_FOUND:
            return None
        if reply.status != _OK:
            why = ": a wrong password, or no tag" if reply.status == _UNAUTHORIZED else ""
            raise Deferred(f"status {reply.status}, expected 200{why}")
        try:
            return json.loads(reply.body)
        except ValueError:
            raise Deferred("no JSON, expected that of RabbitMQ's management") from None


def _basic(user: str, password: str) -> str:
    """Return credentials as HTTP has them (RFC 7617)."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


async def look(subject: Subject, question: Question, findings: Findings) -> None:
    """Find out what the management tells."""
    if question.management is None or subject.url is None:
        return
    where = shown(question.management)
    unsafe = () if subject.settings is None else subject.settings.unsafe_http
    api = _Api(question.management, subject.url, unsafe)
    try:
        await _of_broker(api, where, findings)
        for consumed in subject.consumed:
            await _of_queues(api, consumed, findings)
            if not subject.options.declare:  # else a bus binds as it starts
                await _of_bindings(api, consumed, findings)
    except (Deferred, ConfigurationError) as error:
        findings.add("management-unreachable", where, told(error))


async def _of_broker(api: _Api, where: str, findings: Findings) -> None:
    who = await api.get("whoami")
    tags = who.get("tags", ()) if isinstance(who, dict) else ()
    named = tags.split(",") if isinstance(tags, str) else tags  # a list from 3.9 on
    if "administrator" in named:
        findings.add("user-administrator", told(who.get("name")), "has the tag administrator")
    off = [
        told(each.get("name"))
        for each in await api.get("feature-flags") or ()
        if (each.get("state"), each.get("stability")) == ("disabled", "stable")
    ]
    if off:
        findings.add("feature-flags-off", where, ", ".join(off))


async def _of_queues(api: _Api, consumed: Consumed, findings: Findings) -> None:
    for name, arguments in consumed.around.items():
        queue = await api.get(f"queues/{{vhost}}/{quote(name, safe='')}")
        if isinstance(queue, dict):
            findings += _of_queue(consumed, name, arguments, queue)


async def _of_bindings(api: _Api, consumed: Consumed, findings: Findings) -> None:
    bindings = await api.get(f"queues/{{vhost}}/{quote(consumed.queue, safe='')}/bindings")
    there = {(each.get("source"), each.get("routing_key")) for each in bindings or ()}
    for each in consumed.bindings:
        if (each.exchange, each.routing_key) not in there:
            found = f"not bound to {each.exchange!r} by {each.routing_key!r}"
            findings.add("binding-missing", consumed.queue, found)


def _of_queue(
    consumed: Consumed, name: str, arguments: Mapping[str, Any], queue: Mapping[str, Any]
) -> Iterator[Finding]:
    policy = queue.get("effective_policy_definition")
    policy = policy if isinstance(policy, dict) else {}
    if changed := [key for key in _DROPS if _changes(key, arguments, policy)]:
        whose = queue.get("policy") or queue.get("operator_policy")
        said = ", ".join(f"{key} = {told(policy[key])}" for key in changed)
        yield finding("broker-policy-overrides", name, f"policy {told(whose)}: {said}")
    if name == consumed.queue:
        own = queue.get("arguments")
        timeout = own.get("x-consumer-timeout") if isinstance(own, dict) else None
        yield from _of_timeout(consumed, policy.get("consumer-timeout", timeout))


def _changes(key: str, arguments: Mapping[str, Any], policy: Mapping[str, Any]) -> bool:
    """Return whether a policy's word counts: of two numbers the lower, else the queue's own."""
    if key not in policy:
        return False
    said, own = policy[key], arguments.get(f"x-{key}")
    if own is None or not isinstance(own, int):
        return own is None
    return isinstance(said, int) and said < own


def _of_timeout(consumed: Consumed, timeout: object) -> Iterator[Finding]:
    """Compare a deadline with a timeout in milliseconds that is said for the queue."""
    deadline = consumed.rules.deadline
    if not isinstance(timeout, int) or deadline is None or deadline >= CONSUMER_TIMEOUT:
        return
    if deadline >= timeout / 1000:
        found = f"the deadline is {deadline:g} s, the queue's timeout {timeout / 1000:g} s"
        yield finding("deadline-beyond-timeout", consumed.queue, found)
