"""A configuration that cannot be used: canaryd says what is wrong with it and does not start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
prometheus: {url: "http://127.0.0.1:9090"}
policies:
  payments:
    extends: standard
    step-minimum: 2m
"""


@pytest.mark.parametrize("command", [("config", "check"), ("run", "--config")])
def test_a_policy_with_unknown_keys_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = tmp_path / "canaryd.yaml"
    file.write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "canaryd", *command, str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    for words in ("canaryd.yaml", "policies.payments.step-minimum", "there is no such key", "step-min"):
        assert words in done.stderr
