"""Metrics of one's own in a policy: what they become for the judge, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis import CustomMetric, JudgeConfig, Threshold
from config import SHIPPED, AnnotationError, ConfigurationError, Managed
from config.annotations import parse, resolve
from config.document import parse_document
from config.load import load
from config.policies import read_policies
from config.policy import Policy
from config.promql import filled, named, prefixed

BAD = """'sum by (pod) (orders_total{outcome="failed", pod=~"$pods"})'"""
TOTAL = """'sum by (pod) (orders_total{pod=~"$pods"})'"""
GOOD = f"""
policies:
  payments:
    extends: cautious
    metrics:
      orders:
        bad: {BAD}
        total: {TOTAL}
        weight: 0.2
        safe-delta: 0.01
      queue-depth: {{value: 'max(queue_depth{{pod=~"$pods"}})', at-most: 100, failures: 5}}
      workers: {{value: 'min(workers{{pod=~"$pods"}})', at-least: 2}}
"""


def read(text: str) -> tuple[dict[str, Policy], list[str]]:
    document = parse_document(text, "canaryd.yaml")
    found, problems = read_policies(document, ("policies",), document.root["policies"])
    return found, [str(problem) for problem in [*document.problems, *problems]]


def test_what_the_judge_is_told() -> None:
    found, problems = read(GOOD)
    assert problems == []
    judge = JudgeConfig(**found["payments"].judge_arguments())
    cautious = SHIPPED["cautious"]
    assert judge.custom == (
        CustomMetric(
            "orders",
            0.2,
            cautious.max_error_ratio,
            cautious.max_error_delta,
            cautious.safe_error_ratio,
            safe_delta=0.01,
        ),
    )
    assert judge.thresholds == (
        Threshold("queue-depth", 100, failures=5),
        Threshold("workers", 2, at_most=False),
    )


def test_metrics_replace_those_of_the_policy_that_is_extended() -> None:
    found, problems = read(GOOD + "  other: {extends: payments}\n  bare: {extends: payments, metrics: {}}\n")
    assert problems == []
    assert found["other"].metrics == found["payments"].metrics
    assert found["bare"].metrics == ()


def test_the_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "canaryd.yaml"
    file.write_text(GOOD)
    shown = load(file).to_document()["policies"]["payments"]["metrics"]
    assert shown["orders"]["weight"] == 0.2
    assert shown["queue-depth"] == {"value": 'max(queue_depth{pod=~"$pods"})', "at-most": 100, "failures": 5}


def test_a_run_keeps_them_as_a_list_which_a_merge_patch_replaces() -> None:
    policy = read(GOOD)[0]["payments"]
    kept = policy.to_json()["metrics"]
    assert [one["name"] for one in kept] == ["orders", "queue-depth", "workers"]
    assert Policy.from_json(policy.to_json()) == policy
    for broken in ([*kept, kept[0]], [3], [{"value": "x"}], [{"name": "a", "value": "x"}]):
        with pytest.raises(ConfigurationError, match=r"spec\.policy: metrics"):
            Policy.from_json(policy.to_json() | {"metrics": broken})


def one(metric: str) -> str:
    return f"policies:\n  p:\n    metrics:\n      m:\n        {metric}\n"


WRONG = {
    f"{{bad: 3, total: {TOTAL}}}": ["m.bad: 3 is not allowed; allowed is PromQL for a counter as it is"],
    f"bad: {BAD}": ["m: has no total; a proportion has bad and total"],
    "value: max(x)": ["m: a threshold has one of at-most and at-least"],
    "{value: max(x), at-most: 1, at-least: 1}": ["m: a threshold has one of at-most and at-least"],
    "{value: max(x), at-most: high}": ['m.at-most: "high" is not allowed; allowed is a number from'],
    "{value: max(x), at-most: 1, failures: 0}": ["m.failures: 0 is not allowed; allowed is a whole number"],
    "{value: max(x), at-most: 1, weight: 0.1}": ["m.weight: there is no such key; there are value, at-most"],
    f"{{bad: {BAD}, total: {TOTAL}, value: x}}": ["m: has bad and total, and value; a metric is a proportion or"],
    "weight: 0.1": ["m: has neither bad and total, nor value"],
    f"{{bad: {BAD}, total: {TOTAL}, wieght: 1}}": ['m.wieght: there is no such key; did you mean "weight"?'],
    f"{{bad: {BAD}, total: {TOTAL}, weight: 1}}": ["m.weight: 1 is not allowed; allowed is a number from 0.001"],
    f"{{bad: 'x{{pod=~\"$pod\"}}', total: {TOTAL}}}": [
        "m.bad: \"x{pod=~\"$pod\"}\" is not allowed; allowed is PromQL whose placeholders are $pods, $workload, "
        '$namespace; $pod is none; did you mean "$pods"?'
    ],
    f"{{bad: 'x{{pod=~\"${{pods}}\"}}', total: {TOTAL}}}": ["${pods} is none"],
    f"{{bad: {BAD}, total: 'sum(orders_total)'}}": ["PromQL that tells the arms apart, by $pods or $workload"],
    f"{{bad: {BAD}, total: 'increase(x{{pod=~\"$pods\"}}[1m])'}}": ["without increase(): canaryd counts itself"],
    f"{{bad: {BAD}, total: 'sum by (pod) (x{{pod=~\"$pods\"}}'}}": ['"(" has no other half'],
    f"{{bad: {BAD}, total: 'x{{pod=~\"$pods}}'}}": ["has no other half"],
    f"{{bad: {BAD}, total: ''}}": ["of at most 4000 characters"],
}  # fmt: skip


@pytest.mark.parametrize("metric", WRONG)
def test_what_is_wrong_is_named_with_its_key(metric: str) -> None:
    _, problems = read(one(metric))
    assert len(problems) == len(WRONG[metric])
    for problem, wanted in zip(problems, WRONG[metric], strict=True):
        assert problem.startswith(
            ("canaryd.yaml:4: policies.p.metrics.m", "canaryd.yaml:5: policies.p.metrics.m")
        )
        assert wanted in problem


def test_metrics_that_are_none() -> None:
    for metrics in ("3", "[3]", "{" + ", ".join(f"m{i}: {{value: x, at-most: 1}}" for i in range(9)) + "}"):
        _, (problem,) = read(f"policies: {{p: {{metrics: {metrics}}}}}")
        assert "policies.p.metrics:" in problem
        assert "allowed is a mapping of at most 8 names to metrics" in problem
    _, problems = read("policies: {p: {metrics: {errors: {value: x, at-most: 1}, A_b: {}, c: 4}}}")
    assert [re.sub(r"^.*?metrics\.", "", problem) for problem in problems] == [
        "errors: is judged anyhow; give the metric another name",
        'A_b: "A_b" is not allowed; allowed is a name of lower-case letters, digits and dashes',
        "c: 4 is not allowed; allowed is a mapping with bad and total, or with value",
    ]


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        ("weight: 0.7", "latency-weight and the weights of metrics together must not be above 0.95"),
        ("max-ratio: 2", "safe-ratio of m (1.5) must be above its max-ratio (2)"),
        ("safe-delta: 0.0001", "safe-delta of m (0.0001) must be above its max-delta (0.0005)"),
    ],
)
def test_values_that_cannot_go_together(extra: str, wanted: str) -> None:
    _, (problem,) = read(one(f"{{bad: {BAD}, total: {TOTAL}, {extra}}}"))
    assert problem.startswith(f"canaryd.yaml:3: policies.p.metrics: {wanted}")


def test_an_annotation_that_leaves_errors_nothing_is_named() -> None:
    found, _ = read(GOOD)
    managed = parse({"canaryd.io/enabled": "true", "canaryd.io/latency-weight": "0.9"})
    assert isinstance(managed, Managed)
    resolved = resolve(managed, found, "payments")
    assert isinstance(resolved, tuple)
    assert [type(error) for error in resolved] == [AnnotationError]
    assert str(resolved[0]).startswith("canaryd.io/latency-weight: with policy payments, ")


def test_metrics_belong_into_a_policy() -> None:
    (error,) = parse({"canaryd.io/enabled": "true", "canaryd.io/metrics": "{}"})  # type: ignore[misc]
    assert str(error) == "canaryd.io/metrics: it belongs in a policy of the configuration"


class TestQueries:
    def test_the_arm_takes_the_place_of_its_placeholders(self) -> None:
        text = 'x{ns="$namespace",app="$workload",pod=~"$pods",path=~"^/a$"} * 1'
        assert filled(text, namespace="shop", workload="checkout", pods="p-.+") == (
            'x{ns="shop",app="checkout",pod=~"p-.+",path=~"^/a$"} * 1'
        )

    def test_groups_of_label_replace_stay(self) -> None:
        text = """label_replace(x{pod=~"$pods"}, "pod", "$1-${2}", "pod", "(.*)-(.*)")"""
        _, problems = read(one(f"{{bad: '{text}', total: '{text}'}}"))
        assert problems == []
        assert '"$1-${2}"' in filled(text, namespace="n", workload="w", pods="p")

    def test_comments_and_strings_may_have_brackets(self) -> None:
        text = """x{pod=~"$pods", path=~"[(]"}  # it's (open"""
        bad = text.replace("'", "''")
        _, problems = read(one(f"{{bad: '{bad}', total: {TOTAL}}}"))
        assert problems == []

    @pytest.mark.parametrize(
        ("pattern", "pod", "matches"),
        [
            (named({"a-1": 0, "b.2": 0}), "a-1", True),
            (named({"a-1": 0, "b.2": 0}), "b.2", True),
            (named({"a-1": 0, "b.2": 0}), "bx2", False),
            (named({"a-1": 0}), "a-12", False),
            (named({}), "a", False),
            (named({}), "", False),
            (prefixed("app-5d4-"), "app-5d4-x7k2p", True),
            (prefixed("app-5d4-"), "other-app-5d4-x7k2p", False),
            (prefixed("v1.2-"), "v1x2-abcde", False),
        ],
    )
    def test_the_regular_expression_matches_the_arms_pods_alone(
        self, pattern: str, pod: str, matches: bool
    ) -> None:
        # Prometheus anchors regular expressions at both ends.
        assert bool(re.fullmatch(pattern, pod)) is matches
        assert not set(pattern) & set("\\\"'`")
