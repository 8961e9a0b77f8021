"""`canaryd simulate`: what it prints, that seeds repeat it, and what it says of wrong usage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from canaryd.cli.replay import replay
from canaryd.cli.simulate import simulate

FEW = ("--rps", "100", "--error-rate", "1%", "--policy", "fast", "--runs", "4", "--workers", "1")


def run(*arguments: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns), "CANARYD_CONFIG": ""}).invoke(simulate, list(arguments))


def test_a_fault_is_told_with_limits_harm_and_times() -> None:
    result = run(*FEW, "--lift", "8")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    text = " ".join(result.stdout.split())
    assert "the canary fails 8 x as often (8 %)" in text
    assert "policy fast: 4 releases, seed 1, 2 canary and 6 baseline pods" in text
    assert "promoted 0 0 % 0 to 60 %" in text
    assert "ever taken back 4 100 % 40 to 100 %" in text
    for row in ("requests failed until taken back", "requests failed until the end", "promoted after - - -"):
        assert row in text


def test_json_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    first = run(*FEW, "--lift", "4", "-o", "json")
    assert first.exit_code == 0, first.output
    assert run(*FEW, "--lift", "4", "-o", "json").stdout == first.stdout
    assert run(*FEW, "--lift", "4", "--seed", "2", "-o", "json").stdout != first.stdout
    document = json.loads(first.stdout)
    assert sum(end["releases"] for end in document["ends"].values()) == document["releases"] == 4
    assert document["scenario"]["lift"] == 4
    assert document["failed_before_protected"]["mean"] <= document["failed"]["mean"]


def test_a_harmless_release_is_promoted() -> None:
    document = json.loads(run(*FEW, "--set", "safe-error-ratio=4", "-o", "json").stdout)
    assert document["ends"]["promoted"]["releases"] == 4
    assert document["failed"]["p95"] == 0
    assert document["seconds_to_promote"]["median"] > 0


def test_a_recorded_release_can_be_replayed(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    assert run(*FEW, "--lift", "8", "--record", str(file)).exit_code == 0
    result = CliRunner().invoke(replay, [str(file)])
    assert result.exit_code == 0, result.output
    assert "simulated, policy fast" in result.stdout
    assert "the same decisions throughout" in result.stdout


def test_a_recording_that_cannot_be_written_ends_with_1(tmp_path: Path) -> None:
    result = run(*FEW, "--record", str(tmp_path / "no" / "such"))
    assert (result.exit_code, "--record: " in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rps", "5"], "name the traffic by --rps and --error-rate"),
        ([*FEW, "--lift", "200"], "--lift: 200.0 is not allowed; must be such that no more requests fail"),
        ([*FEW, "--lift", "x"], '--lift: "x" is not allowed; allowed is a number from 0'),
        ([*FEW, "--tail", "2"], '--tail: "2" is not allowed; allowed is a share from 0 to 0.5'),
        ([*FEW, "--onset", "-1s"], '--onset: "-1s" is not allowed; allowed is a duration'),
        ([*FEW, "--canary-pods", "0"], '--canary-pods: "0" is not allowed; allowed is a whole number from 1'),
        (
            [*FEW, "--runs", "1.5"],
            '--runs: "1.5" is not allowed; allowed is a whole number from 1 to 1000000',
        ),
        ([*FEW, "--seed", "-1"], '--seed: "-1" is not allowed'),
        ([*FEW, "--policy", "no"], '--policy: there is no policy "no"'),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
