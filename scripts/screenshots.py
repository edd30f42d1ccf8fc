"""Pictures of `busauth dev`, `busauth console` and the site, wide and narrow, in a real browser.

    python -m scripts.screenshots [FOLDER]                 the page of `busauth dev`, of a real run
    python -m scripts.screenshots --console [FOLDER]       `busauth console`, light and dark
    python -m scripts.screenshots --site FOLDER [PAGE ...] the built site (`make site`)

For the first, it starts `busauth dev` with its example, mints a token and publishes an order by the
page's own forms, and waits until the timeline shows a parcel refused for its token's age. Each
fails where a page logs an error or is wider than the window. Pages are named as under docs/,
without `.md`.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.browser import Browser, browsing
from scripts.looking import looking

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
SITE = ROOT / "build" / "site"
PAGES = (
    *("index", "project/index", "first-steps", "tutorial", "timelines", "issuers", "comparison"),
    *("other-frameworks", "observability", "running", "reference/busauth"),
)
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
CONSOLE = {
    "consumers": "",
    "letters": 'nav a[href="/letters"]',
    "group": "tbody a",
    "letter": "tbody a",
    "plan": 'nav a[href="/plan"]',
    "history": 'nav a[href="/history"]',
}
"""Its pages, and the link that leads to each from the one before."""

TITLES = {
    "consumers": "Consumers",
    "letters": "Letters",
    "group": "handler.failed",
    "letter": "A letter",
    "plan": "Plan",
    "history": "History",
}
_TAB = 9
_USABLE = "a, button, select, textarea, [tabindex='0']"
_FOCUSED = f"[...document.querySelectorAll(`{_USABLE}`)].indexOf(document.activeElement)"
_IS_OUTLINED = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
_IS_THERE = "document.readyState === 'complete'"
_PUBLISH = "document.getElementById('publish').hidden"
_REFUSED = "document.getElementById('rows').innerText.includes('token.expired')"
_COVER = "document.getElementById('token').value = '(here it is)'"  # nobody should copy a picture's


@contextmanager
def developing() -> Iterator[str]:
    """Run `busauth dev` on free ports while inside; gives its page's URL once its bus consumes."""
    command = [sys.executable, "-m", "busauth", "dev", "--port", "0", "--amqp-port", "0"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process,
    ):
        try:
            lines = iter(process.stdout or ())
            url = next(line.split()[1] for line in lines if line.startswith("  page "))
            next(line for line in lines if "consumes" in line)
            yield url
        finally:
            process.terminate()


def of_dev(browser: Browser, folder: Path) -> None:
    """Take the pictures of `busauth dev`."""
    with developing() as url:
        browser.open(url)
        browser.until(_IS_THERE)
        browser.evaluate("document.getElementById('mint').requestSubmit()")
        browser.until(f"{_PUBLISH} === false")
        browser.evaluate("document.getElementById('publish').requestSubmit()")
        browser.until(_REFUSED)
        browser.evaluate(_COVER)
        for name, (width, height) in SIZES.items():
            browser.picture(folder / f"dev-{name}.png", width, height)


def of_console(browser: Browser, folder: Path) -> None:
    """Take the pictures of `busauth console`, by its own form and its own links."""
    with looking() as (url, token):
        browser.open(url)
        browser.until(_IS_THERE)
        _console_pictures(browser, folder, "sign-in")
        browser.evaluate(f"document.getElementById('token').value = '{token}'")
        browser.evaluate("document.querySelector('form').requestSubmit()")
        for name, link in CONSOLE.items():
            if link:
                browser.evaluate(f"document.querySelector('{link}').click()")
            browser.until(f"{_IS_THERE} && document.title.startsWith('{TITLES[name]}')")
            _console_pictures(browser, folder, name)


def _check_keyboard(browser: Browser, name: str) -> None:
    """Press Tab through a page: all that can be used is reached, in order, and seen to be."""
    browser.evaluate("document.activeElement.blur()")
    wanted = browser.evaluate(f"document.querySelectorAll(`{_USABLE}`).length")
    reached = list[int]()
    for _ in range(wanted):
        browser.press("Tab", _TAB)
        reached.append(browser.evaluate(_FOCUSED))
        if not browser.evaluate(_IS_OUTLINED):
            raise RuntimeError(f"{name}: number {len(reached)} has the focus, and does not show it")
    if reached != list(range(wanted)):
        raise RuntimeError(f"{name}: Tab reaches {reached} of {wanted}")


def _console_pictures(browser: Browser, folder: Path, name: str) -> None:
    _check_keyboard(browser, name)
    browser.evaluate("document.activeElement.blur()")
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        for size, (width, height) in SIZES.items():
            browser.picture(folder / f"console-{name}-{size}-{scheme}.png", width, height)


def of_site(browser: Browser, folder: Path, pages: list[str]) -> None:
    """Take the pictures of the site's pages."""
    for page in pages:
        browser.open((SITE / f"{page}.html").as_uri())
        browser.until(_IS_THERE)
        for name, (width, height) in SIZES.items():
            # Not down to its end: the longest page is more than a browser can draw at once.
            path = folder / f"{page.replace('/', '-')}-{name}.png"
            browser.picture(path, width, 2 * height, whole=False)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", action="store_true")
    parser.add_argument("--console", action="store_true")
    parser.add_argument("folder", type=Path, nargs="?", default=PICTURES)
    parser.add_argument("pages", nargs="*", default=list(PAGES))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with browsing() as browser:
        if asked.site:
            of_site(browser, asked.folder, asked.pages)
        elif asked.console:
            of_console(browser, asked.folder)
        else:
            of_dev(browser, asked.folder)
        logged = [each for each in browser.logged if "favicon" not in each]
    if logged:
        sys.exit(f"the page logged errors: {logged}")


if __name__ == "__main__":
    main()
