"""The command itself: quick, self-explaining, with exit codes that mean one thing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import canaryd
from canaryd.cli.main import COMMANDS
from canaryd.cli.main import canaryd as command

ROOT = Path(__file__).parents[2]
HEAVY = {
    "aiohttp",
    "analysis",
    "apscheduler",
    "config",
    "kubernetes",
    "numpy",
    "prometheus_api_client",
    "requests",
    "rich",
    "scipy",
    "structlog",
    "yaml",
}


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert canaryd.__version__ == project["version"]
    result = CliRunner().invoke(command, ["--version"])
    assert (result.exit_code, result.output) == (0, f"canaryd {canaryd.__version__}\n")


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_nothing_heavy_is_imported_to_say_hello(flag: str) -> None:
    program = f"""
import sys
from canaryd.cli.main import main
sys.argv = ["canaryd", {flag!r}]
try:
    main()
except SystemExit as end:
    print(end.code, *{{name.partition(".")[0] for name in sys.modules}})
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    code, *modules = run.stdout.splitlines()[-1].split()
    assert code == "0"
    assert not HEAVY & set(modules)


def test_help_lists_every_command_with_a_summary_and_shows_examples() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    for name, lazy in COMMANDS.items():
        assert name in result.output
        assert lazy.summary.split()[0] in result.output
    assert "Examples:" in result.output
    assert "Exit codes:" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_exists_and_helps(name: str) -> None:
    assert isinstance(COMMANDS[name].load(), click.Command)
    result = CliRunner().invoke(command, [name, "--help"])
    assert result.exit_code == 0
    assert "Examples:" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["confg"], "No such command 'confg'"),
        (["--nonsense"], "No such option"),
        (["config", "check"], "Missing argument 'FILE'"),
        (["config", "check", "x", "-o", "xml"], "'xml' is not one of 'text', 'json'"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_the_module_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "canaryd", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout == f"canaryd {canaryd.__version__}\n"
