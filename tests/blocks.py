"""Finds every block of code in README, docs and docstrings, and knows how each kind is run."""

import ast
import asyncio
import configparser
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main
import yaml
from typer.core import TyperGroup

from busauth.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted((ROOT / "busauth").rglob("*.py"))
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_COMMANDS: Mapping[str, Any] = typer.main.get_group(app).commands
_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
_OTHERS = {"uvicorn", "pytest", "pytest-asyncio"}
_ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=")
_FILE = re.compile(r"# ([a-z_]+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, in which language, and what is in it."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def in_text(page: str, text: str, above: int = 0) -> Iterator[Block]:
    """Yield the blocks of a text in their order."""
    for found in _FENCE.finditer(text):
        line = above + text.count("\n", 0, found.start()) + 2
        code = re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE)
        yield Block(page, line, found[2], code)


def in_pages() -> dict[str, list[Block]]:
    """Return the blocks of each page that has some."""
    read = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}
    return {page: found for page, text in read.items() if (found := [*in_text(page, text)])}


def in_docstrings() -> dict[str, list[Block]]:
    """Return the blocks of each module whose docstrings, which the site shows, have some."""
    return {
        name: found
        for name, source in ((str(path.relative_to(ROOT)), path) for path in SOURCES)
        if (found := [*_told(name, source.read_text("utf-8"))])
    }


def _told(name: str, source: str) -> Iterator[Block]:
    if "```" not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from in_text(name, ast.get_docstring(node) or "", getattr(node, "lineno", 0))


def modules(blocks: list[Block]) -> dict[str, list[str]]:
    """Return the modules that a page has one save, by file: what each is like, from first to last.

    The first line of a block names its file; blocks that name none, behind a file of tests, go on
    with it.
    """
    found: dict[str, list[str]] = {}
    for block in blocks:
        if block.language != "python":
            continue
        if named := _FILE.match(block.code):
            found.setdefault(named[1], []).append(block.code)
        elif found:
            found[[*found][-1]][-1] += f"\n\n{block.code}"
    return found


def run(block: Block, names: dict[str, Any]) -> None:
    """Run Python as it stands: a program by itself, anything else in an event loop.

    What awaits is awaited, what it starts ends with it.
    """
    padded = "\n" * (block.line - 1) + block.code  # a traceback names the page's line
    code = compile(padded, block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if "asyncio.run(" in block.code:
        exec(code, names)  # the document's own code
        return

    async def inside() -> None:
        waiting = eval(code, names)  # the document's own code
        if inspect.isawaitable(waiting):
            await waiting

    asyncio.run(inside())


def files_of(blocks: list[Block]) -> list[str]:
    """Return a page's settings files: each begins at a block that names the one issuer."""
    files: list[str] = []
    for block in blocks:
        if block.language == "toml":
            begins = not files or "issuer" in tomllib.loads(block.code)
            files[len(files) if begins else -1 :] = [
                block.code if begins else files[-1] + block.code
            ]
    return files


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the commands of a shell's block, word by word; `$` stands before them in a console."""
    text = block.code.replace("\\\n", " ")
    if block.language == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for word in (*lexer, ";"):
            if word not in {"|", "||", "&&", ";", "&"}:
                command.append(word)
            elif command:
                yield command
                command = []


def assignments(command: list[str]) -> dict[str, str]:
    """Return the variables that a command begins with."""
    found = dict[str, str]()
    for word in command:
        if not _ASSIGNMENT.match(word):
            break
        name, _, value = word.partition("=")
        found[name] = value
    return found


def check_command(words: list[str]) -> None:
    """Fail unless a command of the project's own exists, with each of its options."""
    match words:
        case ["busauth", "--help"]:
            return
        case ["busauth", name, *given]:
            _check_options(name, given)
        case ["make", *given]:
            targets = {word for word in given if "=" not in word}
            assert targets <= _TARGETS, f"no such target: {targets - _TARGETS}"
        case ["pip" | ".venv/bin/pip", "install", *given]:
            named = {word for word in given if not word.startswith("-")} - _OTHERS
            where = [word.split("[")[0] for word in named]
            assert all((ROOT / path).is_dir() for path in where), "from a checkout alone"
        case ["python3", "-m", "venv", ".venv"] | [".", ".venv/bin/activate"]:
            return
        case ["curl", *given] if any(word.startswith("http://127.0.0.1:") for word in given):
            for inner in re.findall(r"\$\((.*?)\)", " ".join(given)):  # what runs there is tried
                check_command(shlex.split(inner))  # by the pages' own tests
        case _:
            raise AssertionError(f"{shlex.join(words)}: say how it is run, or why it is not")


def _check_options(name: str, given: list[str]) -> None:
    command = _COMMANDS[name]
    while isinstance(command, TyperGroup):  # a command of commands
        if given and given[0] not in command.commands and "mint" in command.commands:
            given = ["mint", *given]  # `busauth token alice`
        name, *given = given
        command = command.commands[name]
    context = command.make_context(name, [], resilient_parsing=True)
    context.resilient_parsing = False
    until = next((at for at, word in enumerate(given) if word in {"<", ">", ">>"}), None)
    values, rest, _ = command.make_parser(context).parse_args(args=given[:until])
    lacking = [
        each.opts
        for each in command.params
        if each.required and not each.envvar and values.get(each.name) is None
    ]
    assert (rest, lacking) == ([], []) or "--help" in given


def check_data(block: Block) -> None:
    """Fail unless data can be read: JSON, YAML of one document or several, an INI file."""
    match block.language:
        case "json":
            json.loads(block.code)
        case "yaml":
            assert all(isinstance(each, dict | list) for each in yaml.safe_load_all(block.code))
        case "ini":
            section = "" if block.code.startswith("[") else "[rabbitmq.conf]\n"  # which has none
            configparser.ConfigParser(strict=False, interpolation=None).read_string(
                section + block.code
            )
