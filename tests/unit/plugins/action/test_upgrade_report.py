# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report on the controller: written for its owner alone, and what is said when it cannot be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.clustercare.kubeadm.plugins.action import upgrade_report as action

PLAN: dict[str, Any] = {
    "target": "1.35.4",
    "cluster": {"name": "kubernetes"},
    "nothing_to_do": True,
    "refusals": [],
    "warnings": [],
    "hosts": {},
}


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(ActionBase, "run", lambda *_args: {})

    def do(directory: Path, check_mode: bool = False) -> dict[str, Any]:
        plugin = object.__new__(action.ActionModule)
        args = {"plan": PLAN, "dir": str(directory), "run_id": "r1", "figures": {"upgrade_target": "target"}}
        plugin._task = SimpleNamespace(args=args, check_mode=check_mode)
        plugin._loader = SimpleNamespace(path_dwim=str)
        result: dict[str, Any] = plugin.run()
        return result

    return do


def test_two_files_for_their_owner_and_the_figures(write: Any, tmp_path: Path) -> None:
    result = write(tmp_path / "run")
    assert result["changed"] and result["ansible_stats"]["data"] == {"upgrade_target": "1.35.4"}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.json", "report.md"]
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "run").iterdir())


def test_what_could_not_be_written_is_no_change(write: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = write(tmp_path / "file")
    assert result["failed"] and "is not a directory" in result["msg"] and result["changed"] is False


def test_check_mode_writes_nothing(write: Any, tmp_path: Path) -> None:
    assert write(tmp_path / "run", check_mode=True)["changed"] is True
    assert not (tmp_path / "run").exists()
