# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A failed command says what it was and what it wrote last."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import shell
from lab.errors import LabError


def test_a_failure_shows_the_last_lines_only() -> None:
    with pytest.raises(shell.CommandFailed) as caught:
        shell.run(["sh", "-c", "seq 100 >&2; exit 3"])

    message = caught.value.message
    assert "failed with exit code 3" in message
    assert "    100" in message and "    86" in message and "    85\n" not in message
    assert caught.value.result.rc == 3


def test_a_long_command_is_cut() -> None:
    with pytest.raises(shell.CommandFailed) as caught:
        shell.run(["false", *["word"] * 500])

    assert len(caught.value.message) < 300 and caught.value.message.startswith("false word word")


def test_a_command_that_takes_too_long_is_a_failure() -> None:
    with pytest.raises(shell.CommandFailed, match=r"did not end within 0\.2 s"):
        shell.run(["sleep", "60"], timeout=0.2, check=False)


def test_a_missing_command_is_named() -> None:
    with pytest.raises(LabError, match="no-such-command is not there"):
        shell.run(["no-such-command"])


def test_input_is_a_text_or_a_file_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file")

    assert shell.run(["cat"], stdin="a text").stdout == "a text"
    assert shell.run(["cat"], stdin=tmp_path / "in").stdout == "from a file"
    assert shell.run(["cat"]).stdout == ""
