"""`canaryd replay`: a run's recorded intervals judged again, as they were or by other rules."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from canaryd.cli.policies import config_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.judge_config import JudgeConfig
    from analysis.replay import Moment, Recording


@click.command()
@click.argument("recording", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--policy", "name", metavar="NAME", help="Judge by this policy instead of the recorded one.")
@config_option
@click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one knob of the judge, under its name in a policy. May be given more than once.",
)
@click.option("--all", "every", is_flag=True, help="Print every interval, not only changes of the decision.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result."
)
def replay(
    recording: Path, name: str | None, file: Path | None, sets: tuple[str, ...], every: bool, output: str
) -> None:
    """Judge the recorded intervals of a run again, and say where the decisions differ.

    Without --policy and --set the judge is the recorded one. A policy without metrics of its own is tried with the
    run's. With another judge, what follows the first other decision
    is what would have been said of the traffic that the run did get.

    \b
    Examples:
      canaryd replay checkout.jsonl
      canaryd replay checkout.jsonl --all
      canaryd replay checkout.jsonl --policy cautious
      canaryd replay checkout.jsonl --set alpha=0.001 -o json

    Exit codes: 0 replayed, 1 nothing was changed and the decisions differ from the recorded ones,
    2 wrong usage, or a file that is no recording.
    """
    from analysis import JudgeConfig
    from analysis import replay as recordings
    from analysis.errors import BadConfig
    from analysis.replay import BadRecording
    from canaryd.cli.policies import changed_judge, policy_of, refuse, settings_of

    given = click.get_current_context().get_parameter_source("file")
    if name is None and given is click.core.ParameterSource.COMMANDLINE:
        refuse("--config: it is read for the policy that --policy names; give both, or neither")
    try:
        with click.open_file(str(recording), "rb") as stream:
            recorded = recordings.read(stream)
        config = recorded.header.judge
        if name is not None:
            policy = policy_of(settings_of(file), name)
            config = JudgeConfig(**policy.judge_arguments())
            if not policy.metrics:  # those of the run are the only ones that it has counts of
                own = recorded.header.judge
                config = dataclasses.replace(config, custom=own.custom, thresholds=own.thresholds)
        config = changed_judge(config, sets)
        moments = list(recordings.replay(recorded, config))
    except BadConfig as error:
        refuse(f"--policy: with the metrics of the run: {error}")
    except (OSError, BadRecording) as error:
        refuse(f"{recording}: {error.strerror if isinstance(error, OSError) else error}")
    if output == "json":
        click.echo(json.dumps(_document(recorded, config, moments), indent=2))
    else:
        from canaryd.cli.replay_screen import show

        show(recorded, config, moments, every=every)
    differs = any(moment.differs for moment in moments)
    sys.exit(1 if differs and config == recorded.header.judge else 0)


def _document(recorded: Recording, config: JudgeConfig, moments: Sequence[Moment]) -> dict[str, Any]:
    header = recorded.header
    judged = [moment.verdict for moment in moments if moment.verdict is not None]
    return {
        "run": header.run,
        "policy": header.policy,
        "recorded_judge": header.judge.to_json(),
        "judge": config.to_json(),
        "changed": config != header.judge,
        "differs": any(moment.differs for moment in moments),
        "verdict": judged[-1].to_json() if judged else None,
        "intervals": [_interval(moment) for moment in moments],
    }


def _interval(moment: Moment) -> dict[str, Any]:
    record, verdict = moment.record, moment.verdict
    shown: dict[str, Any] = {
        "start": record.interval.start,
        "end": record.interval.end,
        "weight": record.interval.weight,
        "quarantined": record.quarantined or None,
        "recorded_decision": record.decision or None,
        "decision": None,
    }
    if verdict is None:
        return shown
    return shown | {
        "decision": verdict.decision,
        "differs": moment.differs,
        "reason": verdict.reason,
        "evidence_harm": verdict.evidence_harm,
        "evidence_safe": min((metric.evidence_safe for metric in verdict.metrics.values()), default=None),
    }
