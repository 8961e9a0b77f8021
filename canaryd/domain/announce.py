"""What people are told when a run moves: the differences that matter between two of its states."""

from __future__ import annotations

from dataclasses import dataclass

from canaryd.domain.model import LADDER, Outcome, Phase, Run, Stage


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Kubernetes Event: warning or normal, a CamelCase reason, a sentence."""

    warning: bool
    reason: str
    message: str


def announce(before: Run | None, after: Run) -> tuple[Announcement, ...]:
    """The events that lead from `before` (None: the run is new) to `after`."""
    if before is None:
        return (Announcement(False, "RunStarted", f"run {after.name}: release of revision {after.revision}"),)
    said: list[Announcement] = []
    if after.outcome is not before.outcome and after.outcome is Outcome.ROLLED_BACK:
        warning = after.reason not in ("Superseded", "Reverted", "Released", "ScaledToZero")
        said.append(Announcement(warning, after.reason, after.because))
    elif after.outcome is not before.outcome and after.outcome is Outcome.SUCCEEDED:
        said.append(Announcement(False, after.reason, after.because))
    if after.hold is not None and after.hold is not before.hold:
        said.append(Announcement(True, after.hold.value, after.because))
    elif before.hold is not None and after.hold is None and after.outcome is None:
        said.append(Announcement(False, "Resumed", f"no longer held as {before.hold.value}: {after.because}"))
    if after.reasserted != before.reasserted:
        said.append(Announcement(True, "Drifted", after.because))
    retreats = after.retreated_since is not None and before.retreated_since is None
    if after.stage is Stage.SHIFT and before.stage is not Stage.SHIFT and not retreats:
        said.append(Announcement(False, "WeightShifted", after.because))
    if after.stage is not before.stage and after.stage not in LADDER and after.outcome is None:
        said.append(Announcement(False, _camel(after.stage), after.because))
    if after.reason == "Preflight" and after.because != before.because:
        said.append(Announcement(True, "PreflightFailed", after.because))
    if after.stage is Stage.DONE and before.stage is not Stage.DONE:
        word = "RunSucceeded" if after.phase is Phase.SUCCEEDED else "RunRolledBack"
        said.append(Announcement(False, word, f"run {after.name} has ended: {after.because}"))
    return tuple(said)


def _camel(stage: Stage) -> str:
    return "".join(word.capitalize() for word in stage.value.split("-"))
