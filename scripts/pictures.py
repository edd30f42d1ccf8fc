"""Draws docs/pictures: a timeline for each expiry policy, whose verdicts are the policies' own.

    python -m scripts.pictures

Each band is what the policy says of a message that is consumed in the middle of it. Pictures are
cards with a background of their own, readable on light and dark pages, and narrow enough for a
telephone. Time is not to scale.
"""

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from busauth import Caller, DeadLetter, Discard, Grace, GuardOptions, Park, Restrict
from busauth import ValidWhenPublished as Published
from busauth._expiry import PolicyChain
from busauth.caller import Subject
from busauth.delegation import Exchange, Exchanged, ExchangeRequest
from busauth.expiry import Accept, LateToken, Renewed, Verdict
from busauth.messages import Proven, Provenance

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH, EDGE, HEIGHT, GAP = 480, 14, 34, 26
EXP = 1.0
"""Hours after `iat`: what every token here lives."""

ISSUER, HARD_MAX_AGE = "https://idp.example", GuardOptions().hard_max_age
HANDLED, LATE, DEAD, PARKED, GONE = "#cdebd3", "#ffe2a3", "#f7cbc6", "#cfdcf8", "#e0e0e0"


@dataclass(frozen=True)
class Tick:
    """An instant that is named: hours after `iat`, and where it stands in the picture."""

    hours: float
    x: int
    name: str


@dataclass(frozen=True)
class Lane:
    """One message: when it was published, in hours after `iat`, and what is proven of it."""

    published: float
    name: str = ""
    is_proven: bool = False
    released: float | None = None


@dataclass(frozen=True)
class Picture:
    """A policy, as it is written, with the instants at which something changes."""

    name: str
    code: str
    policies: Any
    ticks: Sequence[Tick]
    lanes: Sequence[Lane] = (Lane(0.5),)
    edges: Mapping[float, int] = field(init=False)

    def __post_init__(self) -> None:
        places = {tick.hours: tick.x for tick in self.ticks}
        object.__setattr__(self, "edges", {**places, 1000.0: WIDTH - EDGE})


@dataclass(frozen=True)
class Band:
    """What becomes of a message that is consumed within this time."""

    left: int
    right: int
    colour: str
    lines: Sequence[str]


class _Idp:
    """A server that gives a token for whatever it is shown."""

    issuer = ISSUER

    async def exchange(self, subject: Subject, _request: ExchangeRequest) -> Exchanged:
        """Give one."""
        return Exchanged(subject.caller, "a fresh token")


ISSUED, ASKED, EXPIRED = Tick(0, 30, "issued"), Tick(0.5, 92, "published"), Tick(EXP, 164, "exp")
GRACED = Tick(EXP + 1 / 6, 250, "10 min after exp")
USUAL = (ISSUED, ASKED, EXPIRED)
SIX_HOURS = Tick(6.5, 350, "6 h after it was published")
READING = Restrict({"orders:read"})
PUBLISHED = Published(hours=6, sources={"web"})

PICTURES = (
    Picture("dead-letter", "DeadLetter()", DeadLetter(), USUAL),
    Picture("grace", "Grace(minutes=10)", Grace(minutes=10), (*USUAL, GRACED)),
    Picture(
        "restrict",
        'Restrict({"orders:read"})',
        READING,
        (*USUAL, Tick(EXP + HARD_MAX_AGE / 3600, 330, "24 h after exp: hard maximum age")),
    ),
    Picture(
        "valid-when-published",
        'ValidWhenPublished(hours=6, sources={"web"})',
        PUBLISHED,
        (ISSUED, Tick(0.5, 92, ""), EXPIRED, Tick(2.0, 230, ""), SIX_HOURS),
        (
            Lane(0.5, "published while the token counted, says the proof of web", is_proven=True),
            Lane(2.0, "published after that", is_proven=True),
            Lane(0.5, "nobody proves when"),
        ),
    ),
    Picture(
        "park",
        "Park()",
        Park(),
        (*USUAL, Tick(30.0, 330, "a fresh token: release")),
        (
            Lane(0.5, "a proof names the caller", is_proven=True, released=30.0),
            Lane(0.5, "no proof"),
        ),
    ),
    Picture(
        "exchange",
        "Exchange(idp, late=True)",
        Exchange(_Idp(), audience="shop", late=True),
        (*USUAL, Tick(24.0, 360, "24 h after it was issued: its lifetime")),
    ),
    Picture("discard", "Discard()", Discard(), USUAL),
    Picture(
        "chain",
        '[Grace(minutes=10),\n ValidWhenPublished(hours=6, sources={"web"}), Park()]',
        [Grace(minutes=10), PUBLISHED, Park()],
        (*USUAL, GRACED, Tick(6.5, 398, "6 h after it was published")),
        (Lane(0.5, "with a proof of web", is_proven=True), Lane(0.5, "without one")),
    ),
)


