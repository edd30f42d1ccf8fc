"""The pages: each only looks, at what its visitor may see."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from busauth._extras import needs
from busauth.clock import Clock
from busauth.errors import Deferred, Refused
from busauth.integrations.console import plots, summing
from busauth.integrations.console.looking import Look, Looked
from busauth.integrations.console.seen import (
    MOST_LETTERS,
    InstanceSeen,
    LetterSeen,
    Source,
)
from busauth.integrations.console.shown import clear, templates
from busauth.integrations.console.signing import Desk, NotTaken, SignIn, SignInNeeded, Visitor

with needs(__name__, "console", "starlette"):
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, RedirectResponse, Response
    from starlette.routing import Route

Page = Callable[[Request, Visitor], Awaitable[Response]]

_OFTEN, _LETTERS_EVERY = 5.0, 30.0
"""Seconds between two looks: at streams, which hide nothing; at letters, which a look hides."""

_PER_PAGE = 100
_MOST_ROWS = 1000
_MOST_PAGES = 1_000_000
_REFRESH = 30
_WHY: Mapping[str, str] = {
    "ended": "Your session has ended.",
    "expired": "Your token has expired.",
    "revoked": "Your token was revoked.",
    "out": "You have signed out.",
}


class Pages:
    """What is answered.

    Args:
        source: where it looks.
        desk: who says who looks.
        queues: consumers' queues.
        clock: what ages are counted by.
        bodies: the scope that bodies are shown for; None where they never are.
    """

    def __init__(
        self,
        source: Source,
        desk: Desk,
        *,
        queues: Sequence[str],
        clock: Clock,
        bodies: str | None,
    ) -> None:
        self._desk, self._clock, self._bodies = desk, clock, bodies
        self._queues = tuple(dict.fromkeys(queues))
        self._templates = templates()
        self._instances: Look[Sequence[InstanceSeen]] = Look(
            source.instances, clock, every=_OFTEN, what="the audit stream"
        )
        self._letters: dict[str, Look[summing.Lying]] = {
            queue: Look(_lying(source, queue), clock, every=_LETTERS_EVERY, what=queue)
            for queue in self._queues
        }
        self._runs: dict[str, Look[list[summing.Run]]] = {
            queue: Look(_runs(source, queue), clock, every=_OFTEN, what=f"{queue}.history")
            for queue in self._queues
        }

    def routes(self) -> list[Route]:
        """Return every path that there is."""
        pages = {
            "/": self.consumers,
            "/letters": self.letters,
            "/letters/group": self.group,
            "/letters/one": self.letter,
            "/plan": self.plan,
            "/history": self.history,
        }
        found = [Route(path, self._page(page)) for path, page in pages.items()]
        found += [
            Route("/console.css", _file("console.css", "text/css")),
            Route("/icon.svg", _file("icon.svg", "image/svg+xml")),
        ]
        if isinstance(self._desk, SignIn):
            found += [
                Route("/sign-in", self.sign_in, methods=["GET", "POST"]),
                Route("/sign-out", self.sign_out, methods=["POST"]),
            ]
        return found

    async def consumers(self, request: Request, visitor: Visitor) -> Response:
        """Show who consumes."""
        looked = await self._instances.latest()
        seen = looked.seen or ()
        return self._html(
            request, visitor, "consumers.html", looked=looked, plots=plots,
            instances=summing.within(seen, _MOST_ROWS), total=len(seen),
        )  # fmt: skip

    async def letters(self, request: Request, visitor: Visitor) -> Response:
        """Show a queue's letters by group."""
        queue = self._queue(request)
        looked, found = None, list[summing.Group]()
        if queue is not None:
            looked = await self._letters[queue].latest()
            found = looked.seen.groups if looked.seen else []
        # whoever can publish there can make each letter a group of its own
        codes = {clear(each.code): each.code for each in found[:_PER_PAGE] if each.code}
        code = _said(request, "code")
        chosen = [each for each in found if code is None or each.code == codes.get(code, code)]
        return self._html(
            request, visitor, "letters.html", looked=looked, queue=queue,
            groups=chosen[:_PER_PAGE], further=len(chosen[_PER_PAGE:]), codes=sorted(codes),
            code=code, link=_group_link, most=MOST_LETTERS,
        )  # fmt: skip

    async def group(self, request: Request, visitor: Visitor) -> Response:
        """Show the letters of one group, some at a time."""
        queue = self._known_queue(request)
        looked = await self._letters[queue].latest()
        found = looked.seen.group(_said(request, "group")) if looked.seen else None
        if found is None and looked.seen is not None:
            raise NotTaken(404, "There are no such letters any more.")
        letters = found.letters if found else ()
        number = _number(request.query_params.get("page", ""))
        first = (number - 1) * _PER_PAGE
        return self._html(
            request, visitor, "group.html", looked=looked, queue=queue, total=len(letters),
            letters=letters[first : first + _PER_PAGE], first=first, number=number,
            is_last=first + _PER_PAGE >= len(letters), group=found,
            link=_letter_link, turn=partial(_group_link, queue),
        )  # fmt: skip

    async def letter(self, request: Request, visitor: Visitor) -> Response:
        """Show one letter's story."""
        queue = self._known_queue(request)
        looked = await self._letters[queue].latest()
        if looked.seen is None:
            raise NotTaken(503, f"Nothing could be seen: {looked.why}.", round(_LETTERS_EVERY))
        found = looked.seen.letter(_said(request, "letter"))
        if found is None:
            raise NotTaken(404, "There is no such letter any more, or not yet.")
        shows = self._bodies is not None and visitor.may(self._bodies)
        return self._html(
            request, visitor, "letter.html", looked=looked, queue=queue, letter=found,
            body=found.body if shows else None, group=summing.groups([found])[0],
            link=_group_link,
        )  # fmt: skip

    async def plan(self, request: Request, visitor: Visitor) -> Response:
        """Show the last plan of each queue."""
        looks = await self._all_runs()
        plans = [
            (queue, look, next((each for each in found if each.is_plan), None))
            for queue, look, found in looks
        ]
        return self._html(request, visitor, "plan.html", plans=plans)

    async def history(self, request: Request, visitor: Visitor) -> Response:
        """Show what runs, and what ran."""
        looks = await self._all_runs()
        found = [run for _, _, runs in looks for run in runs if not run.is_plan]
        found.sort(key=lambda run: run.last.at, reverse=True)
        running = [each for each in found if each.is_running]
        ended = [each for each in found if not each.is_running]
        return self._html(
            request, visitor, "history.html", looks=looks, plots=plots,
            running=running[:_PER_PAGE], ended=ended[:_PER_PAGE],
            further=len(running[_PER_PAGE:]), older=len(ended[_PER_PAGE:]),
        )  # fmt: skip

    async def sign_in(self, request: Request) -> Response:
        """Show the form, or let somebody in."""
        try:
            if request.method == "POST":
                return await self._entered(request)
        except NotTaken as error:
            return self._form(request, error.status, error.why, error.retry_after)
        except Refused as refused:
            # the code alone: the evidence is for whoever may look already
            return self._form(request, refused.status, f"Not signed in: {refused.code}")
        except Deferred:
            return self._form(request, 503, "That cannot be told now; try again soon.", 5)
        why = _WHY.get(request.query_params.get("why", ""), "")
        return self._form(request, 200, why)

    async def _entered(self, request: Request) -> Response:
        desk = self._sign_in_desk()
        form = await desk.form(request, signed_in=False)
        session = await desk.enter(request, form)
        response = RedirectResponse("/", 303)
        desk.hold(response, session)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        desk = self._sign_in_desk()
        try:
            await desk.form(request, signed_in=True)
        except NotTaken as error:
            return self.failed(request, error)
        desk.leave(request)
        response = RedirectResponse("/sign-in?why=out", 303)
        desk.release(response)
        return response

    def failed(self, request: Request, error: NotTaken, visitor: Visitor | None = None) -> Response:
        """Answer with a page that says what is wrong."""
        response = self._html(
            request, visitor or Visitor(), "failed.html", status=error.status, why=error.why
        )
        if error.retry_after is not None:
            response.headers["retry-after"] = str(error.retry_after)
        return response

    def _page(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Return a page's endpoint: who looks is asked first, whatever the page is."""

        async def endpoint(request: Request) -> Response:
            visitor = None
            try:
                visitor = await self._desk.visitor(request)
                return await page(request, visitor)
            except SignInNeeded as needed:
                query = f"?why={needed.why}" if needed.why else ""
                return RedirectResponse(f"/sign-in{query}", 303)
            except NotTaken as error:
                return self.failed(request, error, visitor)
            except Refused as refused:
                return self._refused(request, refused)
            except Deferred:
                why = "Whether you may look cannot be told now; try again soon."
                return self.failed(request, NotTaken(503, why, 5))

        return endpoint

    def _refused(self, request: Request, refused: Refused) -> Response:
        response = self.failed(request, NotTaken(refused.status, f"Refused: {refused.code}"))
        if refused.status == HTTPStatus.UNAUTHORIZED:
            response.headers["www-authenticate"] = 'Bearer realm="busauth console"'
        return response

    def _form(
        self, request: Request, status: int, why: str, retry_after: int | None = None
    ) -> Response:
        desk = self._sign_in_desk()
        name = desk.form_name(request) or desk.sessions.new_name()
        token = desk.sessions.form_token(name)
        response = self._html(
            request, Visitor(), "sign-in.html", status=status, why=why, form=token
        )
        desk.hold_form(response, name)
        if retry_after is not None:
            response.headers["retry-after"] = str(retry_after)
        return response

    def _sign_in_desk(self) -> SignIn:
        assert isinstance(self._desk, SignIn)  # noqa: S101 -- else there is no such route
        return self._desk

    async def _all_runs(self) -> list[tuple[str, Looked[list[summing.Run]], list[summing.Run]]]:
        looks = await asyncio.gather(*(look.latest() for look in self._runs.values()))
        seen = zip(self._runs, looks, strict=True)
        return [(queue, look, look.seen or []) for queue, look in seen]

    def _queue(self, request: Request) -> str | None:
        """Return the queue that is asked for, else the first; None where there is none.

        Raises:
            NotTaken: this console does not look there.
        """
        said = _said(request, "queue")
        if said is None:
            return self._queues[0] if self._queues else None
        if said not in self._letters:
            raise NotTaken(404, "This console does not look at such a queue.")
        return said

    def _known_queue(self, request: Request) -> str:
        queue = self._queue(request)
        if queue is None:
            raise NotTaken(404, "This console looks at no queue.")
        return queue

    def _html(
        self, request: Request, visitor: Visitor, name: str, *, status: int = 200, **shown: Any
    ) -> Response:
        desk, session = self._desk, visitor.session
        form = shown.pop("form", None)
        if isinstance(desk, SignIn) and session is not None:
            form = desk.sessions.form_token(session)
        text = self._templates.get_template(name).render(
            path=request.url.path,
            queues=self._queues,
            visitor=visitor,
            form=form,
            now=self._clock.now(),
            signs_in=isinstance(desk, SignIn),
            refreshes="refresh" in request.query_params,
            refresh=_REFRESH,
            status=status,
            **shown,
        )
        return HTMLResponse(text, status)


def _lying(source: Source, queue: str) -> Callable[[], Awaitable[summing.Lying]]:
    async def look() -> summing.Lying:
        # seconds, where each of many is a group of its own: meanwhile others are answered
        return await asyncio.to_thread(summing.Lying, await source.letters(queue))

    return look


def _runs(source: Source, queue: str) -> Callable[[], Awaitable[list[summing.Run]]]:
    async def look() -> list[summing.Run]:
        return await asyncio.to_thread(summing.runs, queue, await source.runs(queue))

    return look


def _said(request: Request, name: str) -> str | None:
    """Return what a query says; nothing is said by an empty word."""
    return request.query_params.get(name) or None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(_MOST_PAGES))):
        return 1
    return max(1, int(text))


def _group_link(queue: str, group: summing.Group, page: int = 1) -> str:
    return f"/letters/group?{urlencode({'queue': queue, 'group': group.id, 'page': page})}"


def _letter_link(queue: str, letter: LetterSeen) -> str:
    return f"/letters/one?{urlencode({'queue': queue, 'letter': letter.id})}"


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    body = resources.files(__package__).joinpath("templates", name).read_bytes()

    async def answered(_: Request) -> Response:
        return Response(body, media_type=media_type)

    return answered
