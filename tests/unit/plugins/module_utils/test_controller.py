# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._controller import describe, runs, topmost

PLAYBOOK = ["/venv/bin/python3", "/venv/bin/ansible-playbook", "site.yml"]


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """init - shell - ansible-playbook - its worker, and others."""

    def add(pid: int, parent: int, start: int, *argv: str, state: str = "S") -> None:
        (tmp_path / str(pid)).mkdir()
        fields = [state, str(parent), *["0"] * 17, str(start), "0"]
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b (c) {' '.join(fields)}\n")
        (tmp_path / str(pid) / "cmdline").write_bytes(b"\0".join(word.encode() for word in argv) + b"\0")

    add(1, 0, 1, "/sbin/init")
    add(20, 1, 100, "bash", "ansible.sh")
    add(30, 20, 200, *PLAYBOOK)
    add(31, 30, 210, *PLAYBOOK)
    add(40, 31, 220, "/venv/bin/python3", "-m", "ansible", "playbook", "inner.yml")
    add(50, 1, 300, "vim", "ansible.cfg")
    add(60, 1, 400, *PLAYBOOK, state="Z")
    return tmp_path


def test_the_outermost_run_of_ansible_is_found(proc: Path) -> None:
    for pid in (30, 31, 40):
        found = topmost(pid, str(proc))
        assert found is not None and (found.pid, found.start) == (30, 200)
    assert topmost(20, str(proc)) is None
    assert topmost(4711, str(proc)) is None


def test_all_runs_of_ansible_are_told_and_nothing_else(proc: Path) -> None:
    assert [(run["pid"], run["start"]) for run in runs(str(proc)) or []] == [(30, 200), (31, 210), (40, 220)]


def test_hidden_processes_are_no_proof(proc: Path) -> None:
    (proc / "1" / "stat").unlink()
    assert runs(str(proc)) is None


def test_a_machine_without_proc_tells_nothing_and_does_not_fail(tmp_path: Path) -> None:
    told = describe(1, {}, str(tmp_path), str(tmp_path))
    assert told["machine_id"] == told["boot_id"] == told["pid_namespace"] == ""
    assert told["pid"] is None and told["running"] is None and not told["first_namespace"]


def test_a_pod_is_known_by_its_environment() -> None:
    assert describe(1, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})["in_pod"]
    assert not describe(1, {})["in_pod"]
