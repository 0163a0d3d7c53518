# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which node is begun, finished or left alone when another one fails or is lost, and what is said then.

The playbook and its roles are the real ones and Ansible runs them; only the modules are puppets that note that they
were called and answer as the test wants.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.checkout.playing import Stage

MASTERS = ["m1", "m2"]
# Puppets of the last kind are run on the host, by their real action plugins, which make a lost connection again.
ACTIONS = ["cluster_health", "cluster_lock", "maintenance_hook", "maintenance_plan", "node_drain"]
ACTIONS += ["etcd_info", "kubeadm_host_info", "node_reboot"]
MODULES = ["maintenance_record", "os_packages"]
ANSWER = """
import json, os

def answer(place, name, host, args):
    called = [name, args.get("state") or args.get("step") or "", args.get("name") or host]
    if name == "maintenance_plan" and args.get("batch"):
        called[1] = "gate"
    if args.get("names"):
        called[1] = "look"
    with open(os.path.join(place, "called"), "a") as file:
        file.write(json.dumps(called) + "\\n")
    with open(os.path.join(place, "fails")) as file:
        if any(all(a in ("", b) for a, b in zip(fails, called)) for fails in json.load(file)):
            return {"failed": True, "msg": "%s does not want to." % name, "held": False}
    targets, masters = args.get("targets") or [], args.get("masters") or []
    plan = {
        "maintenance": "m0", "text": "the plan", "refusals": [], "api_servers": [],
        "hosts": {
            t: {"node": t, "worked": False, "returned": False, "kept_cordon": "by Ada" if t == "w9" else None}
            for t in targets
        },
        "order": {
            "masters": [t for t in targets if t in masters],
            "workers": [t for t in targets if t not in masters],
            "max_unavailable": int(args.get("max_unavailable") or 1),
        },
    }
    risk = {"pod": "shop/db-0", "risks": ["the only replica of StatefulSet/db"]}
    big, stuck = {"pod": "shop/big-0", "reason": "too little memory"}, {"pods": ["shop/web-0"], "reason": "its budget"}
    return {
        "changed": False, "host": {"node_name": host}, "held": args.get("state", "held") == "held", "plan": plan,
        "reboot": {"needed": False, "done": False}, "time": 1.0, "booted": 1.0, "boot_id": "b", "packages": ["bash"],
        "at_risk": [risk], "nodes": {"w1": {"plan": {"no_place": [big], "never": [stuck]}}}, "refusals": [],
    }
"""
MODULE = f"""#!/usr/bin/python
# WANT_JSON
{ANSWER}
import sys
with open(sys.argv[1]) as file:
    args = json.load(file)
# Each host has its own directory for what Ansible copies to it.
print(json.dumps(answer(PLACE, NAME, sys.argv[1].split("/hosts/")[1].split("/")[0], args)))
"""
ACTION = f"""
from ansible.plugins.action import ActionBase
{ANSWER}

class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        return answer(PLACE, NAME, task_vars["inventory_hostname"], self._task.args)
"""
LOST = '''
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: lost
short_description: A host that nobody reaches
description: [A host that nobody reaches.]
author: [test]
"""


class Connection(ConnectionBase):
    transport = "lost"
    has_pipelining = False

    def _connect(self):
        raise AnsibleConnectionFailure("No route to host")

    exec_command = put_file = fetch_file = lambda self, *args, **kwargs: self._connect()

    def close(self):
        pass
'''


