"""`canaryd replay`: what it prints, how it ends, and what it says of wrong usage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from analysis import Arms, Counts, CustomMetric, Interval, Judge, JudgeConfig, Threshold
from analysis.replay import Header, Record, header_line, record_line
from canaryd.cli.replay import replay

CONFIG = JudgeConfig(latency_weight=0.0)


def play(*arguments: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(replay, list(arguments))


def write(path: Path, *, decision: str | None = None) -> str:
    """Eight intervals with five times the errors; `decision` is recorded instead of what the judge said."""
    judge, state = Judge(CONFIG), Judge(CONFIG).start()
    text = [header_line(Header("shop/checkout-fff627b5cb", CONFIG, "standard", 1000.0))]
    for i in range(8):
        arms = {"c": Counts(300, 15)}, {"b": Counts(2700, 27)}
        interval = Interval(1060.0 + 15 * i, 1075.0 + 15 * i, 0.1, *arms)
        if not i:
            text.append(record_line(Record(interval, "WeightChange", "it touches a change of the weight")))
            continue
        state = judge.update(state, interval)
        text.append(record_line(Record(interval, decision=decision or judge.verdict(state).decision)))
    path.write_text("\n".join(text) + "\n")
    return str(path)


@pytest.fixture
def recording(tmp_path: Path) -> str:
    return write(tmp_path / "run.jsonl")


@pytest.mark.parametrize("columns", [80, 120])
def test_changes_of_the_decision_are_shown(recording: str, columns: int) -> None:
    result = play(recording, columns=columns)
    assert result.exit_code == 0, result.output
    assert "shop/checkout-fff627b5cb, policy standard: 8 intervals over 2 min, 7 judged" in result.stdout
    table = result.stdout.split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= columns
    assert len(table) < 8
    assert "15 of 300" in table[-1]
    assert "recorded: the same decisions throughout" in result.stdout
    assert "because: " in result.stdout


def test_all_intervals_are_shown_on_request_the_quarantined_too(recording: str) -> None:
    table = play(recording, "--all").stdout.split("\n\n")[1].splitlines()
    assert len(table) == 1 + 8
    assert "WeightChange" in table[1]


def test_a_recording_can_come_from_standard_input(recording: str) -> None:
    text = Path(recording).read_bytes()
    result = CliRunner().invoke(replay, ["-"], input=text)
    assert result.exit_code == 0
    assert "the same decisions" in result.stdout


def test_decisions_that_differ_with_nothing_changed_end_with_1(tmp_path: Path) -> None:
    result = play(write(tmp_path / "run.jsonl", decision="promote"))
    assert result.exit_code == 1
    assert "recorded: other decisions at 7 of 7 intervals, first at 1:30: promote then" in result.stdout


def test_changed_rules_may_differ_and_are_named(recording: str) -> None:
    result = play(
        recording, "--set", "alpha=0.000001", "--set", "min-bad-events=1000", "--set", "min-judged=1h"
    )
    assert result.exit_code == 0, result.output
    assert "changed: alpha 0.01 -> 0.000001" in result.stdout
    assert "changed: min-judged 15m -> 1h" in result.stdout
    assert "recorded: other decisions" in result.stdout


def test_another_policy_can_be_tried(recording: str, tmp_path: Path) -> None:
    file = tmp_path / "canaryd.yaml"
    file.write_text("policies: {stern: {alpha: 0.001}}\n")
    result = play(recording, "--policy", "stern", "--config", str(file))
    assert result.exit_code == 0, result.output
    assert "changed: alpha 0.01 -> 0.001" in result.stdout
    assert "changed: latency-weight 0 -> 0.3" in result.stdout


def test_another_policy_is_tried_with_the_metrics_of_the_run(tmp_path: Path) -> None:
    judge = replace(CONFIG, custom=(CustomMetric("orders", 0.2),), thresholds=(Threshold("depth", 9.0),))
    arms = Arms({"c": Counts(30, 1)}, {"b": Counts(270, 9)})
    interval = Interval(
        0, 15, 0.1, {"c": Counts(9, 0)}, {"b": Counts(9, 0)}, (), {"orders": arms}, {"depth": 3.0}
    )
    file = tmp_path / "run.jsonl"
    file.write_text(f"{header_line(Header('r', judge))}\n{record_line(Record(interval))}\n")
    result = play(str(file), "--policy", "fast", "-o", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [one["name"] for one in document["judge"]["custom"]] == ["orders"]
    assert document["verdict"]["metrics"]["orders"]["baseline_bad"] == 9
    policies = tmp_path / "canaryd.yaml"
    policies.write_text("policies: {slow: {latency-weight: 0.9}}")
    result = play(str(file), "--policy", "slow", "--config", str(policies))
    assert (result.exit_code, "--policy: with the metrics of the run: custom" in result.stderr) == (2, True)


def test_json_has_every_interval_and_the_verdict(recording: str) -> None:
    document = json.loads(play(recording, "-o", "json").stdout)
    assert (document["run"], document["changed"], document["differs"]) == (
        "shop/checkout-fff627b5cb",
        False,
        False,
    )
    assert document["judge"] == document["recorded_judge"] == CONFIG.to_json()
    assert [row["quarantined"] for row in document["intervals"][:2]] == ["WeightChange", None]
    assert document["intervals"][-1]["decision"] == document["verdict"]["decision"]
    assert document["intervals"][-1]["evidence_harm"] > 99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "alpha"], '--set: "alpha" is not allowed; allowed is KEY=VALUE'),
        (["--set", "alhpa=1"], 'a policy has no key "alhpa"; did you mean "alpha"?'),
        (["--set", "alpha=1"], 'alpha: "1" is not allowed; allowed is a number from 0.000001 to 0.2'),
        (["--set", "step-min=1m"], "the judge does not look at step-min; it looks at alpha, beta"),
        (
            ["--set", "max-error-ratio=2"],
            "safe-error-ratio must be above max-error-ratio (safe-error-ratio is 1.5",
        ),
        (["--policy", "standrad"], 'there is no policy "standrad"; there are cautious, fast, standard'),
        (["--config", "x.yaml"], "--config: it is read for the policy that --policy names"),
        (["--policy", "fast", "--config", "no-such.yaml"], "no-such.yaml"),
        (["-o", "xml"], "'xml' is not one of"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_allowed(
    recording: str, arguments: list[str], message: str
) -> None:
    result = play(recording, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_file_that_is_no_recording_ends_with_2_and_its_line(tmp_path: Path, recording: str) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(Path(recording).read_text().replace('"errors":15', '"errors":600', 1))
    result = play(str(broken))
    assert result.exit_code == 2
    assert "line 2: interval.canary['c'].errors: 600 is not at most the 300 requests" in result.stderr
    missing = play(str(tmp_path / "missing.jsonl"))
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)
