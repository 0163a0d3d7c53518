# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""kubeadm in its own unit: started once, its exit status kept, found by a later run."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubeadm_job
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_job import Jobs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


class Systemd:
    """Stands in for systemctl and systemd-run: the wrapper itself is run for real, at once."""

    def __init__(self, states: Optional[list[str]] = None, start: bool = True) -> None:
        self.states = states or ["inactive"]
        self.start = start
        self.argvs: list[list[str]] = []

    def __call__(self, argv: list[str], **_rest: Any) -> Done:
        self.argvs.append(argv)
        if argv[:2] == ["systemctl", "show"]:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return Done(argv, 0, f"ActiveState={state}\nSubState=x\nResult=success\nExecMainStatus=0\n", "")
        if argv[0] == "systemd-run":
            if not self.start:
                return Done(argv, 1, "", "Failed to start transient service unit: refused")
            subprocess.run(argv[argv.index("--") + 1 :], check=False)
        return Done(argv, 0, "", "")


def test_output_and_exit_status_survive_the_unit(tmp_path: pathlib.Path) -> None:
    jobs = Jobs(Systemd(), str(tmp_path))
    assert jobs.look() is None
    jobs.start("node", "1.35.4", "run-1", ["sh", "-c", "echo out; echo 'two  words' >&2; exit 3"])
    job = jobs.wait(Deadline(5, "timeout"))
    assert (job.rc, job.output, job.running, job.taken) == (3, "out\ntwo  words\n", False, False)
    assert job.same_work("node", "1.35.4") and not job.same_work("node", "1.36.0")
    assert os.stat(tmp_path / "kubeadm" / "output").st_mode & 0o777 == 0o600
    jobs.mark_taken()
    found = jobs.look()
    assert found is not None and found.taken and found.run == "run-1"


def test_a_second_start_forgets_the_first_ones_outcome(tmp_path: pathlib.Path) -> None:
    jobs = Jobs(Systemd(), str(tmp_path))
    jobs.start("node", "1.35.4", "a", ["sh", "-c", "echo first; exit 1"])
    jobs.mark_taken()
    jobs.start("node", "1.35.4", "a", ["sh", "-c", "echo second"])
    job = jobs.wait(Deadline(5, "timeout"))
    assert (job.rc, job.output, job.taken) == (0, "second\n", False)


def test_a_deaf_systemd_is_no_proof_that_kubeadm_ended(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = [Done([], 1, "", "Failed to connect to bus: Connection refused")]
    systemd = Systemd(["active"])

    def runner(argv: list[str], **rest: Any) -> Done:
        if argv[:2] == ["systemctl", "show"] and deaf:
            return deaf.pop()
        return systemd(argv, **rest)

    monkeypatch.setattr(Deadline, "sleep", lambda *_args: None)
    assert Jobs(runner, str(tmp_path)).at_work()
    monkeypatch.setattr(_kubeadm_job, "_SYSTEMD_PATIENCE", 0)
    deaf.append(Done([], 1, "", "Failed to connect to bus: Connection refused"))
    with pytest.raises(CareError, match=r"whether kubeadm still runs.*Failed to connect to bus"):
        Jobs(runner, str(tmp_path)).look()


def test_a_running_unit_is_waited_for(tmp_path: pathlib.Path) -> None:
    jobs = Jobs(Systemd(["active", "deactivating", "inactive"]), str(tmp_path))
    jobs.start("node", "1.35.4", "a", ["true"])
    assert jobs.wait(Deadline(5, "timeout")).rc == 0


def test_at_the_deadline_kubeadm_is_left_running_and_the_option_named(tmp_path: pathlib.Path) -> None:
    systemd = Systemd(["active"])
    jobs = Jobs(systemd, str(tmp_path))
    jobs.start("node", "1.35.4", "a", ["echo", "halfway"])
    with pytest.raises(TimedOut, match=r"option timeout.*halfway"):
        jobs.wait(Deadline(0, "timeout"))
    assert not [argv for argv in systemd.argvs if argv[:2] in (["systemctl", "stop"], ["systemctl", "kill"])]


def test_a_unit_that_was_cut_off_has_no_exit_status(tmp_path: pathlib.Path) -> None:
    jobs = Jobs(Systemd(), str(tmp_path))
    jobs.start("node", "1.35.4", "a", ["true"])
    os.unlink(tmp_path / "kubeadm" / "rc")
    assert jobs.wait(Deadline(5, "timeout")).rc is None


def test_what_systemd_says_is_passed_on(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CareError, match="refused"):
        Jobs(Systemd(start=False), str(tmp_path)).start("node", "1.35.4", "a", ["true"])


def test_the_exact_command_line() -> None:
    argv = _kubeadm_job.start_argv(["kubeadm", "upgrade", "node"], "/o", "/r", "/e")
    assert argv[:7] == [
        "systemd-run",
        "--quiet",
        "--unit=clustercare-kubeadm.service",
        "--description=kubeadm, started by clustercare.kubeadm",
        "--property=Type=simple",
        "--setenv=HOME=/root",
        "--property=EnvironmentFile=/e",
    ]
    assert argv[-6:] == ["clustercare-kubeadm", "/o", "/r", "kubeadm", "upgrade", "node"]


def test_a_proxy_with_a_password_is_in_a_file_and_not_in_the_command_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example.org")
    systemd = Systemd()
    Jobs(systemd, str(tmp_path)).start("node", "1.35.4", "a", ["true"])
    assert "secret" not in json.dumps(systemd.argvs)
    assert "secret" in (tmp_path / "kubeadm" / "environment").read_text()
    assert os.stat(tmp_path / "kubeadm" / "environment").st_mode & 0o777 == 0o600
