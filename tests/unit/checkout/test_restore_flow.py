# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real tasks of the role etcd_restore, on hosts whose steps are played: who does what after an accident."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.unit.checkout.playing import Stage

HOSTS = ("cp1", "cp2", "cp3")
ORDER = ("stage", "arm", "stop_api", "stop_etcd", "swap", "start_etcd", "mark", "start_api")
# Stands in for all modules of the role. It notes who does what, and lets happen what the test asks for.
PLAYER = """
import fcntl, json, os
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

ENDS = {"stage": "staged", "arm": "armed", "stop_api": "stopping", "stop_etcd": "stopped", "swap": "swapped",
        "start_etcd": "started", "mark": "agreed", "start_api": "serving", "finish": "finished", "done": "done",
        "join": "joined", "rollback": "rolling_back", "rollback_api": "rolled_back"}


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        world = os.environ["WORLD"]
        with open(os.path.join(world, "told.json")) as file:
            told = json.load(file)
        module = self._task.action.split(".")[-1]
        if module == "etcd_restore_plan":
            missing = sorted(set(self._task.args["masters"]) - set(self._task.args["looks"]))
            return {"failed": bool(missing), "msg": f"Not reached: {missing}.", "plan": told["plan"]}
        if module == "etcd_snapshot":
            return {"fetched": {"path": "/nowhere"}}
        host, phase = task_vars["inventory_hostname"], self._task.args["phase"]
        how = told["accidents"].get(host, {}).get(phase)
        place = os.path.join(world, host)
        cut = place + ".cut"
        if os.path.exists(cut) or how == "cut":
            open(cut, "w").close()
            raise AnsibleConnectionFailure("no route to host")
        with open(os.path.join(world, "log"), "a") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            log.write(f"{phase} {host}\\n")
        if how == "fails" or (how == "fails once begun" and os.path.exists(place)):
            return {"failed": True, "msg": f"The disk of {host} is broken."}
        if phase == "look":
            return {"look": {"state": self.state(place)}}
        state = self.state(place) or {"run": "r1", "node": host}
        joins = host in told["plan"]["joiners"]
        if phase in ENDS and not (joins and phase in ("start_etcd", "start_api")):
            state["phase"] = ENDS[phase]
            state.update(outage=1, proof={"revision": 1, "hashes": {}})
            if phase in ("start_api", "done"):
                state["written"] = 2
        with open(place, "w") as file:
            json.dump(state, file)
        if how == "answer lost":
            open(cut, "w").close()
            raise AnsibleConnectionFailure("no route to host")
        return {"changed": True, "state": state, "kept": [], "removed": [], "unready_nodes": [], "orphans": []}

    @staticmethod
    def state(place):
        if not os.path.exists(place):
            return None
        with open(place) as file:
            return json.load(file)
"""
PLAY = """
- hosts: masters
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.import_role:
        name: clustercare.kubeadm.etcd_restore
"""


class Ended(NamedTuple):
    rc: int
    said: str
    log: list[tuple[str, str]]
    phases: dict[str, Any]

    def after(self, phase: str, host: str) -> list[str]:
        """What this host did from the failure of ``phase`` on."""
        done = [did for did, who in self.log if who == host]
        return done[done.index(phase) + 1 :] if phase in done else done


