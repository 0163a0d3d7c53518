# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A snapshot on its way to a host comes whole, or nothing of it stays there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase

from ansible_collections.clustercare.kubeadm.plugins.action import etcd_restore as action

WHOLE = bytes(range(256)) * 100
RUN = "20260101T000000Z-aaaaaa"


class Host:
    """A host that is this machine; its commands fail as told, else they run."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = root / "host" / "restore" / RUN
        self.breaks: list[Exception] = []
        self.full_at = len(WHOLE) + 1
        self.written = 0
        monkeypatch.setattr(action, "DIRECTORY", str(root / "host"))
        monkeypatch.setattr(action, "PIECE", 10_000)
        monkeypatch.setattr("time.sleep", lambda _seconds: None)
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        self.source = root / "snapshot.db"
        self.source.write_bytes(WHOLE)
        self.named = str(self.source)

    def execute(self, asked: str, in_data: Any = None) -> dict[str, Any]:
        if in_data and self.breaks:
            raise self.breaks.pop(0)
        if in_data and self.written + len(in_data) > self.full_at:
            (self.room / "snapshot.db").write_bytes(WHOLE[: self.full_at])
            return {"rc": 1, "stdout": "", "stderr": "dd: error writing: No space left on device"}
        self.written += len(in_data or b"")
        done = subprocess.run(["sh", "-c", asked], input=in_data, capture_output=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}

    def stage(self, **module_says: Any) -> dict[str, Any]:
        """Run the task; the module answers as told."""
        plan = {"run": RUN, "snapshot": {"size": len(WHOLE)}}
        plugin = object.__new__(action.ActionModule)
        plugin._low_level_execute_command = self.execute
        plugin._execute_module = lambda task_vars: dict(module_says)
        arguments = {"phase": "stage", "snapshot": self.named, "plan": plan}
        plugin._loader = DataLoader()
        plugin._loader.set_basedir(str(self.source.parent))
        plugin._task = SimpleNamespace(check_mode=False, args=arguments)
        return plugin.run()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_it_comes_whole_also_over_a_line_that_breaks(host: Host) -> None:
    host.breaks = [AnsibleConnectionFailure("timed out"), AnsibleConnectionFailure("timed out")]
    assert host.stage(changed=True) == {"changed": True}
    assert (host.room / "snapshot.db").read_bytes() == WHOLE


@pytest.mark.parametrize("named", ["~/snapshot.db", "./snapshot.db"])
def test_it_is_found_where_a_salvaged_one_was_fetched_to(
    host: Host, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("HOME", str(host.source.parent))
    host.named = named
    assert host.stage(changed=True) == {"changed": True}
    assert (host.room / "snapshot.db").read_bytes() == WHOLE


def test_a_full_disk_is_told_at_once_and_nothing_stays(host: Host) -> None:
    host.full_at = 12_000
    answer = host.stage()
    assert answer["failed"]
    assert "No space left on device" in answer["msg"]
    assert host.written == 10_000  # no second try
    assert not host.room.exists()


def test_a_line_that_stays_broken(host: Host) -> None:
    host.breaks = [AnsibleConnectionFailure("timed out")] * 4
    assert "Gave up after 4 tries" in host.stage()["msg"]
    assert not host.room.exists()


def test_a_snapshot_of_which_nothing_can_be_made_does_not_stay(host: Host) -> None:
    assert host.stage(failed=True, msg="etcdutl could not")["msg"] == "etcdutl could not"
    assert not host.room.exists()


def test_what_else_is_in_the_directory_stays(host: Host) -> None:
    host.room.mkdir(parents=True)
    (host.room / "new").mkdir()
    host.full_at = 0
    assert host.stage()["failed"]
    assert [path.name for path in host.room.iterdir()] == ["new"]