def late(lane: Lane, hours: float) -> LateToken:
    """Return the token of a lane's message, so many hours after `iat`."""
    at = lane.published * 3600
    caller = Caller(
        issuer=ISSUER,
        subject="alice",
        client="shop",
        scopes=frozenset({"orders:read", "orders:write"}),
        roles=frozenset(),
        audience=("shop",),
        expires_at=EXP * 3600,
        issued_at=0.0,
        token_id=None,
        token_sha256="00" * 32,
    )
    proven = Proven(
        publisher="web",
        published_at=at,
        message_id="m",
        exchange="",
        routing_key="orders.placed",
        headers=frozenset(),
        root_publisher="web",
        root_published_at=at,
        issuer=caller.issuer,
        subject=caller.subject,
    )
    known = Provenance(proven, {"web": at}) if lane.is_proven else Provenance()
    return LateToken(caller, hours * 3600, 0.0, known, None, "a late token")


def bands(picture: Picture, lane: Lane) -> Iterator[Band]:
    """Yield what becomes of a lane's message, from its publication on."""
    chain = PolicyChain(picture.policies, hard_max_age=HARD_MAX_AGE, trusted=frozenset({"web"}))
    edges = sorted(hours for hours in {*picture.edges, EXP} if hours >= lane.published)
    found: list[Band] = []
    for begins, ends in itertools.pairwise(edges):
        colour, lines = _verdict(chain, lane, (begins + ends) / 2)
        left, right = picture.edges[begins], picture.edges[ends]
        if found and found[-1].lines == lines:
            left = found.pop().left
        found.append(Band(left, right, colour, lines))
    yield from found


def _verdict(chain: PolicyChain, lane: Lane, hours: float) -> tuple[str, Sequence[str]]:
    if lane.released is not None and hours > lane.released:
        return HANDLED, ("judged again:", "handled")
    if hours < EXP:
        return HANDLED, ("handled",)
    verdict, name = asyncio.run(chain.decide(late(lane, hours)))
    by = name.partition(" of ")[0]
    return _shown(verdict, by)


def _shown(verdict: Verdict, by: str) -> tuple[str, Sequence[str]]:
    match verdict:
        case Accept():
            kept = verdict.scopes
            if kept is None:
                return LATE, ("handled, late", f"by {by}")
            return LATE, ("handled, late, with", ", ".join(sorted(kept)) + " alone")
        case Renewed():
            return LATE, ("handled, with a fresh token", f"by {by}")
        case Park():
            return PARKED, (".parked",)
        case Discard():
            return GONE, ("gone, and told",)
        case DeadLetter():
            return DEAD, (".dead", "token.expired")


def drawn(picture: Picture) -> str:
    """Return a picture as SVG."""
    named = [tick for tick in picture.ticks if tick.name]
    written = picture.code.splitlines()
    parts = [_text(EDGE, 22 + 15 * row, line, "code") for row, line in enumerate(written)]
    top = 19 + 15 * len(written)
    bottom = top + 15 * len(named) + 8
    for lane in picture.lanes:
        if lane.name:
            parts.append(_text(EDGE, bottom + 14, lane.name, "lane"))
            bottom += 20
        parts += [_box(band, bottom) for band in bands(picture, lane)]
        parts.append(
            f'<circle cx="{picture.edges[lane.published]}" cy="{bottom + HEIGHT / 2}" r="4"/>'
        )
        bottom += HEIGHT + 8
    parts += [_text(*_beside(tick, top + 15 * row + 11)) for row, tick in enumerate(named)]
    lines = [
        f'<path class="tick" d="M{tick.x} {top + 15 * row}V{bottom}"/>'
        for row, tick in enumerate(named)
    ]
    parts.append(_text(EDGE, bottom + 14, "● published    → when it is consumed", "lane"))
    return _card(picture, bottom + GAP, [*lines, *parts])


def _beside(tick: Tick, y: int) -> tuple[int, int, str, str]:
    """Return where an instant's name stands: on the side where there is room."""
    if tick.x > WIDTH / 2 + 40:
        return tick.x - 4, y, tick.name, "tick left"
    return tick.x + 4, y, tick.name, "tick"


def _card(picture: Picture, height: int, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" \
viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(picture.code)}">
<style>
text {{ font: 12px system-ui, sans-serif; fill: #1b1f24 }}
.code {{ font: 600 12px ui-monospace, monospace }}
.lane {{ fill: #57606a }}
.tick {{ fill: #57606a }}
.left {{ text-anchor: end }}
.band {{ text-anchor: middle }}
.lane, .tick {{ paint-order: stroke; stroke: #fff; stroke-width: 3px }}
path.tick {{ stroke: #57606a; stroke-width: 1px; stroke-dasharray: 2 3; fill: none }}
</style>
<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6" fill="#fff" stroke="#d0d7de"/>
{body}
</svg>
"""


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _box(band: Band, top: int) -> str:
    middle = (band.left + band.right) / 2
    first = top + HEIGHT / 2 + 4 - 7 * (len(band.lines) - 1)
    lines = [_text(middle, first + 14 * row, line, "band") for row, line in enumerate(band.lines)]
    size = f'width="{band.right - band.left}" height="{HEIGHT}"'
    return "".join([f'<rect x="{band.left}" y="{top}" {size} fill="{band.colour}"/>', *lines])


def main() -> None:
    """Draw them all."""
    FOLDER.mkdir(exist_ok=True)
    for picture in PICTURES:
        (FOLDER / f"{picture.name}.svg").write_text(drawn(picture), "utf-8")


if __name__ == "__main__":
    main()