class World:
    """Three hosts of a cluster, and a collection of the real role with the player instead of its modules."""

    def __init__(self, root: Path) -> None:
        modules = ("etcd_restore", "etcd_restore_plan", "etcd_snapshot")
        real = ("roles", "meta", "plugins/filter", "plugins/lookup", "plugins/module_utils", "plugins/modules")
        self.stage = Stage(root, real, {f"plugins/action/{name}.py": PLAYER for name in modules})
        self.stage.inventory({"masters": {"hosts": dict.fromkeys(HOSTS)}})
        self.root = root
        (root / "play.yml").write_text(PLAY)

    def play(
        self,
        accidents: dict[str, dict[str, str]],
        seed: str = "",
        action: str = "restore",
        in_use: tuple[str, ...] = (),
        forks: int = 5,
        **variables: Any,
    ) -> Ended:
        plan = {
            "action": action,
            "why": "you asked for it",
            "run": "r1",
            "mode": "seed_and_join" if seed else "all_members",
            "snapshot": {"name": "a.db", "size": 1},
            "safety_host": None,
            "seed": seed or None,
            "in_use": list(in_use),
            "joiners": [host for host in HOSTS if seed and host != seed],
        }
        (self.root / "told.json").write_text(json.dumps({"plan": plan, "accidents": accidents}))
        asked = {"etcd_restore_snapshot": "/nowhere/a.db", **variables}
        run = self.stage.run("play.yml", "--forks", str(forks), "-e", json.dumps(asked))
        lines = (self.root / "log").read_text().splitlines() if (self.root / "log").exists() else []
        log = [(phase, host) for phase, host in (line.split() for line in lines)]
        files = {host: self.root / host for host in HOSTS}
        states = {host: json.loads(file.read_text()) if file.exists() else {} for host, file in files.items()}
        phases = {host: state.get("phase") for host, state in states.items()}
        return Ended(run.rc, run.said, log, phases)

    def stand(self, phase: str) -> None:
        for host in HOSTS:
            (self.root / host).write_text(json.dumps({"run": "r1", "node": host, "phase": phase, "written": 2}))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def all_at(phase: str) -> dict[str, str]:
    return dict.fromkeys(HOSTS, phase)


def test_each_step_ends_on_all_masters_before_the_next_one_begins(world: World) -> None:
    ended = world.play({})
    assert ended.rc == 0, ended.said
    assert ended.phases == all_at("done")
    steps = [phase for phase, _host in ended.log if phase in ORDER]
    assert steps == [phase for phase in ORDER for _host in HOSTS]


def test_why_a_master_cannot_be_asked_is_told(world: World) -> None:
    ended = world.play({"cp1": {"swap": "fails"}, "cp2": {"look": "fails once begun"}})
    assert ended.rc != 0 and ended.phases["cp3"] == "rolled_back", ended.said
    assert "timer comes, unless all had agreed: cp2 (The disk of cp2 is broken.)." in ended.said


@pytest.mark.parametrize(("phase", "how"), [("swap", "cut"), ("mark", "fails")])
def test_where_a_step_fails_all_masters_go_back(world: World, phase: str, how: str) -> None:
    ended = world.play({"cp2": {phase: how}})
    assert ended.rc != 0
    answering = [host for host in HOSTS if how == "fails" or host != "cp2"]
    assert {host: ended.phases[host] for host in answering} == dict.fromkeys(answering, "rolled_back")
    for host in answering:
        assert ended.after(phase, host) == ["look", "rollback", "rollback_api"], ended.said
    assert "Nothing was restored" in ended.said
    assert ("The disk of cp2 is broken." if how == "fails" else "cannot be reached: cp2.") in ended.said
    assert f"have their old data again, and run on it: {', '.join(answering)}." in ended.said


def test_an_api_server_that_fails_alone_takes_nothing_from_those_that_serve(world: World) -> None:
    ended = world.play({"cp2": {"start_api": "fails"}})
    assert ended.rc != 0
    assert not {did for did, _host in ended.log} & {"rollback", "rollback_api", "finish"}
    assert "The disk of cp2 is broken." in ended.said
    assert "a write has worked through the API servers of cp1, cp3, so nothing is rolled back." in ended.said


@pytest.mark.long
def test_data_that_no_api_server_serves_goes_back(world: World) -> None:
    ended = world.play({host: {"start_api": "fails"} for host in HOSTS})
    assert ended.rc != 0
    assert ended.phases == all_at("rolled_back")
    assert "Nothing was restored" in ended.said


@pytest.mark.long
def test_restored_data_that_is_served_stays(world: World) -> None:
    ended = world.play({"cp2": {"start_api": "cut"}})
    assert ended.rc != 0
    assert "rollback" not in {did for did, _host in ended.log}
    assert "API servers already serve the restored data and these masters cannot be asked: cp2 (" in ended.said


@pytest.mark.long
def test_data_that_was_in_use_before_the_run_began_stays(world: World) -> None:
    world.stand("serving")
    ended = world.play({"cp2": {"start_api": "fails"}}, action="resume", in_use=("cp1", "cp3"))
    assert ended.rc != 0
    assert "rollback" not in {did for did, _host in ended.log}
    assert "served the restored data before this run began, so nothing is rolled back by itself" in ended.said


