"""What a Deployment without an active run needs: a table for each branch, in the order in which they are asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canaryd.domain.idle import Care, Gate, HandBack, Nothing, Start, idle
from canaryd.domain.model import Arm, Outcome, Run, Stage, Target
from canaryd.domain.world import DeploymentView, ReplicaSetView, Terms

A, B, C = "aaaa000000", "bbbb000000", "cccc000000"
STANDING = Terms(settle=2.0, scrape=1.0, tick=1.0, rest_paused=True)
ADMISSION = replace(STANDING, rest_paused=False)


def deployment(
    revision: str = A, *, paused: bool = True, replicas: int = 4, **more: object
) -> DeploymentView:
    """A managed Deployment at rest, whose pause is canaryd's."""
    view = DeploymentView("d-1", "7", revision, paused, replicas, owns_pause=paused)
    return replace(view, **more)  # type: ignore[arg-type]


def rs(
    revision: str, pods: int = 4, *, ready: int | None = None, sequence: int = 0, created: float = 0.0
) -> ReplicaSetView:
    """A ReplicaSet; 0 pods: one that ran once."""
    ready = pods if ready is None else ready
    return ReplicaSetView(f"rs-{revision}", revision, revision[:4], pods, ready, created, sequence)


def ended(
    revision: str, reason: str = "Promoted", *, hands_on: bool = False, stable: str = A, retry: str = ""
) -> Run:
    """A run that is over; all reasons but Promoted and a hand-on rolled it back."""
    outcome = Outcome.SUCCEEDED if reason == "Promoted" or hands_on else Outcome.ROLLED_BACK
    return Run(
        "shop",
        f"checkout-{revision}",
        Target("shop", "checkout", "d-1"),
        revision,
        created=1.0,
        stage=Stage.DONE,
        outcome=outcome,
        reason=reason,
        hands_on=hands_on,
        retry=retry,
        stable=Arm("checkout", stable, {"pod-template-hash": stable[:4]}),
    )


def care(
    view: DeploymentView,
    *sets: ReplicaSetView,
    finished: tuple[Run, ...] = (),
    terms: Terms = STANDING,
    gated: bool = True,
    roll_restarts: bool = False,
) -> Care:
    return idle(view, sets, finished, terms, gated=gated, roll_restarts=roll_restarts)


class TestAtRest:
    def test_paused_and_running_what_the_template_says(self) -> None:
        assert isinstance(care(deployment(), rs(A), rs(B, 0)), Nothing)

    def test_the_gate_is_closed_once_the_rollout_is_over(self) -> None:
        assert care(deployment(paused=False), rs(A)) == Gate(True, f"at rest at revision {A}")

    @pytest.mark.parametrize("ready", [0, 3])
    def test_not_before(self, ready: int) -> None:
        found = care(deployment(paused=False), rs(A, ready=ready), rs(B, 0))
        assert isinstance(found, Nothing)

    def test_a_rollout_that_still_surges_or_scales_is_not_waited_for(self) -> None:
        assert care(deployment(paused=False, replicas=9), rs(A, 4)) == Gate(True, f"at rest at revision {A}")

    def test_with_admission_the_gate_is_open(self) -> None:
        assert isinstance(care(deployment(paused=False), rs(A), terms=ADMISSION), Nothing)
        assert isinstance(care(deployment(paused=True), rs(A), terms=ADMISSION), Gate)

    def test_being_deleted(self) -> None:
        assert isinstance(care(deployment(deleting=True, paused=False), rs(A)), Nothing)


class TestFirstInstall:
    def test_without_a_replicaset(self) -> None:
        assert isinstance(care(deployment(paused=True)), Gate)
        assert isinstance(care(deployment(paused=False)), Nothing)

    def test_while_its_pods_come_up(self) -> None:
        assert isinstance(care(deployment(paused=False), rs(A, ready=0)), Nothing)
        assert isinstance(care(deployment(paused=False), rs(A, ready=1)), Nothing)

    def test_then_the_gate_closes(self) -> None:
        assert isinstance(care(deployment(paused=False), rs(A), gated=False), Gate)


