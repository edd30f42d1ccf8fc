"""Takes pictures of the built site as a browser shows it, wide and narrow: to be looked at.

    python -m scripts.screenshots FOLDER [PAGE ...]

Needs Debian's chromium, and `make site` before. Pages are named as under docs/, without `.md`.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

SITE = Path(__file__).parents[1] / "build" / "site"
PAGES = (
    "index",
    "project/index",
    "tutorial",
    "timelines",
    "issuers",
    "comparison",
    "reference/busauth",
)
WIDTHS = {"wide": 1280, "narrow": 390}
HEIGHT = 1600
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--hide-scrollbars",
)


def taken(browser: str, folder: Path, pages: list[str]) -> Iterator[Path]:
    """Yield the picture of each page in each width, as it is there."""
    for page in pages:
        for name, width in WIDTHS.items():
            picture = folder / f"{page.replace('/', '-')}-{name}.png"
            with TemporaryDirectory() as profile:
                command = [
                    *(browser, *FLAGS, f"--user-data-dir={profile}", f"--screenshot={picture}"),
                    *(f"--window-size={width},{HEIGHT}", (SITE / f"{page}.html").as_uri()),
                ]
                subprocess.run(command, check=True, capture_output=True, timeout=60)
            yield picture


def main() -> int:
    """Take them, and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pages", nargs="*")
    asked = parser.parse_args()
    browser = which("chromium")
    if browser is None or not SITE.is_dir():
        print("expected chromium (apt-get install chromium), and the site (make site)")
        return 1
    asked.folder.mkdir(parents=True, exist_ok=True)
    for picture in taken(browser, asked.folder.resolve(), asked.pages or list(PAGES)):
        print(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
