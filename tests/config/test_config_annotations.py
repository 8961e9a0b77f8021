"""Annotations: what they ask for, and messages that a person can act on."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import SHIPPED, AnnotationError, Managed, Policy, VirtualServiceRef
from config.annotation_table import ANNOTATIONS, ELSEWHERE, POLICY_ANNOTATIONS
from config.annotations import parse, resolve


def annotated(**annotations: str) -> dict[str, str]:
    """An enabled Deployment's annotations; `step_min` stands for canaryd.io/step-min."""
    given_ones = {f"canaryd.io/{name.replace('_', '-')}": text for name, text in annotations.items()}
    return {"canaryd.io/enabled": "true", "app.kubernetes.io/name": "x"} | given_ones


def managed(**annotations: str) -> Managed:
    found = parse(annotated(**annotations))
    assert isinstance(found, Managed), found
    return found


def errors(**annotations: str) -> list[str]:
    found = parse(annotated(**annotations))
    assert isinstance(found, tuple), found
    return [str(error) for error in found]


def test_all_that_can_be_asked_for() -> None:
    assert managed(
        policy="cautious",
        service="checkout",
        virtual_service="istio/checkout.v1",
        routes="api, web",
        accept="host-port,volume",
        retry="once more, please",
        skip="5d9f7c",
        pause="true",
        abort="true",
        slack_channel="#payments",
        image_repository="ghcr.io:443/acme/check_out",
        steps="1,10,100",
        step_min="90s",
        restarts="roll",
    ) == Managed(
        enabled=True,
        policy_name="cautious",
        overrides=(("steps", (1, 10, 100)), ("step_min", 90.0), ("restarts", "roll")),
        service="checkout",
        virtual_service=VirtualServiceRef("istio", "checkout.v1"),
        routes=("api", "web"),
        accept=frozenset({"host-port", "volume"}),
        retry="once more, please",
        skip="5d9f7c",
        pause=True,
        abort="true",
        slack_channel="#payments",
        image_repository="ghcr.io:443/acme/check_out",
    )


def test_enabled_alone_is_enough() -> None:
    assert managed() == Managed(enabled=True)


def test_a_virtual_service_without_namespace_is_the_deployments_own() -> None:
    assert managed(virtual_service="checkout").virtual_service == VirtualServiceRef(None, "checkout")


def test_abort_false_aborts_nothing() -> None:
    assert managed(abort="false").abort == ""


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {"canaryd.io/steps": "nonsense"},
        {"canaryd.io/enabled": "false", "canaryd.io/steps": "nonsense"},
        {"notcanaryd.io/enabled": "true"},
    ],
)
def test_a_deployment_that_did_not_ask_is_left_alone(annotations: dict[str, str]) -> None:
    assert parse(annotations) == Managed()


def test_a_misspelt_enabled_is_not_taken_for_silence() -> None:
    found = parse({"canaryd.io/enable": "true", "canaryd.io/steps": "1,100"})
    assert found == (
        AnnotationError(
            "canaryd.io/enable",
            "true",
            fault='there is no such annotation; did you mean "canaryd.io/enabled"?',
        ),
    )


@pytest.mark.parametrize("text", ["True", "yes", "1", "", "true "])
def test_true_is_spelt_in_one_way(text: str) -> None:
    assert errors(enabled=text) == [
        f'canaryd.io/enabled: "{text}" is not allowed; allowed is "true" or "false"'
    ]


