# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.clustercare.kubeadm.plugins.action import etcd_snapshot as action
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pieces import command
from ansible_collections.clustercare.kubeadm.plugins.plugin_utils import _bringing as bringing
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

WHOLE = fakes.snapshot()
ON_HOST = "/var/lib/clustercare/backups/one.db"
SNAPSHOT = {"path": ON_HOST, "size": len(WHOLE), "sha256": hashlib.sha256(WHOLE).hexdigest(), "revision": 6}
PIECE = 5000


class Host:
    """The host's side of the connection: serves the file, after failing as told."""

    def __init__(self, *failures: Any) -> None:
        self.failures = list(failures)
        self.commands: list[str] = []

    def execute(self, asked: str, in_data: Any = None) -> dict[str, Any]:
        self.commands.append(asked)
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, AnsibleConnectionFailure):
            raise AnsibleConnectionFailure(str(failure))
        if failure is not None:
            return {"rc": 1, "stdout": failure, "stderr": "dd: it went wrong"}
        for offset in range(0, len(WHOLE), PIECE):
            length = min(PIECE, len(WHOLE) - offset)
            if asked == command(ON_HOST, offset, length, packed=False):
                return {"rc": 0, "stdout": base64.b64encode(WHOLE[offset : offset + length]).decode(), "stderr": ""}
        raise AssertionError(f"unexpected command: {asked}")


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fetch from this host into a directory that is not there yet."""
    monkeypatch.setattr(bringing, "PIECE", PIECE)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(bringing, "Line", lambda: SimpleNamespace(packed=False, took=lambda _seconds: None))

    def do(host: Host, snapshot: Optional[dict[str, Any]] = None, check_mode: bool = False) -> dict[str, Any]:
        module = object.__new__(action.ActionModule)
        module._task = SimpleNamespace(check_mode=check_mode, get_name=lambda: "Take a snapshot")
        module._connection = SimpleNamespace(is_pipelining_enabled=lambda: True)
        module._play_context = SimpleNamespace(remote_addr="cp1")
        module._low_level_execute_command = host.execute
        return module._fetch(snapshot or SNAPSHOT, str(tmp_path / "controller"))

    return do


def left(tmp_path: Path) -> list[str]:
    directory = tmp_path / "controller"
    return sorted(os.listdir(directory)) if directory.exists() else []


def test_the_copy_is_whole_private_and_proven(fetch: Any, tmp_path: Path) -> None:
    host = Host()
    fetched = fetch(host)
    copy = tmp_path / "controller" / "one.db"
    assert copy.read_bytes() == WHOLE and len(host.commands) == -(-len(WHOLE) // PIECE)
    assert (fetched["path"], fetched["changed"], fetched["revision"]) == (str(copy), True, 6)
    assert left(tmp_path) == ["one.db", "one.db.json"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 and stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_the_same_copy_is_not_fetched_twice(fetch: Any) -> None:
    fetch(Host())
    host = Host()
    assert fetch(host)["changed"] is False
    assert host.commands == []


@pytest.mark.parametrize("failure", ["", "AAAA", "no base64!", AnsibleConnectionFailure("timed out")])
def test_a_broken_piece_is_asked_for_again(fetch: Any, tmp_path: Path, failure: Any) -> None:
    host = Host(failure, failure)
    fetch(host)
    assert host.commands[0] == host.commands[1] == host.commands[2] != host.commands[3]
    assert (tmp_path / "controller" / "one.db").read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("failure", "words"), [("", "dd: it went wrong"), (AnsibleConnectionFailure("timed out"), "timed out")]
)
def test_a_line_that_stays_broken_leaves_nothing(fetch: Any, tmp_path: Path, failure: Any, words: str) -> None:
    with pytest.raises(CareError, match=f"{words}.*Gave up after 4 tries"):
        fetch(Host(*[failure] * 4))
    assert left(tmp_path) == []


def test_a_file_that_changed_on_the_host_is_thrown_away(fetch: Any, tmp_path: Path) -> None:
    with pytest.raises(CareError, match="differs from"):
        fetch(Host(), {**SNAPSHOT, "sha256": "0" * 64})
    assert left(tmp_path) == []


def test_another_snapshot_of_that_name_is_not_overwritten(fetch: Any, tmp_path: Path) -> None:
    fetch(Host())
    with pytest.raises(CareError, match="option name"):
        fetch(Host(), {**SNAPSHOT, "sha256": "0" * 64})
    assert (tmp_path / "controller" / "one.db").read_bytes() == WHOLE


@pytest.mark.parametrize("snapshot", [SNAPSHOT, {key: SNAPSHOT[key] for key in ("path", "size", "revision")}])
def test_check_mode_says_where_and_fetches_nothing(fetch: Any, tmp_path: Path, snapshot: dict[str, Any]) -> None:
    host = Host()
    fetched = fetch(host, snapshot, check_mode=True)
    assert fetched["changed"] and fetched["path"] == str(tmp_path / "controller" / "one.db")
    assert host.commands == [] and left(tmp_path) == []