class TestNewRevision:
    def test_is_released(self) -> None:
        assert care(deployment(B), rs(A)) == Start()

    @pytest.mark.parametrize("last", [ended(A), ended(C, "ErrorRateRegression"), ended(A, "Superseded")])
    def test_whatever_the_last_run_was_of(self, last: Run) -> None:
        assert care(deployment(B), rs(A), finished=(last,)) == Start()

    def test_back_to_an_older_one_is_a_release_too(self) -> None:
        finished = (ended(B), ended(A))
        assert care(deployment(A), rs(B), rs(A, 0), finished=finished) == Start()

    def test_a_replacement_that_opened_the_gate_is_caught(self) -> None:
        """`kubectl replace`: the template and paused: false in one write, and the first new pod is there."""
        assert care(deployment(B, paused=False), rs(A), rs(B, 1, ready=0)) == Start()

    def test_a_rollout_from_before_the_gate_is_let_go_on(self) -> None:
        assert isinstance(care(deployment(B, paused=False), rs(A), rs(B, 1), gated=False), Nothing)

    def test_a_rollout_of_three_revisions_is_not_ours(self) -> None:
        assert isinstance(care(deployment(C, paused=False), rs(A, 2), rs(B, 2), rs(C, 1)), Nothing)

    @pytest.mark.parametrize("only", [True, False])
    def test_restarts_by_policy(self, only: bool) -> None:
        view = deployment(B, restart_only=only)
        assert care(view, rs(A)) == Start()
        assert isinstance(care(view, rs(A), roll_restarts=True), Gate if only else Start)

    def test_an_open_gate_lets_a_restart_through_by_itself(self) -> None:
        view = deployment(B, restart_only=True, paused=False)
        assert isinstance(care(view, rs(A), roll_restarts=True), Nothing)

    def test_no_stable_pod_is_ready(self) -> None:
        """Preflight says so, and how to let it through; nothing is let through in silence."""
        assert care(deployment(B), rs(A, ready=0), rs(C, 0)) == Start()


class TestSkip:
    def test_one_revision_is_let_through(self) -> None:
        assert care(deployment(B, skip=B), rs(A)) == Gate(False, f"canaryd.io/skip lets revision {B} through")
        assert isinstance(care(deployment(B, skip=B, paused=False), rs(A)), Nothing)

    def test_and_no_other(self) -> None:
        assert care(deployment(B, skip=C), rs(A)) == Start()

    def test_even_a_rejected_one(self) -> None:
        rejected = ended(B, "ErrorRateRegression")
        assert isinstance(care(deployment(B, skip=B), rs(A), finished=(rejected,)), Gate)

    def test_then_it_is_at_rest(self) -> None:
        assert isinstance(care(deployment(B, skip=B, paused=False), rs(B), rs(A, 0)), Gate)


