"""Policies: shipped ones are sound, extended ones are what they say, and a run can keep its own."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import JudgeConfig
from config import SHIPPED, ConfigurationError, Policy
from config.document import parse_document
from config.kinds import Choice, Duration, Flag, Integer, Number
from config.lists import Edges, Ladder
from config.metrics import Metric, Metrics, ProportionMetric, ThresholdMetric
from config.policies import read_policies
from config.policy import policy_schema
from config.policy_knobs import POLICY_KNOBS


def values_of(kind: object) -> st.SearchStrategy[Any]:
    """Every value that a kind allows."""
    match kind:
        case Duration(low, high) | Number(low, high):
            return st.floats(low, high)
        case Integer(low, high):
            return st.integers(low, high)
        case Flag():
            return st.booleans()
        case Choice(words):
            return st.sampled_from(words)
        case Ladder():
            rungs = st.sets(st.integers(1, 99), min_size=1, max_size=20)
            return rungs.map(lambda weights: (*sorted(weights), 100))
        case Edges(most):
            edges = st.sets(st.floats(1e-3, 3600), max_size=most)
            return edges.map(lambda chosen: tuple(sorted(chosen)))
        case Metrics():
            return st.lists(any_metric(), max_size=3, unique_by=lambda metric: metric.name).map(tuple)
    raise AssertionError(f"no strategy for {kind}")


def any_metric() -> st.SearchStrategy[Metric]:
    """Every sort of metric of one's own; the weights of three leave errors something."""
    names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
    counter = st.sampled_from(['sum by (pod) (x{pod=~"$pods"})', "y_total{app='$workload'}"])
    limit = st.floats(-1e6, 1e6)
    proportions = st.builds(
        ProportionMetric,
        names,
        counter,
        counter,
        st.floats(0.001, 0.01),
        max_ratio=st.none() | st.floats(1, 2),
        safe_ratio=st.none() | st.floats(3, 50),
    )
    highest = st.builds(ThresholdMetric, names, st.just("max(z)"), limit, failures=st.integers(1, 1000))
    lowest = st.builds(ThresholdMetric, names, st.just("min(z)"), at_least=limit)
    return proportions | highest | lowest


policies = st.builds(
    Policy, name=st.text(min_size=1), **{knob.field: values_of(knob.kind) for knob in POLICY_KNOBS}
)
sound_policies = policies.filter(lambda policy: not policy.contradictions())


def read(text: str) -> tuple[dict[str, Policy], list[str]]:
    document = parse_document(text, "canaryd.yaml")
    assert not document.problems
    found, problems = read_policies(document, ("policies",), document.root["policies"])
    return found, [str(problem) for problem in problems]


def test_each_knob_is_a_field_and_each_field_a_knob() -> None:
    fields = [field.name for field in dataclasses.fields(Policy)]
    assert sorted(fields) == sorted(["name", *(knob.field for knob in POLICY_KNOBS)])


@pytest.mark.parametrize("name", ["standard", "cautious", "fast"])
def test_a_shipped_policy_is_sound(name: str) -> None:
    policy = SHIPPED[name]
    assert policy.name == name
    assert policy.contradictions() == ()
    assert policy.last_judged_step == 50
    for knob in POLICY_KNOBS:
        value = getattr(policy, knob.field)
        assert knob.kind.parse(knob.kind.plain(value)) == value, knob.key
    JudgeConfig(**policy.judge_arguments())


def test_the_judges_own_defaults_are_those_of_standard() -> None:
    assert JudgeConfig(**SHIPPED["standard"].judge_arguments()) == JudgeConfig()


def test_policies_for_production_judge_for_as_long_as_bursts_need() -> None:
    assert SHIPPED["standard"].min_judged >= 15 * 60
    assert SHIPPED["cautious"].min_judged >= 30 * 60


@pytest.mark.parametrize(("name", "block"), [("standard", 60.0), ("cautious", 60.0), ("fast", 0.0)])
def test_only_where_nobody_is_hurt_a_burst_may_roll_back(name: str, block: float) -> None:
    judge = JudgeConfig(**SHIPPED[name].judge_arguments())
    assert (judge.burst_block, judge.condemn_at_once) == (block, False)


def test_a_policy_may_take_errors_as_independent_or_condemn_at_once() -> None:
    found, problems = read("policies: {lab: {burst-block: 0, condemn-at-once: true}}")
    assert problems == []
    judge = JudgeConfig(**found["lab"].judge_arguments())
    assert (judge.burst_block, judge.condemn_at_once) == (0.0, True)


@given(sound_policies)
def test_the_judge_takes_whatever_a_policy_may_be(policy: Policy) -> None:
    JudgeConfig(**policy.judge_arguments())


@given(sound_policies)
def test_a_run_keeps_its_policy(policy: Policy) -> None:
    assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


@given(policies)
def test_the_stored_form_follows_the_schema_of_the_knobs(policy: Policy) -> None:
    schema = policy_schema() | {"additionalProperties": False}
    jsonschema.validate(json.loads(json.dumps(policy.to_json())), schema)


