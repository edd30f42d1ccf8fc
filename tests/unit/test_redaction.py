"""No token in any text."""

import logging
import time
import traceback
from collections.abc import Callable

import pytest
from pamqp.commands import Basic

from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import check_frame
from busauth._redaction import (
    REDACTED,
    TOKEN_SHAPE,
    TokenFilter,
    quiet_transport_logs,
    redact,
    redacted_traceback,
)
from busauth.cli.run.logs import LogLevel, configure_logs
from busauth.errors import (
    EVIDENCE_LIMIT,
    BadMessage,
    Forbidden,
    HandlerFailed,
    NotGenuine,
    PublishError,
    Refused,
    Reject,
    Untimely,
    evidence,
)
from tests.unit.support import Signer, payload, token

RAW = token(Signer("ES256"))
JWE = ".".join(["eyJhbGciOiJkaXIifQ", "", "bm9uY2U", "Y2lwaGVy", "dGFn"])


@pytest.mark.parametrize(
    "text",
    [
        RAW,
        f"Bearer {RAW}",
        f"before {RAW} after",
        f"Bearer%20{RAW}",
        f"token={RAW}&x=y",
        f"{{'authorization': 'Bearer {RAW}'}}",
        f"b'Bearer {RAW}'",
        f"{RAW} {RAW}",
        f"{RAW}\n{RAW}",
        f"x{RAW}",
        f"\\x08{RAW}",
        JWE,
    ],
)
def test_every_token_in_a_text_is_replaced(text: str) -> None:
    """Wherever a token stands, no part of it is left."""
    shown = redact(text)
    assert REDACTED in shown
    for raw in (RAW, JWE):
        for part in raw.split("."):
            assert not part or part not in shown


@pytest.mark.parametrize(
    "header",
    [
        b'{ "alg":"ES256","kid":"main" }',
        b'{\n  "alg": "ES256", "kid": "main"\n}',
        b'{\r\n "alg":"ES256", "kid":"main"}',
        b'{\t"alg":"ES256","kid":"main"}',
        b'{"1":1,"alg":"ES256","kid":"main"}',
    ],
)
def test_a_header_with_blanks_hides_no_token(header: bytes) -> None:
    """JSON may begin with blanks; such a token verifies, and is replaced like others."""
    raw = Signer("ES256").sign(payload(), header=header)
    assert redact(f"Bearer {raw}.") == f"Bearer {REDACTED}"
    assert TOKEN_SHAPE.search(f"authorization {raw!r}")


def test_a_token_that_was_cut_off_shows_no_claims() -> None:
    """Who shortened a token before logging it has not hidden its claims; redaction does."""
    header, claims, _ = RAW.split(".")
    assert redact(f"'{header}.{claims[:60]}'...") == f"'{REDACTED}'..."
    assert redact(f"{header}.{claims}") == REDACTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing here",
        "eyJ",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyes.are.open",
        "framework-x.example.com",
        "busauth._tokens.keys.key",
        "keyed.by.name",
        "1.2.3",
        "...",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    """What has not the shape of a token is not touched."""
    assert redact(text) is text


@pytest.mark.parametrize("piece", ["eyJ", "eyJaaaa", "eyJaaaa.", "eyA", "e", ".", "ewo"])
def test_redaction_takes_linear_time(piece: str) -> None:
    """A sender's header of a whole frame cannot keep the consumer busy."""
    text = piece * (131_072 // len(piece))
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 0.5


def record(message: object, *args: object) -> logging.LogRecord:
    return logging.LogRecord("aiormq", logging.DEBUG, __file__, 1, message, args, None)


def test_the_filter_rewrites_records_with_tokens() -> None:
    """The message is formatted, then redacted; nothing is dropped."""
    entry = record("frame %s of %d", f"Bearer {RAW}", 3)
    assert TokenFilter().filter(entry) is True
    assert entry.getMessage() == f"frame Bearer {REDACTED} of 3"


def test_the_filter_leaves_other_records_alone() -> None:
    """A record without a token keeps its arguments."""
    entry = record("frame %s", "harmless")
    assert TokenFilter().filter(entry) is True
    assert (entry.msg, entry.args) == ("frame %s", ("harmless",))


def test_the_filter_does_not_break_on_a_record_that_is_broken() -> None:
    """A log call with wrong arguments is logging's problem, not its caller's."""
    entry = record("%d frames of %s", RAW)
    assert TokenFilter().filter(entry) is True
    assert RAW not in f"{entry.msg} {entry.args}"


def test_the_filter_redacts_tracebacks() -> None:
    """An exception that is logged with its traceback shows no token either."""
    entry = record("failed")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- its text is the token
        int(RAW)
    entry.exc_info = (caught.type, caught.value, caught.tb)
    TokenFilter().filter(entry)
    shown = logging.Formatter().format(entry)
    assert RAW not in shown
    assert f"with base 10: '{REDACTED}" in shown
    assert RAW[:20] not in shown


def test_transport_loggers_are_quieted_once(caplog: pytest.LogCaptureFixture) -> None:
    """Frames that aio-pika and aiormq print at DEBUG carry no token."""
    quiet_transport_logs()
    quiet_transport_logs()
    for name in ("aiormq.connection", "aiormq.connection.marshall", "aio_pika.message"):
        logger = logging.getLogger(name)
        assert sum(isinstance(one, TokenFilter) for one in logger.filters) == 1
        with caplog.at_level(logging.DEBUG, name):
            logger.debug("got %r", {"authorization": f"Bearer {RAW}"})
    assert RAW not in caplog.text
    assert caplog.text.count(REDACTED) == 3


def test_a_traceback_is_redacted() -> None:
    """An error's own text may hold a token; its traceback shows none."""
    shown = redacted_traceback(ValueError(f"bad {RAW}"))
    assert f"ValueError: bad {REDACTED}" in shown
    assert RAW not in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        ("", ""),
        ("plain", "plain"),
        (5, "5"),
        ({"a": [1]}, "{'a': [1]}"),
        (f"iss={RAW}", f"iss={REDACTED}"),
        ({"iss": RAW}, f"{{'iss': '{REDACTED}'}}"),
        (RAW.encode(), f"b'{REDACTED}'"),
        ("two\nlines", "'two\\nlines'"),
        ("\ud800", "'\\ud800'"),
        ("\x1b[31mred", "'\\x1b[31mred'"),
        ("\u202eright", "'\\u202eright'"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
    ],
)
def test_evidence_is_bounded_printable_and_without_tokens(value: object, shown: str | None) -> None:
    """What a sender chose becomes one short line without secrets."""
    assert evidence(value) == shown


