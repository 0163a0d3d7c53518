# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Programs: their output, their end, their deadline."""

from __future__ import annotations

import os
import pathlib
from typing import Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _command
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until


def test_output_status_and_input() -> None:
    done = _command.run(["sh", "-c", "cat; echo two >&2; exit 3"], stdin="one")
    assert (done.rc, done.out, done.err, done.last_words) == (3, "one", "two\n", "two")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CareError, match="no-such-program cannot be run"):
        _command.run(["no-such-program"])


def test_at_the_deadline_the_children_end_too(tmp_path: pathlib.Path) -> None:
    told = tmp_path / "pid"
    with pytest.raises(TimedOut, match=r"did not end within 1 s .* said last: busy"):
        _command.run(["sh", "-c", f"echo busy; sleep 300 & echo $! > {told}; wait"], timeout=1)
    stat = pathlib.Path(f"/proc/{told.read_text().strip()}/stat")

    def lives() -> Optional[str]:
        try:
            dead = stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            dead = True
        return None if dead else "the child of the stopped program still lives"

    wait_until(lives, Deadline(5, "none"), "The end of the child", interval=0.05)


def test_messages_are_in_english_and_the_path_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", "/opt/own")
    found = _command.environment({"A": "b"})
    assert (found["LC_ALL"], found["A"]) == ("C", "b")
    assert found["PATH"].split(":")[0] == "/opt/own" and "/usr/sbin" in found["PATH"].split(":")
    assert os.environ["PATH"] == "/opt/own"


def test_a_recorder_remembers_what_was_run() -> None:
    recorder = _command.Recorder()
    recorder(["true"])
    recorder(["sh", "-c", "exit 1"])
    assert recorder.commands == [["true"], ["sh", "-c", "exit 1"]]