def test_a_run_of_another_version_keeps_what_is_understood() -> None:
    body = SHIPPED["fast"].to_json() | {"fromTheFuture": 1}
    del body["stepMin"]
    assert Policy.from_json(body) == dataclasses.replace(SHIPPED["fast"], step_min=Policy().step_min)


def test_a_run_whose_policy_was_spoilt_names_every_key() -> None:
    body = SHIPPED["standard"].to_json() | {"alpha": 3, "steps": "60,100", "stepMin": None}
    with pytest.raises(ConfigurationError) as error:
        Policy.from_json(body)
    assert [str(problem) for problem in error.value.problems] == [
        "spec.policy: stepMin: nothing (null) is not allowed; allowed is a duration from 1s to 1d, "
        'such as "90s" or "1h30m"',
        "spec.policy: alpha: 3 is not allowed; allowed is a number from 0.000001 to 0.2",
        "spec.policy: steps, last-judged: the first step must not be above last-judged, "
        "or nothing would ever be judged",
    ]


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_run_without_a_mapping_for_a_policy(body: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"spec: policy: .* is not allowed"):
        Policy.from_json(body)


def test_policies_extend_the_shipped_ones_and_one_another() -> None:
    found, problems = read(
        """
policies:
  payments: {extends: careful, steps: "1,10,100"}
  careful: {extends: cautious, deadline: 8h}
  plain: {step-min: 2m}
  standard: {extends: standard, step-min: 3m}
  heir: {extends: standard}
  cautious: {extends: fast}
"""
    )
    assert not problems
    fast, standard = SHIPPED["fast"], SHIPPED["standard"]
    assert found["cautious"] == dataclasses.replace(fast, name="cautious")
    assert found["careful"] == dataclasses.replace(fast, name="careful", deadline=8 * 3600.0)
    assert found["payments"] == dataclasses.replace(found["careful"], name="payments", steps=(1, 10, 100))
    assert found["standard"] == dataclasses.replace(standard, step_min=180.0)
    assert found["heir"] == dataclasses.replace(standard, name="heir", step_min=180.0)
    assert found["plain"] == dataclasses.replace(standard, name="plain", step_min=120.0)
    assert found["fast"] == fast


def test_a_policy_of_the_file_is_based_on_the_files_standard() -> None:
    found, problems = read("policies: {standard: {history-free: 1, step-min: 3m}, mine: {}}")
    assert problems == ["canaryd.yaml:1: policies.standard.history-free: there is no such key"]
    assert found["mine"].step_min == 180


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "policies: 3",
            ["canaryd.yaml:1: policies: 3 is not allowed; allowed is a mapping of policy names to policies"],
        ),
        (
            "policies: {a: 3}",
            [
                "canaryd.yaml:1: policies.a: 3 is not allowed; allowed is a mapping of the policy's keys to values"
            ],
        ),
        (
            "policies: {a: {extends: [b]}}",
            [
                "canaryd.yaml:1: policies.a.extends: \"['b']\" is not allowed; "
                "allowed is the name of another policy: cautious, fast, standard"
            ],
        ),
        (
            "policies: {a: {extends: fats}}",
            [
                'canaryd.yaml:1: policies.a.extends: "fats" is not allowed; '
                'allowed is the name of another policy: cautious, fast, standard; did you mean "fast"?'
            ],
        ),
        (
            "policies: {a: {extends: a}}",
            [
                'canaryd.yaml:1: policies.a.extends: "a" is not allowed; '
                "allowed is the name of another policy: cautious, fast, standard"
            ],
        ),
        (
            "policies:\n  a: {extends: b}\n  b: {extends: a}\n",
            [
                "canaryd.yaml:2: policies.a.extends: the policies a, b extend one another in a circle",
                "canaryd.yaml:3: policies.b.extends: the policies b, a extend one another in a circle",
            ],
        ),
        (
            "policies:\n  a: {safe-error-ratio: 1.1}\n  b: {extends: a}\n",
            [
                "canaryd.yaml:2: policies.a.safe-error-ratio: safe-error-ratio must be above max-error-ratio "
                "(safe-error-ratio is 1.1, max-error-ratio is 1.25)"
            ],
        ),
        (
            "policies: {a: {steps: [1, 100], stesp: 3, alpha: 1}}",
            [
                'canaryd.yaml:1: policies.a.stesp: there is no such key; did you mean "steps"?',
                "canaryd.yaml:1: policies.a.alpha: 1 is not allowed; allowed is a number from 0.000001 to 0.2",
            ],
        ),
        (
            "policies: {a: {step-min: 1h}}",
            [
                "canaryd.yaml:1: policies.a.step-min: deadline must be above step-min times the number of steps "
                "(deadline is 2h, step-min is 1h, steps is 1,2,5,10,25,50,100)"
            ],
        ),
    ],
)
def test_what_is_wrong_with_policies(text: str, problems: list[str]) -> None:
    assert read(text)[1] == problems


def test_a_long_chain_of_policies_is_no_trouble() -> None:
    chain = "".join(f"  p{i}: {{extends: p{i + 1}}}\n" for i in range(3000))
    found, problems = read(f"policies:\n{chain}  p3000: {{extends: fast}}\n")
    assert not problems
    assert found["p0"].steps == SHIPPED["fast"].steps