def test_a_token_at_the_edge_of_the_limit_is_replaced_before_it_is_cut() -> None:
    """Cutting never leaves the head of a token."""
    shown = evidence("x" * (EVIDENCE_LIMIT - 30) + " " + RAW)
    assert shown is not None
    assert "eyJ" not in shown


@pytest.mark.parametrize("before", [0, 1, 150, 199, 200, 600])
@pytest.mark.parametrize("length", [100, 700, 900, 2000, 100_000])
@pytest.mark.parametrize("wrapped", [str, str.encode, lambda text: {"a": [text]}])
def test_a_long_token_is_replaced_before_it_is_cut(
    before: int, length: int, wrapped: Callable[[str], object]
) -> None:
    """However long a token's first part is, nothing of it is shown."""
    token = f"eyJ{'Q' * length}.eyJ{'Q' * length}.QQQQ"
    shown = evidence(wrapped("-- " * before + token))
    assert shown is not None
    assert "eyJ" not in shown
    assert "QQQQ" not in shown


class Costly:
    """Counts how often it is shown."""

    shown = 0

    def __repr__(self) -> str:
        Costly.shown += 1
        return "costly"


@pytest.mark.parametrize("value", [[Costly()] * 100_000, {n: Costly() for n in range(100_000)}])
def test_evidence_looks_at_no_more_than_it_shows(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large value the beginning is rendered, and not all of it first."""
    monkeypatch.setattr(Costly, "shown", 0)
    assert len(evidence(value) or "") == EVIDENCE_LIMIT
    assert Costly.shown <= EVIDENCE_LIMIT


def test_evidence_of_a_deep_value() -> None:
    """What is nested deeper than can be shown is not followed."""
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert evidence(deep) == "[" * 8 + "Ellipsis" + "]" * 8


def test_a_traceback_with_a_megabyte_in_its_error_is_cut() -> None:
    """A log line is bounded, whatever an error says, and no token is left half in it."""
    shown = redacted_traceback(ValueError(f"{'- ' * 8185}eyJ{'Q' * 2_000_000}.eyJQ.Q"))
    assert len(shown) < 20_000
    assert "eyJ" not in shown
    assert shown.endswith("more characters\n")


def test_a_refusal_tells_code_found_and_expected() -> None:
    """The detail is one line of the form "got X, expected Y"."""
    assert str(NotGenuine("a.b", found=1, expected=2)) == "a.b: got 1, expected 2"
    assert str(NotGenuine("a.b", found="x")) == "a.b: got x"
    assert str(NotGenuine("a.b", expected="y")) == "a.b: expected y"
    assert repr(NotGenuine("a.b")) == "<NotGenuine a.b>"


@pytest.mark.parametrize(
    ("refusal", "status", "genuine"),
    [
        (NotGenuine("token.signature", found="x"), 401, False),
        (Untimely("token.expired", found="x"), 401, True),
        (Forbidden("caller.scope", found="x"), 403, True),
        (BadMessage("body.invalid", found="x"), 400, True),
        (HandlerFailed("handler.failed", found="x", retry=True), 500, True),
    ],
)
def test_a_refusal_answers_with_its_status_and_code_alone(
    refusal: Refused, status: int, genuine: bool
) -> None:
    """What may leave the process is the status and the code (RFC 9457), not the evidence."""
    problem = refusal.problem()
    assert (problem["status"], refusal.status, refusal.genuine) == (status, status, genuine)
    assert refusal.code in str(problem["type"])
    assert refusal.found not in problem.values()


def test_a_reject_carries_no_token() -> None:
    """The reason that a handler gives is published, so it is redacted."""
    assert Reject(f"bad {RAW}").reason == f"bad {REDACTED}"
    assert RAW not in repr(Reject(f"bad {RAW}"))


def test_what_cannot_be_encoded_is_told_without_its_token() -> None:
    """The client library's words have the whole value; neither they nor their frames are shown."""
    outgoing = Outgoing(b"", Basic.Properties(headers={"x-token": RAW.encode()}))
    with pytest.raises(PublishError, match="cannot be encoded") as caught:
        check_frame(outgoing, 4096)
    shown = "".join(traceback.format_exception(caught.value))
    assert RAW.split(".")[1] not in shown


def test_no_token_is_in_what_the_command_logs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`busauth run` shows a handler's own lines as well, and no token in them."""
    manager = logging.Manager(root := logging.RootLogger(logging.WARNING))
    monkeypatch.setattr(
        logging, "getLogger", lambda name="": manager.getLogger(name) if name else root
    )
    configure_logs(LogLevel.DEBUG, "3")
    logging.getLogger("shop").debug("it came with %s", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln")
    assert capsys.readouterr().err.endswith(f" DEBUG worker 3 shop: it came with {REDACTED}\n")
    logging.getLogger("aiormq.connection").error("lost")
    logging.getLogger("httpcore").debug("headers")
    assert capsys.readouterr().err == ""
