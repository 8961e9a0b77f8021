"""The documents as readers see them: fenced blocks, links, headings, words in code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
SHELL = frozenset({"sh", "console"})

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; page is relative to the checkout, line that of its fence."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name(page: Path) -> str:
    """The page's path in the checkout."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        yield Block(name(page), text.count("\n", 0, found.start()) + 1, found[1], found[2])


def all_blocks(languages: frozenset[str]) -> list[Block]:
    """The blocks of these languages in all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Targets of the links in the prose."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What headings can be linked to, as GitHub spells it."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in _HEADING.findall(prose(page))
    }


def commands(block: Block) -> Iterator[str]:
    """The lines of a shell block that are commands: continued lines joined, prompts and comments off."""
    for line in block.text.replace("\\\n", " ").splitlines():
        stripped = line.strip()
        if block.language == "console":
            if not stripped.startswith("$ "):
                continue
            stripped = stripped[2:]
        if stripped and not stripped.startswith("#"):
            yield stripped
