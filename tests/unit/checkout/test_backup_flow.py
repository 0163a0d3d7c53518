# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real tasks of the role etcd_backup, on hosts whose etcd is played: whose data is taken, and what is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pytest

from tests.unit.checkout.playing import Stage

HOSTS = ("cp1", "cp2", "cp3")
# Stands in for the modules of the role.
PLAYER = """
import json, os
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        host, module = task_vars["inventory_hostname"], self._task.action.split(".")[-1]
        with open(os.path.join(os.environ["WORLD"], "told.json")) as file:
            etcd = json.load(file)[host]
        if etcd is None:
            raise AnsibleConnectionFailure("no route to host")
        if module == "etcd_info":
            differs = self._task.args["hash_check"] and etcd["differs"]
            return {"etcd": {**etcd, "snapshot_refusal": "Its data differs." if differs else etcd["snapshot_refusal"]}}
        if module == "control_plane_files":
            return {"fetched": {"paths": [host]}}
        if etcd["snapshot_refusal"]:
            return {"failed": True, "msg": etcd["snapshot_refusal"]}
        about = {"path": "/b/" + host, "size": 1, "revision": 2, "sha256": "5"}
        return {"changed": True, "snapshot": about, "fetched": {"path": "/c/" + host, "seconds": 1}, "elapsed": 1}
"""
PLAY = """
- hosts: masters
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.import_role:
        name: clustercare.kubeadm.etcd_backup
    - ansible.builtin.debug:
        var: etcd_backup_result
      run_once: true
"""


class Ended(NamedTuple):
    rc: int
    said: str
    result: dict[str, Any]


class World:
    """Three masters, and a collection of the real role with the player instead of its modules."""

    def __init__(self, root: Path) -> None:
        modules = ("etcd_info", "etcd_snapshot", "control_plane_files")
        real = ("roles", "meta", "plugins/filter", "plugins/module_utils", "plugins/modules")
        self.stage = Stage(root, real, {f"plugins/action/{name}.py": PLAYER for name in modules})
        self.stage.inventory({"masters": {"hosts": dict.fromkeys(HOSTS)}})
        self.root = root
        (root / "play.yml").write_text(PLAY)

    def play(self, *etcds: Optional[dict[str, Any]], **variables: Any) -> Ended:
        (self.root / "told.json").write_text(json.dumps(dict(zip(HOSTS, etcds, strict=True))))
        run = self.stage.run("play.yml", "-e", json.dumps({"etcd_backup_dir": "/c", **variables}))
        shown = re.findall(r"=> (\{\n.*?^\})", run.stdout, re.DOTALL | re.MULTILINE)
        result = json.loads(shown[-1])["etcd_backup_result"] if run.rc == 0 else {}
        return Ended(run.rc, run.said, result)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def etcd(index: int, cluster: str = "7", **more: Any) -> dict[str, Any]:
    """What a member that may be backed up says."""
    about = {"cluster_id": cluster, "raft_applied_index": index, "snapshot_refusal": None, "problems": []}
    return {**about, "differs": False, **more}


def test_the_newest_fit_member_is_taken_and_what_is_wrong_is_told(world: World) -> None:
    silent = ["Member cp3 (3) does not answer: connection refused."]
    ended = world.play(None, etcd(900, problems=silent), etcd(0, snapshot_refusal="connection refused"))
    assert ended.rc == 0, ended.said
    assert (ended.result["host"], ended.result["problems"]) == ("cp2", silent)
    assert list(ended.result["left_out"]) == ["cp1"] and list(ended.result["files"]) == ["cp2", "cp3"]


@pytest.mark.parametrize(("asked", "taken"), [(True, "cp1"), (False, "cp3")])
def test_a_member_whose_data_has_parted_is_noticed_when_it_is_asked_for(world: World, asked: bool, taken: str) -> None:
    ended = world.play(etcd(901), etcd(900), etcd(950, differs=True), etcd_backup_hash_check=asked)
    assert ended.rc == 0, ended.said
    assert ended.result["host"] == taken


def test_a_member_of_an_earlier_cluster_is_not_taken_for_the_newest(world: World) -> None:
    # cp3 was left out of a restore and came back with its old disk, where raft has come much further.
    masters = (etcd(1000), etcd(1001), etcd(5_000_000, cluster="8"))
    ended = world.play(*masters)
    assert ended.rc != 0
    assert "cp1 (7), cp2 (7), cp3 (8)" in ended.said and "etcd_backup_masters" in ended.said
    named = world.play(*masters, etcd_backup_masters=["cp1", "cp2"])
    assert (named.rc, named.result["host"]) == (0, "cp2")


def test_lists_and_switches_may_come_as_the_text_of_a_survey(world: World) -> None:
    ended = world.play(etcd(900), etcd(950), etcd(990), etcd_backup_masters="cp1, cp2", etcd_backup_files="false")
    assert ended.rc == 0, ended.said
    assert (ended.result["host"], ended.result["files"]) == ("cp2", {})


def test_the_files_of_the_masters_are_saved_also_when_etcd_cannot_be(world: World) -> None:
    broken = etcd(900, snapshot_refusal="The disk is broken.")
    ended = world.play(broken, broken, None)
    assert ended.rc != 0
    assert "Without a snapshot of etcd: The disk is broken. Saved all the same: the files of cp1, cp2." in ended.said
    assert "VARIABLE IS NOT DEFINED" not in ended.said, "the play goes on as if it had been backed up"
    without = world.play(broken, broken, None, etcd_backup_files=False)
    assert without.rc != 0 and "Saved all the same" not in without.said
