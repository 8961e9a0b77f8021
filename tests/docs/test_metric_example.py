"""The example of the page about metrics is the one that the sandbox plays with a real Prometheus."""

from __future__ import annotations

from pathlib import Path

import document_pages as pages

from canaryd.sandbox.scenarios import POLICIES
from config.load import load
from config.settings import policy_document


def test_the_example_can_be_used_and_is_what_the_sandbox_plays(tmp_path: Path) -> None:
    (example,) = (
        block for block in pages.all_blocks(frozenset({"yaml"})) if str(block).startswith("docs/metrics.md")
    )
    file = tmp_path / "canaryd.yaml"
    file.write_text(example.text)
    policy = load(file).policies["rejections"]
    assert policy_document(policy)["metrics"] == POLICIES["rejections"]["metrics"]