def test_everything_wrong_is_said_at_once() -> None:
    assert errors(
        steps="5,1,100",
        step_min="soon",
        stepmin="1m",
        replaces="checkout-v1",
        alpha="0.1",
        allow_from="shop",
        on_reject="kep",
        virtual_service="a/b/c",
        routes="",
        skip="NOT A REVISION",
        image_repository="ghcr.io/acme/checkout:v1",
    ) == [
        "canaryd.io/allow-from: it belongs on the VirtualService that lets this namespace edit it",
        "canaryd.io/alpha: it belongs in a policy of the configuration",
        'canaryd.io/image-repository: "ghcr.io/acme/checkout:v1" is not allowed; allowed is an image repository '
        'without tag or digest, such as "ghcr.io/acme/checkout"',
        'canaryd.io/on-reject: "kep" is not allowed; allowed is one of "keep", "revert"; did you mean "keep"?',
        "canaryd.io/replaces: a release side by side is not supported by this version; remove the annotation and "
        "change the image of one Deployment instead",
        'canaryd.io/routes: "" is not allowed; allowed is names of http routes, each once, separated by commas',
        'canaryd.io/skip: "NOT A REVISION" is not allowed; allowed is a revision, as `kubectl get crun` shows it',
        'canaryd.io/step-min: "soon" is not allowed; allowed is a duration from 1s to 1d, such as "90s" or "1h30m"',
        'canaryd.io/stepmin: there is no such annotation; did you mean "canaryd.io/step-min"?',
        'canaryd.io/steps: "5,1,100" is not allowed; allowed is at least two rising whole percentages from 1, '
        'the last 100, such as "1,5,25,50,100"',
        'canaryd.io/virtual-service: "a/b/c" is not allowed; allowed is [namespace/]name of a VirtualService',
    ]


def test_a_check_that_does_not_exist_cannot_be_accepted() -> None:
    found = parse(annotated(accept="host-port,volum"), checks=("host-port", "volume"))
    assert [str(error) for error in found if isinstance(error, AnnotationError)] == [  # type: ignore[union-attr]
        'canaryd.io/accept: there is no check "volum"; the checks are host-port, volume; did you mean "volume"?'
    ]
    assert isinstance(parse(annotated(accept="host-port"), checks=("host-port",)), Managed)


def test_overrides_change_their_own_value_alone() -> None:
    policy = resolve(managed(policy="fast", step_min="20s", slow_edges="250ms,1s"), SHIPPED)
    assert policy == dataclasses.replace(SHIPPED["fast"], step_min=20.0, slow_edges=(0.25, 1.0))


def test_without_a_policy_the_default_is_taken() -> None:
    assert resolve(managed(), SHIPPED, default="cautious") == SHIPPED["cautious"]


def test_a_policy_that_does_not_exist() -> None:
    assert [str(error) for error in resolve(managed(policy="quick"), SHIPPED)] == [  # type: ignore[union-attr]
        'canaryd.io/policy: "quick" is not allowed; '
        "allowed is a policy of the configuration: cautious, fast, standard"
    ]


def test_overrides_that_cannot_go_with_their_policy_say_what_the_policy_has() -> None:
    found = resolve(managed(deadline="10m", steps="75,100"), SHIPPED)
    assert [str(error) for error in found] == [  # type: ignore[union-attr]
        "canaryd.io/deadline: with policy standard, deadline is 10m, min-judged is 15m: "
        "deadline must be above min-judged",
        "canaryd.io/deadline: with policy standard, deadline is 10m, ready-timeout is 10m: "
        "deadline must be above ready-timeout",
        "canaryd.io/steps: with policy standard, steps is 75,100, last-judged is 50: "
        "the first step must not be above last-judged, or nothing would ever be judged",
    ]


def test_no_name_has_two_meanings() -> None:
    names = [*ANNOTATIONS, *POLICY_ANNOTATIONS, *ELSEWHERE]
    assert len(names) == len(set(names))


names = st.sampled_from([*ANNOTATIONS, *POLICY_ANNOTATIONS, *ELSEWHERE]) | st.text(max_size=20)
values = st.text() | st.sampled_from(
    ["true", "false", "1,5,100", "1m", "0.5", "a/b", "cautious", "keep", "roll"]
)


@given(st.dictionaries(names.map("canaryd.io/{}".format), values))
def test_no_annotations_ever_crash_and_errors_name_theirs(annotations: dict[str, str]) -> None:
    found = parse(annotations)
    if isinstance(found, Managed):
        policy = resolve(found, SHIPPED)
        if isinstance(policy, Policy):
            assert policy.contradictions() == ()
            return
        found = policy
    assert found
    for error in found:
        assert error.annotation in str(error)
        assert error.annotation in annotations
        assert error.fault or error.allowed
