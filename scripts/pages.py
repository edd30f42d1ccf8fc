"""Lets the site hold what lies outside of docs/: mkdocs asks this module while it builds.

Documents beside docs/ (README, ARCHITECTURE and the like) become pages under `project/`. Links are
written as they lead from file to file; here they are made to lead from page to page. A link to a
source is text on the site, which has no sources.
"""

import posixpath
import re
from functools import partial
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PROJECT = "project"
_LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<path>[^()\s:#]+)(?P<anchor>#[^()\s]*)?\)"
)
_CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents beside docs/."""
    for document in sorted(ROOT.glob("*.md")):
        files.append(
            File.generated(config, f"{PROJECT}/{document.name}", abs_src_path=str(document))
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let a page's links lead to pages; what stands in blocks of code is left alone."""
    del config
    led = partial(_LINK.sub, partial(_led, page.file.src_uri, files))
    parts, ends = [], 0
    for block in _CODE.finditer(markdown):
        parts += [led(markdown[ends : block.start()]), block[0]]
        ends = block.end()
    return "".join([*parts, led(markdown[ends:])])


def _led(source: str, files: Files, link: re.Match[str]) -> str:
    """Return a link as it leads from one page of the site to another, or its text."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(_on_disk(source)), link["path"]))
    page = _on_site(target)
    if files.get_file_from_path(page) is None:
        return link["text"] if (ROOT / target).exists() else link[0]
    path = posixpath.relpath(page, posixpath.dirname(source) or ".")
    return f"{link['image']}[{link['text']}]({path}{link['anchor'] or ''})"


def _on_disk(page: str) -> str:
    """Return where a page's document lies, from the top of the tree."""
    return page.removeprefix(f"{PROJECT}/") if page.startswith(f"{PROJECT}/") else f"docs/{page}"


def _on_site(document: str) -> str:
    """Return where a document's page is, from the top of the site."""
    if document.startswith("docs/"):
        return document.removeprefix("docs/")
    return f"{PROJECT}/{document}"
