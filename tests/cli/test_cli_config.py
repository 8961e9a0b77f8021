"""`canaryd config check` and `show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from canaryd.cli.main import canaryd

GOOD = "default-policy: mine\npolicies:\n  mine: {extends: fast, steps: [10, 100]}\n"
BAD = "tikc: 5s\nworkers: 0\n"


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        file = tmp_path / "canaryd.yaml"
        file.write_text(text)
        return str(file)

    return write


def run(*arguments: str, **environment: str | None) -> Result:
    clean = {"CANARYD_CONFIG": None, "CANARYD_TICK": None}
    return CliRunner().invoke(canaryd, ["config", *arguments], env=clean | environment)


def test_a_good_file_is_ok_and_summed_up(written: Any) -> None:
    file = written(GOOD)
    result = run("check", file)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"{file}: ok"
    assert "    mine (default): steps 10, 100 %; each at least 15s" in result.stdout.splitlines()


def test_metrics_of_a_policy_are_summed_up_and_checked(written: Any) -> None:
    metrics = """
      queue: {value: 'max(queue{pod=~"$pods"})', at-most: 5}
      orders: {bad: 'x{pod=~"$pods"}', total: 'y{pod=~"$pods"}'}
"""
    result = run("check", written(f"policies:\n  mine:\n    metrics:{metrics}"))
    assert result.exit_code == 0, result.stderr
    assert "; each at least 1m; proportions orders; thresholds queue" in result.stdout
    file = written(f"policies:\n  mine:\n    metrics:{metrics.replace('$pods', '$pod')}")
    result = run("check", file)
    assert result.exit_code == 2
    assert [line.split(" is not allowed")[0] for line in result.stderr.splitlines()[:-1]] == [
        f"""{file}:4: policies.mine.metrics.queue.value: "max(queue{{pod=~"$pod"}})\"""",
        f"""{file}:5: policies.mine.metrics.orders.bad: "x{{pod=~"$pod"}}\"""",
        f"""{file}:5: policies.mine.metrics.orders.total: "y{{pod=~"$pod"}}\"""",
    ]


def test_a_bad_file_is_told_all_that_is_wrong(written: Any) -> None:
    file = written(BAD)
    result = run("check", file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f'{file}:1: tikc: there is no such key; did you mean "tick"?',
        f"{file}:2: workers: 0 is not allowed; allowed is a whole number from 1 to 256",
        "2 problems",
    ]


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "cannot be read: No such file or directory" in result.stderr
    assert "1 problem\n" in result.stderr


def test_check_looks_at_the_file_alone(written: Any) -> None:
    assert run("check", written("{}"), CANARYD_TICK="nonsense").exit_code == 0


def test_json_for_machines(written: Any) -> None:
    good = run("check", written(GOOD), "-o", "json")
    assert good.exit_code == 0
    assert json.loads(good.stdout)["ok"] is True
    assert json.loads(good.stdout)["settings"]["policies"]["mine"]["steps"] == [10, 100]
    bad = run("check", written(BAD), "-o", "json")
    assert bad.exit_code == 2
    first = json.loads(bad.stdout)["problems"][0]
    assert (first["key"], first["line"], first["fault"]) == (
        "tikc",
        1,
        'there is no such key; did you mean "tick"?',
    )


@pytest.mark.parametrize(("output", "reader"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_show_is_the_file_with_everything_written_out(written: Any, output: str, reader: Any) -> None:
    result = run("show", "--config", written(GOOD), "-o", output, CANARYD_TICK="7s")
    assert result.exit_code == 0
    document = reader(result.stdout)
    assert (document["tick"], document["default-policy"]) == ("7s", "mine")
    again = run("show", "--config", written(result.stdout), "-o", output)
    assert reader(again.stdout) == document


def test_show_takes_the_file_from_the_environment(written: Any) -> None:
    result = run("show", "--policy", "mine", "-o", "json", CANARYD_CONFIG=written(GOOD))
    assert json.loads(result.stdout)["steps"] == [10, 100]


def test_show_without_a_file_shows_the_defaults() -> None:
    assert yaml.safe_load(run("show", "--policy", "standard").stdout)["deadline"] == "2h"


def test_show_of_an_unknown_policy() -> None:
    result = run("show", "--policy", "quick")
    assert result.exit_code == 2
    assert "there is no policy 'quick'; there are cautious, fast, standard" in result.stderr


def test_show_of_a_bad_configuration() -> None:
    result = run("show", CANARYD_TICK="nonsense")
    assert result.exit_code == 2
    assert 'environment: CANARYD_TICK: "nonsense" is not allowed' in result.stderr


def test_show_never_shows_a_secret(written: Any) -> None:
    result = run("show", "--config", written("prometheus: {headers: {Authorization: Bearer hunter2}}\n"))
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "Authorization" in result.output
