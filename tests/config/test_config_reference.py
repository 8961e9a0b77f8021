"""docs/configuration.md says what the tables say, and its example works."""

from __future__ import annotations

import re
from pathlib import Path

from config.annotation_table import ANNOTATIONS, POLICY_ANNOTATIONS
from config.load import load
from config.policy_knobs import POLICY_KNOBS
from config.reference import render
from config.setting_knobs import SETTING_KNOBS

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_committed_reference_is_current() -> None:
    assert DOCUMENT.read_text() == render(), "run: python -m config.reference > docs/configuration.md"


def test_every_knob_is_in_it() -> None:
    text = render()
    for knob in (*SETTING_KNOBS, *POLICY_KNOBS):
        assert f"| `{knob.key}` |" in text
        assert knob.why in text
    for name in (*ANNOTATIONS, *POLICY_ANNOTATIONS):
        assert f"`canaryd.io/{name}`" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", render(), re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line) for line in table.splitlines()]
        assert len({len(row) for row in rows}) == 1


def test_its_examples_can_be_used(tmp_path: Path) -> None:
    settings, metrics = re.findall(r"```yaml\n(.*?)```", render(), re.DOTALL)
    file = tmp_path / "canaryd.yaml"
    file.write_text(settings)
    assert load(file).policies["payments"].deadline == 8 * 3600
    file.write_text(metrics)
    assert [one.name for one in load(file).policies["payments"].metrics] == ["orders", "queue-depth"]
