"""Documents keep their word: commands parse, links lead somewhere, names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import document_pages as pages
import pytest
import yaml
from document_pages import PAGES, ROOT, SHELL, Block

from canaryd.cli.main import canaryd
from config.annotation_table import ANNOTATIONS, POLICY_ANNOTATIONS

# Written on objects by canaryd itself, or on a VirtualService: not annotations of a Deployment.
OTHER_NAMES = {"allow-from", "role", "revision", "run", "target", "restore", "v1alpha1"}

SHELL_BLOCKS = pages.all_blocks(SHELL)
COMMANDS = [(str(block), line) for block in SHELL_BLOCKS for line in pages.commands(block)]


def _argv(line: str, program: str) -> list[str] | None:
    """The arguments of `program` in a line of shell, None where it is another command."""
    words = shlex.split(line, comments=True)
    if not words or words[0].removeprefix(".venv/bin/") != program:
        return None
    return words[1 : words.index("&")] if "&" in words else words[1:]


def _lines_of(program: str) -> list[Any]:
    found = [(where, _argv(line, program)) for where, line in COMMANDS]
    return [pytest.param(argv, id=f"{where} {' '.join(argv)}") for where, argv in found if argv is not None]


@pytest.mark.parametrize("argv", _lines_of("canaryd"))
def test_commands_of_canaryd_parse(argv: list[str]) -> None:
    command: click.Command = canaryd
    context = click.Context(command, info_name="canaryd")
    while isinstance(command, click.Group):
        _, found, argv = command.resolve_command(context, argv)
        assert found is not None
        command = found
        context = click.Context(command, parent=context, info_name=command.name)
    command.make_context(command.name, argv, resilient_parsing=False)


@pytest.mark.parametrize("argv", _lines_of("make"))
def test_make_has_the_targets(argv: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [word for word in argv if "=" not in word and not word.startswith("-")]
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target


def test_there_are_commands_to_check() -> None:
    assert len(_lines_of("canaryd")) >= 3
    assert len(_lines_of("make")) >= 3


@pytest.mark.parametrize("block", [pytest.param(b, id=str(b)) for b in pages.all_blocks(frozenset({"yaml"}))])
def test_yaml_parses(block: Block) -> None:
    assert yaml.safe_load(block.text) is not None


@pytest.mark.parametrize("page", [pytest.param(p, id=pages.name(p)) for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in pages.links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in pages.anchors(target), link


@pytest.mark.parametrize("page", [pytest.param(p, id=pages.name(p)) for p in PAGES])
def test_annotations_exist(page: Path) -> None:
    named = set(re.findall(r"(?<![\w.])canaryd\.io/([a-z0-9-]*[a-z0-9])", page.read_text()))
    assert named <= ANNOTATIONS.keys() | POLICY_ANNOTATIONS.keys() | OTHER_NAMES


@pytest.mark.parametrize("page", [pytest.param(p, id=pages.name(p)) for p in PAGES])
def test_blocks_are_closed(page: Path) -> None:
    fences = [line for line in page.read_text().splitlines() if line.startswith("```")]
    assert len(fences) == 2 * len(list(pages.blocks(page)))


def test_figures_have_their_place() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.index("<!-- figures:begin -->") < readme.index("<!-- figures:end -->")