class TestSeenBefore:
    @pytest.mark.parametrize(
        "reason",
        [
            "ErrorRateRegression",
            "LatencyRegression",
            "CanaryNotReady",
            "Aborted",
            "HoldLimit",
            "Inconclusive",
        ],
    )
    def test_rejected_it_stays(self, reason: str) -> None:
        found = care(deployment(B), rs(A), finished=(ended(B, reason),))
        assert isinstance(found, Nothing)
        assert f"({reason})" in found.because
        assert "canaryd.io/retry" in found.because

    def test_until_somebody_asks(self) -> None:
        rejected = ended(B, "ErrorRateRegression", retry="1")
        assert isinstance(care(deployment(B, retry="1"), rs(A), finished=(rejected,)), Nothing)
        assert care(deployment(B, retry="2"), rs(A), finished=(rejected,)) == Start()
        assert care(deployment(B, retry=""), rs(A), finished=(rejected,)) == Start()

    def test_or_something_else_was_released_in_between(self) -> None:
        finished = (ended(C, "ErrorRateRegression"), ended(B, "ErrorRateRegression"))
        assert care(deployment(B), rs(A), finished=finished) == Start()

    @pytest.mark.parametrize("reason", ["ScaledToZero", "Released"])
    def test_what_was_not_its_fault_is_tried_again(self, reason: str) -> None:
        assert care(deployment(B), rs(A), finished=(ended(B, reason),)) == Start()

    def test_its_owner_let_it_through(self) -> None:
        overridden = ended(B, "Overridden")
        assert isinstance(care(deployment(B), rs(A), finished=(overridden,)), Gate)
        assert isinstance(care(deployment(B, paused=False), rs(A), rs(B, 1), finished=(overridden,)), Nothing)

    def test_rejected_and_unpaused_by_its_owner(self) -> None:
        rejected = ended(B, "ErrorRateRegression")
        assert isinstance(care(deployment(B, paused=False), rs(A), finished=(rejected,)), Nothing)

    def test_the_template_set_back_is_at_rest(self) -> None:
        assert isinstance(care(deployment(A), rs(A), finished=(ended(B, "ErrorRateRegression"),)), Nothing)


class TestHandingOn:
    def test_the_next_run_takes_over(self) -> None:
        last = ended(B, "Superseded", hands_on=True)
        assert care(deployment(C), rs(A, 2), rs(B, 2), finished=(last,)) == Start(after=last)

    def test_before_anything_else(self) -> None:
        last = ended(B, "Superseded", hands_on=True)
        assert care(deployment(C, skip=C), rs(A), finished=(last,)) == Start(after=last)

    def test_only_the_last_one_counts(self) -> None:
        finished = (ended(C), ended(B, "Superseded", hands_on=True))
        assert isinstance(care(deployment(C), rs(C), finished=finished), Nothing)


class TestHandedBack:
    def test_what_runs_stays_and_the_gate_opens(self) -> None:
        found = care(deployment(B, enabled=False), rs(A))
        assert isinstance(found, HandBack)
        assert found.revision == A

    def test_of_a_rollout_under_way_what_serves_most(self) -> None:
        found = care(deployment(B, enabled=False), rs(A, 3), rs(B, 3, ready=1))
        assert isinstance(found, HandBack)
        assert found.revision == A

    @pytest.mark.parametrize("view", [deployment(paused=False), deployment(owns_pause=False)])
    def test_a_pause_that_is_not_ours_is_left_alone(self, view: DeploymentView) -> None:
        assert isinstance(care(replace(view, enabled=False), rs(A)), Nothing)


class TestScaledToZero:
    def test_nothing_pending(self) -> None:
        assert isinstance(care(deployment(replicas=0), rs(A, 0)), Nothing)

    def test_pending_and_the_newest_ran_last_kubernetes_revives_the_right_one(self) -> None:
        sets = (rs(A, 0, sequence=2, created=20.0), rs(C, 0, sequence=1, created=10.0))
        assert isinstance(care(deployment(B, replicas=0), *sets), Nothing)

    def test_pending_and_another_is_newer_the_one_that_ran_last_is_put_back(self) -> None:
        sets = (rs(A, 0, sequence=3, created=10.0), rs(C, 0, sequence=2, created=20.0))
        found = care(deployment(B, replicas=0), *sets)
        assert isinstance(found, HandBack)
        assert found.revision == A

    def test_a_rejected_one_that_would_be_revived_is_replaced(self) -> None:
        rejected = ended(B, "ErrorRateRegression", stable=A)
        found = care(
            deployment(B, replicas=0), rs(A, 0, sequence=2), rs(B, 0, sequence=3), finished=(rejected,)
        )
        assert isinstance(found, HandBack)
        assert found.revision == A

    def test_never_installed(self) -> None:
        assert isinstance(care(deployment(replicas=0, paused=False)), Nothing)