@pytest.mark.long
def test_a_master_that_cannot_be_reached_is_told_to_the_plan(world: World) -> None:
    ended = world.play({"cp3": {"look": "cut"}})
    assert ended.rc != 0
    assert "Not reached: ['cp3']." in ended.said
    assert {did for did, _host in ended.log} == {"look"}


def test_masters_that_could_not_start_together_are_not_stopped(world: World) -> None:
    ended = world.play({}, forks=2)
    assert ended.rc != 0
    assert ended.log == []
    assert "run it with --forks 3." in ended.said


@pytest.mark.long
def test_a_failed_staging_touches_nothing(world: World) -> None:
    ended = world.play({"cp3": {"stage": "fails"}})
    assert ended.rc != 0
    assert {did for did, _host in ended.log} == {"look", "stage"}


@pytest.mark.long
def test_a_master_that_cannot_go_back_is_named_and_started_on_nothing(world: World) -> None:
    ended = world.play({"cp1": {"swap": "fails"}, "cp2": {"rollback": "fails"}})
    assert ended.rc != 0
    assert "These did not go back: cp2. The disk of cp2 is broken." in ended.said
    assert ("rollback_api", "cp2") not in ended.log
    assert (ended.phases["cp1"], ended.phases["cp3"]) == ("rolled_back", "rolled_back")


@pytest.mark.long
@pytest.mark.parametrize(("accidents", "rc"), [({}, 0), ({"cp3": {"rollback_api": "fails"}}, 2)])
def test_a_rollback_that_was_asked_for_fails_only_where_it_fails(
    world: World, accidents: dict[str, dict[str, str]], rc: int
) -> None:
    world.stand("done")
    ended = world.play(accidents, action="rollback", etcd_restore_rollback=True)
    assert ended.rc == rc, ended.said
    assert ("not undone on all masters" in ended.said) is bool(accidents)


@pytest.mark.parametrize(
    ("phase", "how"), [("mark", "answer lost"), pytest.param("start_api", "cut", marks=pytest.mark.long)]
)
def test_the_old_cluster_never_serves_beside_a_seed_that_may_serve(world: World, phase: str, how: str) -> None:
    ended = world.play({"cp2": {phase: how}}, seed="cp2")
    assert ended.rc != 0
    assert (ended.phases["cp1"], ended.phases["cp3"]) == ("agreed", "agreed")
    assert not {did for did, _host in ended.log} & {"rollback", "rollback_api"}
    assert "cannot be asked: cp2 (" in ended.said and "). So nothing is rolled back" in ended.said


@pytest.mark.long
def test_a_seed_that_was_cut_off_before_the_mark_goes_back_with_the_others(world: World) -> None:
    ended = world.play({"cp2": {"start_etcd": "cut"}}, seed="cp2")
    assert (ended.phases["cp1"], ended.phases["cp3"]) == ("rolled_back", "rolled_back")


@pytest.mark.long
def test_the_seed_is_marked_when_all_others_will_wait_for_it(world: World) -> None:
    ended = world.play({"cp3": {"mark": "fails"}}, seed="cp1")
    assert ended.log.index(("mark", "cp2")) > 0
    assert ("mark", "cp1") not in ended.log
    assert ended.phases == all_at("rolled_back")


@pytest.mark.long
def test_the_others_wait_while_the_seed_does_not_go_back(world: World) -> None:
    ended = world.play({"cp1": {"start_api": "fails", "rollback": "fails"}}, seed="cp1")
    assert ended.rc != 0
    assert [who for did, who in ended.log if did == "rollback"] == ["cp1"]
    assert (ended.phases["cp2"], ended.phases["cp3"]) == ("agreed", "agreed")
    assert "These did not go back: cp1, cp2, cp3." in ended.said, ended.said


@pytest.mark.long
def test_a_majority_that_may_have_the_mark_is_waited_for(world: World) -> None:
    ended = world.play({"cp1": {"mark": "fails"}, "cp2": {"mark": "answer lost"}, "cp3": {"mark": "answer lost"}})
    assert ended.phases["cp1"] == "started"
    assert "nothing is rolled back" in ended.said


@pytest.mark.long
def test_the_others_join_a_seed(world: World) -> None:
    ended = world.play({}, seed="cp2")
    assert ended.rc == 0, ended.said
    assert ended.phases == all_at("done")
    marks = [host for did, host in ended.log if did == "mark"]
    assert set(marks[:2]) == {"cp1", "cp3"}