class World:
    """Masters and workers, and a collection of the real playbook with puppets instead of its modules."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.output = ""
        self.rc = 0
        real = ["roles", "playbooks", "meta"]
        real += [f"plugins/{name}" for name in ("doc_fragments", "filter", "lookup", "module_utils")]
        real += [f"plugins/action/{name}.py" for name in ("kubeadm_upgrade", *MODULES)]
        played = {"plugins/connection/lost.py": LOST}
        for kind, names, puppet in (("action", ACTIONS, ACTION), ("modules", MODULES, MODULE)):
            for name in names:
                text = puppet.replace("PLACE", repr(str(path))).replace("NAME", repr(name))
                played[f"plugins/{kind}/{name}.py"] = text
        self.stage = Stage(path, real, played)

    def play(self, nodes: list[str], *fails: list[str], lost: str = "", **variables: Any) -> None:
        """Run the playbook.

        :param fails: calls that fail: module, state or step, node; an empty word is any.
        :param lost: a node that is lost in its work.
        """

        def host(name: str) -> dict[str, Any]:
            return {"ansible_remote_tmp": f"{self.path}/hosts/{name}"}

        # A task costs something on each host: only those that are needed.
        masters = [name for name in MASTERS if name in nodes or name == MASTERS[0]]
        groups = {
            "masters": {"hosts": {name: host(name) for name in masters}},
            "workers": {"hosts": {name: host(name) for name in nodes if name not in masters}},
        }
        self.stage.inventory(
            groups,
            ansible_remote_tmp=f"{self.path}/hosts/localhost",
            kubeadm_kubeconfig="/nowhere",
            maintenance_connect_timeout=1,
            who_is_lost=lost,
            **variables,
        )
        (self.path / "called").touch()
        (self.path / "fails").write_text(json.dumps(fails))
        run = self.stage.run("clustercare.kubeadm.maintain_node", "-e", json.dumps({"maintenance_nodes": nodes}))
        self.output, self.rc = run.said, run.rc

    def calls(self, module: str, state: str = "") -> list[str]:
        """For which nodes the module was called, in order."""
        lines = [json.loads(line) for line in (self.path / "called").read_text().splitlines()]
        return [node for name, how, node in lines if name == module and state in ("", how)]

    @property
    def drained(self) -> list[str]:
        return sorted(self.calls("node_drain", "drained"))

    @property
    def finished(self) -> list[str]:
        return sorted(self.calls("maintenance_record", "finished"))

    @property
    def unlocked(self) -> bool:
        return bool(self.calls("cluster_lock", "released"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def lost_in_work(tmp_path: Path) -> list[str]:
    """Work after which one node is not reached any more."""
    (tmp_path / "work.yml").write_text(
        "- name: Lose it\n  ansible.builtin.set_fact: {ansible_connection: clustercare.kubeadm.lost}\n"
        "  when: inventory_hostname == who_is_lost\n"
    )
    return [str(tmp_path / "work.yml")]


def test_no_worker_and_no_other_master_is_begun_when_a_master_is_lost(world: World, lost_in_work: list[str]) -> None:
    world.play(["m1", "m2", "w1"], lost="m1", maintenance_tasks=lost_in_work)
    assert world.rc != 0 and world.drained == ["m1"] and world.finished == [], world.output
    assert "stopped at m1" in world.output and "Left to do: m1, m2, w1." in world.output
    assert "goes on where it stopped. Until then the node stays cordoned." in world.output
    assert "did not come back within 1 s (option maintenance_connect_timeout)" in world.output and world.unlocked


@pytest.mark.long
def test_a_node_that_ansible_loses_in_a_tasks_file_ends_the_run(world: World, lost_in_work: list[str]) -> None:
    with (world.path / "work.yml").open("a") as file:
        file.write("- name: Find it gone\n  ansible.builtin.ping:\n")
    world.play(["m1", "m2", "w1"], lost="m1", maintenance_tasks=lost_in_work)
    assert world.rc != 0 and world.drained == ["m1"] and "UNREACHABLE" in world.output, world.output


def test_the_others_of_a_batch_are_finished_when_one_is_lost(world: World, lost_in_work: list[str]) -> None:
    with (world.path / "work.yml").open("a") as file:
        file.write("- name: Find it gone\n  ansible.builtin.ping:\n")
    world.play(["w1", "w2", "w3"], lost="w1", maintenance_tasks=lost_in_work, maintenance_max_unavailable=2)
    assert world.rc != 0 and world.drained == ["w1", "w2"] and world.finished == ["w2"], world.output
    assert "w1 can no longer be reached; no further node is begun. Left to do: w1, w3." in world.output
    assert world.unlocked


@pytest.mark.long
def test_the_others_of_a_batch_are_finished_when_one_fails_and_the_reason_is_told(world: World) -> None:
    world.play(
        ["w1", "w2", "w3"],
        ["node_drain", "drained", "w1"],
        ["cluster_lock", "released", ""],
        maintenance_max_unavailable=2,
    )
    assert world.rc != 0 and world.drained == ["w1", "w2"] and world.finished == ["w2"], world.output
    assert "stopped at w1" in world.output and "node_drain does not want to." in world.output
    assert "shop/db-0 loses something: the only replica of StatefulSet/db" in world.output
    assert "shop/big-0 would find no place: too little memory" in world.output
    assert "shop/web-0 could not go: its budget" in world.output
    assert "Left to do: w1, w3." in world.output and "stays cordoned" not in world.output
    assert "The lock could not be given back, and ends by itself: cluster_lock does not want to." in world.output


@pytest.mark.long
def test_a_batch_that_may_not_be_begun_is_told_and_gives_the_lock_back(world: World) -> None:
    world.play(["w1", "w2", "w3"], ["maintenance_plan", "gate", ""], maintenance_max_unavailable=2)
    assert world.rc != 0 and world.drained == [] and world.unlocked, world.output
    assert (
        "See whether it may be taken out of service now" in world.output and "Left to do: w1, w2, w3." in world.output
    )


@pytest.mark.long
def test_a_node_that_somebody_else_had_cordoned_is_not_called_back_in_service(world: World) -> None:
    world.play(["w1", "w9"])
    assert world.rc == 0 and world.finished == ["w1", "w9"] and world.unlocked, world.output
    assert "Back in service: w1. Finished, and cordoned by somebody else as before: w9." in world.output


@pytest.mark.long
def test_a_failure_does_not_promise_to_uncordon_what_somebody_else_had_cordoned(
    world: World, lost_in_work: list[str]
) -> None:
    world.play(["w1", "w9"], lost="w9", maintenance_tasks=lost_in_work)
    assert world.rc != 0 and world.drained == ["w1", "w9"] and world.finished == ["w1"], world.output
    assert "goes on where it stopped. The node was cordoned by somebody else before, and stays so." in world.output


@pytest.mark.long
def test_a_plan_that_fails_gives_the_lock_back(world: World) -> None:
    world.play(["w1", "w2"], ["os_packages", "available", "w2"], maintenance_packages=True)
    assert world.rc != 0 and world.drained == [] and world.unlocked, world.output
    assert "os_packages does not want to." in world.output


@pytest.mark.long
def test_tasks_files_may_come_as_the_text_of_a_survey(world: World) -> None:
    files = [world.path / f"{name}.yml" for name in ("first", "second")]
    for file in files:
        file.write_text(f"- name: Work\n  ansible.builtin.copy: {{content: done, dest: {file}.done}}\n")
    world.play(["w1"], maintenance_tasks=f"{files[0]}, {files[1]}")
    assert world.rc == 0 and world.finished == ["w1"], world.output
    assert all(Path(f"{file}.done").is_file() for file in files)
