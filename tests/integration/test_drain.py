# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""node_drain on a real cluster of one master and two workers, as a user meets it.

Each test has a namespace of its own, drains w1 while w2 stands beside it, and leaves both as they were.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import (
    Lab,
    audit_mark,
    audited,
    budget,
    controlled,
    evictions,
    play,
    playing,
    sleeper,
    wait_for,
)

from lab.cluster import is_ready

NODE, OTHER, MASTER = "w1", "w2", "cp1"
ANNOTATION = "clustercare.io/cordon"
MANIFESTS = "/etc/kubernetes/manifests"
NUMBERS = itertools.count(1)


@dataclass
class Ended:
    """How one run of the module ended, by ansible-playbook's exit code and by the registered result."""

    rc: int
    output: str
    seconds: float
    result: dict[str, Any]

    @property
    def said(self) -> str:
        return str(self.result.get("msg", ""))

    @property
    def warned(self) -> str:
        return " ".join(str(warning) for warning in self.result.get("warnings", []))

    def record(self, name: str) -> dict[str, Any]:
        """The record of one pod, found by its name or by the beginning of it."""
        (found,) = (pod for pod in self.result["pods"] if pod["name"].startswith(name))
        return dict(found)

    def actions(self, namespace: str) -> dict[str, str]:
        return {pod["name"]: pod["action"] for pod in self.result["pods"] if pod["namespace"] == namespace}


class Running:
    """A drain on its way."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, result: Path) -> None:
        self.process, self.log, self.result = process, log, result
        self.began = time.monotonic()

    def finish(self, seconds: float = 180) -> Ended:
        rc = self.process.wait(seconds)
        found = json.loads(self.result.read_text()) if self.result.exists() else {}
        return Ended(rc, self.log.read_text(), time.monotonic() - self.began, found)


class Scene:
    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        status = lab.status()
        self.kubeconfig, self.inventory = status["kubeconfig"], Path(status["inventory"])

    # --- the module, by a playbook of one task ---

    def _playbook(self, **asked: Any) -> tuple[Path, Path]:
        number = next(NUMBERS)
        playbook, result = self.directory / f"drain-{number}.yml", self.directory / f"result-{number}.json"
        wanted = {"kubeconfig": self.kubeconfig, "name": NODE, "timeout": 120, **asked}
        options = {name: value for name, value in wanted.items() if value is not None}
        task = {"name": "Drain", "clustercare.kubeadm.node_drain": options, "register": "drain"}
        keep = {
            "name": "Keep the result",
            "ansible.builtin.copy": {"content": "{{ drain | to_json }}", "dest": str(result), "mode": "0600"},
            "check_mode": False,
            "diff": False,
        }
        whole = {
            "name": "Test",
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [{"block": [task], "always": [keep]}],
        }
        # JSON is YAML.
        playbook.write_text(json.dumps([whole]))
        return playbook, result

    def drain(self, *more: str, **asked: Any) -> Ended:
        playbook, result = self._playbook(**asked)
        played = play(str(playbook), self.inventory, *more, timeout=300)
        assert result.exists(), played.output
        return Ended(played.rc, played.output, played.seconds, json.loads(result.read_text()))

    @contextmanager
    def draining(self, **asked: Any) -> Iterator[Running]:
        playbook, result = self._playbook(**asked)
        log = result.with_suffix(".log")
        with playing(str(playbook), self.inventory, log) as process:
            yield Running(process, log, result)

    # --- the cluster ---

    def put(self, namespace: str, *objects: dict[str, Any], pods: int, node: str = NODE) -> dict[str, dict[str, Any]]:
        """Make objects whose pods start on one node and may run on both later; returns the pods by name."""
        aside = OTHER if node == NODE else NODE
        self.lab.kubectl("cordon", aside)
        try:
            self.lab.apply(namespace, *objects)
            wait_for(f"{pods} pods on {node} are Ready", lambda: len(self.ready(namespace, node)) == pods)
            for name in [o["metadata"]["name"] for o in objects if o["kind"] == "PodDisruptionBudget"]:
                wait_for(f"the budget {name} counts its pods", lambda name=name: self.counted(namespace, name))
        finally:
            self.lab.kubectl("uncordon", aside)
        return self.pods(namespace)

    def counted(self, namespace: str, name: str) -> bool:
        found = self.lab.get("poddisruptionbudget", name, "-n", namespace)
        status = found.get("status", {})
        return (
            status.get("observedGeneration") == found["metadata"]["generation"]
            and status["expectedPods"] > 0
            and status["currentHealthy"] == status["expectedPods"]
        )

    def pods(self, namespace: str, node: str | None = None) -> dict[str, dict[str, Any]]:
        found = self.lab.get("pods", "-n", namespace)["items"]
        return {pod["metadata"]["name"]: pod for pod in found if node in (None, pod["spec"].get("nodeName"))}

    def ready(self, namespace: str, node: str) -> list[str]:
        return [
            name
            for name, pod in self.pods(namespace, node).items()
            if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
        ]

    def cordon(self, node: str = NODE) -> dict[str, Any] | None:
        """None when the node takes pods; else what our annotation says, which may be nothing."""
        found = self.lab.get("node", node)
        if not found["spec"].get("unschedulable"):
            return None
        return dict(json.loads(found["metadata"].get("annotations", {}).get(ANNOTATION, "{}")))

    def wait_cordoned(self) -> None:
        wait_for(f"{NODE} is cordoned", lambda: self.cordon() is not None, 60)

    def dns(self) -> list[str]:
        """The nodes of the cluster's DNS pods."""
        found = self.lab.get("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"]
        return [pod["spec"].get("nodeName", "") for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def clean(self) -> None:
        self.lab.kubectl("uncordon", *self.lab.nodes())
        self.lab.kubectl("annotate", "node", "--all", f"{ANNOTATION}-")


def hostname(node: str) -> dict[str, str]:
    return {"kubernetes.io/hostname": node}


def uids(pods: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: pod["metadata"]["uid"] for name, pod in pods.items()}


def writes_of(events: list[dict[str, Any]], user: str = "kubernetes-admin") -> list[str]:
    return [f"{event['verb']} {event['requestURI']}" for event in events if event["user"]["username"] == user]


@pytest.fixture(scope="module")
def scene(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    lab.up(masters=1, workers=2)
    scene = Scene(lab, tmp_path_factory.mktemp("drain"))
    # A fresh cluster's DNS pods sit on its master, unless a worker was Ready early: then its drains would meet one.
    lab.kubectl("cordon", NODE, OTHER)
    elsewhere = ("-l", "k8s-app=kube-dns", f"--field-selector=spec.nodeName!={MASTER}")
    lab.kubectl("delete", "pods", "-n", "kube-system", *elsewhere)
    wait_for("both DNS pods are on the master", lambda: scene.dns() == [MASTER, MASTER])
    scene.clean()
    return scene


@pytest.fixture
def space(scene: Scene) -> Iterator[str]:
    """A namespace for one test; afterwards its pods are gone and every node takes pods again."""
    name = f"drain-{next(NUMBERS)}"
    scene.lab.kubectl("create", "namespace", name)
    wait_for("the service account is there", lambda: bool(scene.lab.get("serviceaccounts", "-n", name)["items"]))
    yield name
    delete = ("kubectl", "delete", "namespace", name, "--wait=false", "--ignore-not-found")
    wait_for(f"{name} is to go", lambda: scene.lab.run(*delete, check=False).returncode == 0)
    wait_for(f"the pods of {name} are gone", lambda: not scene.pods(name))
    scene.clean()


# --- before anything is touched ---------------------------------------------------------------------------------


def test_check_mode_writes_nothing_and_says_what_the_real_run_does(scene: Scene, space: str) -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "finished"},
        "spec": {"template": {"spec": {**sleeper(node=NODE), "restartPolicy": "Never"}}},
    }
    job["spec"]["template"]["spec"]["containers"][0]["command"] = ["true"]  # type: ignore[index]
    scene.lab.apply(space, job, controlled("DaemonSet", "agent", sleeper()))
    wait_for("the Job is done", lambda: scene.lab.get("job", "finished", "-n", space)["status"].get("succeeded") == 1)
    before = scene.put(
        space,
        controlled("Deployment", "web", sleeper(), replicas=3),
        budget("web", "web", maxUnavailable=1),
        controlled("Deployment", "cache", sleeper(volumes=[{"name": "data", "emptyDir": {}}])),
        pods=5,
    )
    mark = audit_mark(scene.lab)

    refused = scene.drain("--check")
    checked = scene.drain("--check", emptydir="delete")

    assert refused.rc != 0 and "emptydir=delete" in refused.said and not refused.result["changed"]
    assert checked.rc == 0 and checked.result["changed"], checked.output
    assert writes_of(audited(scene.lab, mark)) == []
    assert scene.cordon() is None
    assert uids(scene.pods(space)) == uids(before)

    real = scene.drain(emptydir="delete")

    assert real.rc == 0 and real.result["changed"], real.output
    foretold = {name: {"would_evict": "evicted"}.get(a, a) for name, a in checked.actions(space).items()}
    assert real.actions(space) == foretold
    assert Counter(foretold.values()) == {"evicted": 4, "skipped": 2}
    waves = [[pod for pod in wave if pod.startswith(f"{space}/web-")] for wave in checked.result["plan"]["waves"]]
    assert [len(wave) for wave in waves] == [1, 1, 1]
    assert sorted(evictions(audited(scene.lab, mark))) == sorted(itertools.chain(*checked.result["plan"]["waves"]))
    left = scene.pods(space, NODE)
    assert sorted(left) == sorted(name for name, action in foretold.items() if action == "skipped")
    assert all(uids(before)[name] == uid for name, uid in uids(left).items())

    mark = audit_mark(scene.lab)
    again = scene.drain(emptydir="delete")
    assert again.rc == 0 and not again.result["changed"], again.output
    assert {pod["action"] for pod in again.result["pods"]} == {"skipped"}
    assert writes_of(audited(scene.lab, mark)) == []


def test_two_budgets_on_one_pod_refuse_the_drain_before_it_begins(scene: Scene, space: str) -> None:
    before = scene.put(
        space,
        controlled("Deployment", "plain", sleeper()),
        controlled("Deployment", "twice", sleeper()),
        pods=2,
    )
    # Of two budgets on one pod the controller counts only one.
    scene.lab.apply(space, budget("one", "twice", maxUnavailable=1), budget("two", "twice", maxUnavailable=1))
    mark = audit_mark(scene.lab)

    ended = scene.drain()

    assert ended.rc != 0 and not ended.result["changed"]
    assert f"{space}/one" in ended.said and f"{space}/two" in ended.said and f"{space}/twice-" in ended.said
    assert writes_of(audited(scene.lab, mark)) == []
    assert scene.cordon() is None
    assert uids(scene.pods(space)) == uids(before)


def test_a_bare_pod_with_local_data_goes_only_when_both_words_are_said(scene: Scene, space: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "batch"},
        "spec": sleeper(volumes=[{"name": "data", "emptyDir": {}}]),
    }
    before = scene.put(space, pod, pods=1)
    mark = audit_mark(scene.lab)

    for options, missing in (
        ({}, ["unmanaged=delete", "emptydir=delete"]),
        ({"emptydir": "delete"}, ["unmanaged=delete"]),
        ({"unmanaged": "delete"}, ["emptydir=delete"]),
    ):
        ended = scene.drain(**options)
        assert ended.rc != 0 and not ended.result["changed"]
        assert f"{space}/batch" in ended.said and all(word in ended.said for word in missing)
        assert ended.said.count("=delete") == len(missing)
    assert writes_of(audited(scene.lab, mark)) == []
    assert uids(scene.pods(space)) == uids(before)

    ended = scene.drain(unmanaged="delete", emptydir="delete")
    assert ended.rc == 0 and ended.actions(space) == {"batch": "evicted"}
    assert [risk["pod"] for risk in ended.result["at_risk"]] == [f"{space}/batch"]
    assert scene.pods(space) == {}


def documented_rules() -> list[dict[str, Any]]:
    """What every drain needs, as docs/draining.md says it."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "draining.md").read_text()
    role = page.split("\n## Rights\n")[1].split("```yaml\n")[1].split("```")[0]
    return list(yaml.safe_load(role)["rules"])


@contextmanager
def operator(scene: Scene, space: str, rules: list[dict[str, Any]]) -> Iterator[str]:
    """A user with these rights only, by a kubeconfig."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": space}}
    scene.lab.apply(space, {**role, "rules": rules})
    scene.lab.kubectl("create", "serviceaccount", "operator", "-n", space)
    user = f"{space}:operator"
    scene.lab.kubectl("create", "clusterrolebinding", space, f"--clusterrole={space}", f"--serviceaccount={user}")
    try:
        # The API server learns of new rights as everybody else does.
        ask = ("auth", "can-i", rules[0]["verbs"][0], rules[0]["resources"][0], f"--as=system:serviceaccount:{user}")
        wait_for("the rights are in force", lambda: scene.lab.kubectl(*ask, check=False).strip() == "yes")
        config = json.loads(scene.lab.kubectl("config", "view", "--raw", "-o", "json"))
        config["users"][0]["user"] = {"token": scene.lab.kubectl("create", "token", "operator", "-n", space).strip()}
        kubeconfig = scene.directory / f"{space}.kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        yield str(kubeconfig)
    finally:
        scene.lab.kubectl("delete", "clusterrole,clusterrolebinding", space)


def test_the_rights_of_the_documentation_are_enough(scene: Scene, space: str) -> None:
    before = scene.put(space, controlled("Deployment", "web", sleeper(), replicas=2), pods=2)

    with operator(scene, space, documented_rules()) as kubeconfig:
        drained = scene.drain(kubeconfig=kubeconfig)
        lifted = scene.drain(kubeconfig=kubeconfig, state="uncordoned")

    assert drained.rc == 0 and drained.actions(space) == dict.fromkeys(before, "evicted"), drained.output
    assert "Nodes may not be listed" in drained.warned
    assert lifted.rc == 0 and scene.cordon() is None, lifted.output


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        pytest.param("patch nodes", ["nodes", "patch"], id="may evict, may not cordon"),
        pytest.param("create pods/eviction", ["pods/eviction"], id="may cordon, may not evict"),
    ],
)
def test_a_user_without_the_right_evicts_nothing(scene: Scene, space: str, missing: str, words: list[str]) -> None:
    before = scene.put(space, controlled("Deployment", "web", sleeper(), replicas=2), pods=2)
    rules = [
        {**rule, "verbs": allowed}
        for rule in documented_rules()
        if (allowed := [verb for verb in rule["verbs"] if f"{verb} {rule['resources'][0]}" != missing])
    ]
    mark = audit_mark(scene.lab)
    with operator(scene, space, rules) as kubeconfig:
        ended = scene.drain(kubeconfig=kubeconfig, on_failure="restore")

    assert ended.rc != 0
    assert "forbidden" in ended.said and all(word in ended.said for word in words)
    events = audited(scene.lab, mark)
    assert evictions(events) == []
    if missing == "patch nodes":
        assert evictions(events, None) == [] and not ended.result["changed"]
    assert scene.cordon() is None
    assert uids(scene.pods(space)) == uids(before)


# --- budgets ----------------------------------------------------------------------------------------------------


def test_a_budget_that_opens_late_is_awaited_without_knocking(scene: Scene, space: str) -> None:
    before = scene.put(
        space, controlled("Deployment", "web", sleeper(), replicas=2), budget("web", "web", minAvailable=2), pods=2
    )
    mark = audit_mark(scene.lab)

    with scene.draining() as drain:
        scene.wait_cordoned()
        assert uids(scene.pods(space)) == uids(before)
        scene.lab.kubectl("patch", "pdb", "web", "-n", space, "--type=merge", "-p", '{"spec": {"minAvailable": 1}}')
        opened = time.monotonic()
        ended = drain.finish()
        waited = time.monotonic() - opened

    assert ended.rc == 0, ended.output
    assert Counter(ended.actions(space).values()) == {"evicted": 2}
    assert scene.pods(space, NODE) == {}
    # One at a time: the second goes when the first one's replacement is Ready. kubectl knocks every 5 s.
    assert evictions(audited(scene.lab, mark), 429) == []
    assert waited < 30


@pytest.mark.parametrize("on_failure", ["keep_cordoned", "restore"])
def test_a_budget_that_never_opens_fails_by_name_and_number(scene: Scene, space: str, on_failure: str) -> None:
    before = scene.put(
        space, controlled("Deployment", "web", sleeper(), replicas=2), budget("web", "web", minAvailable=2), pods=2
    )

    ended = scene.drain(timeout=5, on_failure=on_failure, owner="maintenance")

    assert ended.rc != 0 and ended.result["timed_out"] and ended.result["changed"]
    assert f"budget {space}/web (needs 2 healthy, has 2, allows 0)" in ended.said
    assert all(f"{space}/{name}" in ended.said for name in before)
    (held,) = ended.result["blocked_by"]
    assert held["budget"] == f"{space}/web" and held["pods"] == sorted(f"{space}/{name}" for name in before)
    assert uids(scene.pods(space)) == uids(before)
    if on_failure == "restore":
        assert scene.cordon() is None
    else:
        assert (scene.cordon() or {})["owner"] == "maintenance"


def test_pods_behind_a_closed_budget_are_deleted_when_that_was_asked_for(scene: Scene, space: str) -> None:
    before = scene.put(
        space, controlled("Deployment", "web", sleeper(), replicas=2), budget("web", "web", minAvailable=2), pods=2
    )

    ended = scene.drain(pdb_timeout=3, on_pdb_timeout="delete")

    assert ended.rc == 0, ended.output
    assert ended.actions(space) == dict.fromkeys(before, "deleted")
    assert scene.pods(space, NODE) == {}
    wait_for("the replacements are Ready", lambda: len(scene.ready(space, OTHER)) == 2)


# --- kinds of pods ----------------------------------------------------------------------------------------------


def test_a_statefulset_pod_that_came_back_under_its_name_is_left_alone(scene: Scene, space: str) -> None:
    before = scene.put(
        space,
        controlled("StatefulSet", "free", sleeper()),
        controlled("StatefulSet", "held", sleeper()),
        budget("held", "held", minAvailable=1),
        pods=2,
    )
    mark = audit_mark(scene.lab)

    with scene.draining() as drain:
        # Then the drain knows both pods, and has named them.
        wait_for("the free one is asked to leave", lambda: bool(evictions(audited(scene.lab, mark))))
        # Somebody moves the pod that its budget holds: the name is soon on the other node, and still guarded.
        scene.lab.kubectl("delete", "pod", "held-0", "-n", space, "--wait=false")
        ended = drain.finish()

    assert ended.rc == 0, ended.output
    assert ended.record("free-0")["action"] == "evicted" and ended.record("free-0")["uid"] == uids(before)["free-0"]
    # Somebody else's deletion, seen on its way or only when it was over.
    assert ended.record("held-0")["action"] in ("waited", "already_gone")
    assert ended.record("held-0")["uid"] == uids(before)["held-0"]
    # Both are single replicas, whether a budget guards them or not.
    assert [risk["pod"] for risk in ended.result["at_risk"]] == [f"{space}/free-0", f"{space}/held-0"]
    wait_for("both are Ready elsewhere", lambda: len(scene.ready(space, OTHER)) == 2)
    events = audited(scene.lab, mark)
    assert [pod for pod in evictions(events) if pod.startswith(f"{space}/")] == [f"{space}/free-0"]
    made = [e["objectRef"]["name"] for e in events if writes_pod(e, "create", space)]
    assert len(made) == 2


def writes_pod(event: dict[str, Any], verb: str, namespace: str) -> bool:
    """Whether it was taken: a controller whose view is behind tries a second time, and is told so."""
    about = event["objectRef"]
    return bool(
        event["verb"] == verb
        and about["resource"] == "pods"
        and about.get("namespace") == namespace
        and "subresource" not in about
        and event["responseStatus"]["code"] < 300
    )


def test_daemonset_and_finished_pods_stay_unless_asked_for(scene: Scene, space: str) -> None:
    done = sleeper(node=NODE, restartPolicy="Never")
    done["containers"][0]["command"] = ["false"]
    failed = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "failed"}, "spec": done}
    scene.lab.apply(space, failed)
    scene.put(space, controlled("DaemonSet", "agent", sleeper()), pods=1)
    wait_for("the pod has failed", lambda: scene.pods(space)["failed"]["status"]["phase"] == "Failed")
    here = uids(scene.pods(space, NODE))

    refused = scene.drain(daemonsets="fail")
    assert refused.rc != 0 and not refused.result["changed"] and "daemonsets=ignore" in refused.said
    assert scene.cordon() is None

    kept = scene.drain()
    assert kept.rc == 0, kept.output
    assert set(kept.actions(space).values()) == {"skipped"} and len(kept.actions(space)) == 2
    assert uids(scene.pods(space, NODE)) == here

    evicted = scene.drain(daemonsets="evict", pod_selector="app=agent")
    assert evicted.rc == 0, evicted.output
    (name,) = (name for name in here if name.startswith("agent-"))
    assert evicted.actions(space)[name] == "evicted"
    assert [pod["namespace"] for pod in evicted.result["pods"] if pod["action"] == "evicted"] == [space]
    wait_for("its DaemonSet brings another one", lambda: len(scene.ready(space, NODE)) == 1)
    assert name not in scene.pods(space) and "failed" in scene.pods(space)


def test_pods_that_ignore_sigterm_take_their_grace_period(scene: Scene, space: str) -> None:
    scene.put(space, controlled("Deployment", "deaf", sleeper(ends="", grace=4, node=NODE)), pods=1)
    ended = scene.drain()
    assert ended.rc == 0, ended.output
    assert ended.record("deaf")["action"] == "evicted" and 3.5 <= ended.record("deaf")["seconds"] < 20


def test_a_grace_period_of_zero_is_honoured(scene: Scene, space: str) -> None:
    scene.put(space, controlled("Deployment", "deaf", sleeper(ends="", grace=300, node=NODE)), pods=1)
    ended = scene.drain(grace_period=0)
    assert ended.rc == 0, ended.output
    assert ended.record("deaf")["action"] == "evicted" and ended.record("deaf")["seconds"] < 5


# --- other people -----------------------------------------------------------------------------------------------


def test_somebody_elses_cordon_stays(scene: Scene, space: str) -> None:
    scene.put(space, controlled("Deployment", "web", sleeper(node=NODE)), pods=1)
    scene.lab.kubectl("cordon", NODE)

    drained = scene.drain(on_failure="restore")
    assert drained.rc == 0 and "already cordoned" in drained.warned, drained.output
    assert drained.result["cordon"]["before"]["cordoned"] and drained.result["cordon"]["before"]["owner"] is None
    assert scene.cordon() == {}

    lifted = scene.drain(state="uncordoned")
    assert lifted.rc == 0 and not lifted.result["changed"] and "stays cordoned" in lifted.warned
    assert scene.cordon() == {}

    forced = scene.drain(state="uncordoned", force_uncordon=True)
    assert forced.rc == 0 and forced.result["changed"]
    assert scene.cordon() is None


def slow_web(scene: Scene, space: str, replicas: int = 4) -> dict[str, dict[str, Any]]:
    """Pods that may go one at a time and take three seconds each: time to get in a drain's way."""
    return scene.put(
        space,
        controlled("Deployment", "web", sleeper(ends="sleep 3; exit 0"), replicas=replicas),
        budget("web", "web", maxUnavailable=1),
        pods=replicas,
    )


def test_a_drain_broken_off_with_ctrl_c_is_finished_by_the_same_command(
    scene: Scene, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = slow_web(scene, space)
    mark = audit_mark(scene.lab)
    monkeypatch.setenv("DRAIN_TEST", space)

    with scene.draining(owner="maintenance") as drain:
        wait_for("the first pod is asked to leave", lambda: bool(evictions(audited(scene.lab, mark))))
        os.killpg(drain.process.pid, signal.SIGINT)
        broken = drain.finish()
        wait_for("nothing of the run is left", lambda: not processes_with(f"DRAIN_TEST={space}"))

    assert broken.rc != 0
    stopped = len(evictions(audited(scene.lab, mark)))
    assert stopped < len(before)
    # What is left can be seen: the node keeps new pods away, in the name of the purpose.
    assert (scene.cordon() or {})["owner"] == "maintenance"

    finished = scene.drain(owner="maintenance")
    assert finished.rc == 0, finished.output
    assert scene.pods(space, NODE) == {}
    assert sorted(evictions(audited(scene.lab, mark))) == sorted(f"{space}/{name}" for name in before)

    lifted = scene.drain(state="uncordoned", owner="maintenance")
    assert lifted.rc == 0 and lifted.result["changed"] and scene.cordon() is None


def processes_with(variable: str) -> list[str]:
    """What still runs with this in its environment: Ansible's workers and modules are in sessions of their own."""
    found = []
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdigit() and variable.encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(path.name)
    return found


@pytest.mark.long
def test_a_second_run_that_takes_over_stops_the_first_in_words(scene: Scene, space: str) -> None:
    # Enough of them that the second run begins in time, also on a busy machine.
    before = slow_web(scene, space, replicas=12)
    mark = audit_mark(scene.lab)

    with scene.draining(owner="maintenance", run_id="first") as first:
        wait_for("the first pod is asked to leave", lambda: bool(evictions(audited(scene.lab, mark))))
        second = scene.drain(owner="maintenance", run_id="second")
        stopped = first.finish()

    assert second.rc == 0, second.output
    assert stopped.rc != 0 and "no longer this run's" in stopped.said and "run second" in stopped.said, stopped.output
    assert scene.pods(space, NODE) == {}
    assert sorted(evictions(audited(scene.lab, mark))) == sorted(f"{space}/{name}" for name in before)
    assert (scene.cordon() or {})["run"] == "second"


@pytest.mark.long
def test_kubectl_drain_beside_it_does_no_harm(scene: Scene, space: str) -> None:
    before = slow_web(scene, space)
    mark = audit_mark(scene.lab)

    with scene.draining() as drain:
        wait_for("the first pod is asked to leave", lambda: bool(evictions(audited(scene.lab, mark))))
        scene.lab.run("kubectl", "drain", NODE, "--ignore-daemonsets", "--timeout=120s")
        ended = drain.finish()

    assert ended.rc == 0, ended.output
    assert scene.pods(space, NODE) == {}
    assert set(ended.actions(space).values()) <= {"evicted", "waited", "already_gone"}
    asked = Counter(evictions(audited(scene.lab, mark)))
    assert sorted(asked) == sorted(f"{space}/{name}" for name in before)
    made = [event for event in audited(scene.lab, mark) if writes_pod(event, "create", space)]
    assert len(made) == len(before)


# --- waiting, order, choice -------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_finalizer_that_keeps_a_pod_is_named(scene: Scene, space: str) -> None:
    kept = controlled("Deployment", "kept", sleeper(node=NODE))
    kept["spec"]["template"]["metadata"]["finalizers"] = ["example.com/keep"]
    (name,) = scene.put(space, kept, pods=1)
    try:
        ended = scene.drain(timeout=12)
        assert ended.rc != 0 and ended.result["timed_out"]
        assert f"{space}/{name}" in ended.said and "finalizer example.com/keep" in ended.said
        assert ended.result["remaining"] and ended.record(name)["action"] == "evicting"

        # Nothing of it runs any more, but it is not gone: each drain waits, unless it is told not to.
        wait_for(f"{name} has ended", lambda: scene.pods(space)[name]["status"]["phase"] in ("Succeeded", "Failed"))
        again = scene.drain(timeout=3)
        assert again.rc != 0 and "finalizer example.com/keep" in again.said, again.output
        left = scene.drain(skip_terminating_older_than=1)
        assert left.rc == 0 and left.actions(space) == {name: "left_terminating"}, left.output
    finally:
        for pod in scene.pods(space):
            scene.lab.kubectl(
                "patch",
                "pod",
                pod,
                "-n",
                space,
                "--type=merge",
                "-p",
                '{"metadata": {"finalizers": null}}',
                check=False,
            )
    done = scene.drain()
    assert done.rc == 0 and name not in scene.pods(space)


@pytest.mark.long
def test_a_pod_that_takes_too_long_to_end_is_left_on_request(scene: Scene, space: str) -> None:
    (name,) = scene.put(space, controlled("Deployment", "deaf", sleeper(ends="", grace=600, node=NODE)), pods=1)
    try:
        waited = scene.drain(timeout=5)
        assert waited.rc != 0 and waited.result["timed_out"], waited.output
        assert f"{space}/{name} (terminating since " in waited.said and waited.record(name)["action"] == "evicting"

        began = time.monotonic()
        left = scene.drain(skip_terminating_older_than=1)
        assert left.rc == 0 and left.actions(space) == {name: "left_terminating"}, left.output
        assert time.monotonic() - began < 60
        # It still works.
        assert scene.pods(space)[name]["status"]["phase"] == "Running"

        patient = scene.drain(timeout=5, skip_terminating_older_than=500)
        assert patient.rc != 0 and patient.actions(space) == {name: "remaining"}, patient.output
    finally:
        scene.lab.kubectl("delete", "pod", name, "-n", space, "--force", "--grace-period=0", "--ignore-not-found")


@pytest.mark.long
def test_a_pod_that_its_controller_puts_on_the_node_is_not_evicted_for_ever(scene: Scene, space: str) -> None:
    # Past the scheduler: no cordon keeps it away.
    scene.put(space, controlled("StatefulSet", "fixed", sleeper(nodeName=NODE)), pods=1)
    mark = audit_mark(scene.lab)

    ended = scene.drain()

    assert ended.rc == 0 and "past the scheduler" in ended.warned, ended.output
    actions = [pod["action"] for pod in ended.result["pods"] if pod["namespace"] == space]
    assert Counter(actions) == {"evicted": len(actions) - 1, "skipped": 1}
    # A scheduler that is behind could have put the first few here.
    assert len(evictions(audited(scene.lab, mark))) == len(actions) - 1 < 15
    assert ended.seconds < 60


@pytest.mark.long
def test_a_pod_that_tolerates_the_cordon_is_evicted_once(scene: Scene, space: str) -> None:
    tolerant = sleeper(node=NODE, tolerations=[{"operator": "Exists"}])
    scene.put(space, controlled("StatefulSet", "sticky", tolerant), pods=1)
    mark = audit_mark(scene.lab)

    ended = scene.drain()

    assert ended.rc == 0 and "tolerates the cordon" in ended.warned, ended.output
    assert evictions(audited(scene.lab, mark)) == [f"{space}/sticky-0"]


@pytest.mark.long
def test_pods_go_in_the_order_of_the_rules(scene: Scene, space: str) -> None:
    before = scene.put(
        space,
        *(
            controlled("Deployment", name, sleeper(ends="sleep 2; exit 0", node=NODE))
            for name in ("app", "proxy", "kept")
        ),
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "work"},
            "spec": {"template": {"metadata": {"labels": {"app": "work"}}, "spec": ends_by_itself()}},
        },
        pods=4,
    )
    mark = audit_mark(scene.lab)

    ended = scene.drain(
        rules=[
            {"selector": "app=proxy", "behavior": "drain", "order": 10},
            {"selector": "app=kept", "behavior": "skip"},
            {"selector": "app=work", "behavior": "wait_completed"},
        ]
    )

    assert ended.rc == 0, ended.output
    asked = evictions(audited(scene.lab, mark))
    assert [pod.partition("/")[2].partition("-")[0] for pod in asked] == ["app", "proxy"]
    left = scene.pods(space, NODE)
    assert [name for name in before if name.startswith("kept-")] == [n for n in left if n.startswith("kept-")]
    job = scene.lab.get("job", "work", "-n", space)["status"]
    assert job.get("succeeded") == 1 and not job.get("failed")
    # The proxy was not asked before the app was gone.
    gone = {e["objectRef"]["name"]: e for e in audited(scene.lab, mark) if writes_pod(e, "delete", space)}
    (app,) = (event for name, event in gone.items() if name.startswith("app-"))
    (proxy,) = (e for e in audited(scene.lab, mark) if evictions([e]) and "/proxy-" in evictions([e])[0])
    assert app["requestReceivedTimestamp"] <= proxy["requestReceivedTimestamp"]


def ends_by_itself() -> dict[str, Any]:
    spec = sleeper(node=NODE, restartPolicy="Never")
    spec["containers"][0]["command"] = ["sleep", "15"]
    return spec


@pytest.mark.long
def test_only_the_chosen_pods_go(scene: Scene, space: str) -> None:
    scene.put(
        space,
        controlled("Deployment", "one", sleeper(node=NODE)),
        controlled("Deployment", "two", sleeper(node=NODE)),
        pods=2,
    )
    elsewhere = scene.drain(exclude_namespaces=[space])
    assert elsewhere.rc == 0 and len(scene.pods(space, NODE)) == 2, elsewhere.output

    chosen = scene.drain(namespaces=[space], pod_selector="app=one")
    assert chosen.rc == 0, chosen.output
    assert [name.partition("-")[0] for name in scene.pods(space, NODE)] == ["two"]

    deleted = scene.drain(eviction="delete", cordon_reason="new disks")
    assert deleted.rc == 0 and deleted.record("two")["action"] == "deleted", deleted.output
    assert scene.pods(space, NODE) == {}


@pytest.mark.long
def test_both_workers_at_once_and_one_after_the_other(scene: Scene, space: str) -> None:
    spread = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [spread]}}
    spec = sleeper(ends="sleep 4; exit 0", affinity=affinity)
    scene.lab.apply(space, controlled("Deployment", "web", spec, replicas=2))
    for node in (NODE, OTHER):
        wait_for(f"one pod on {node}", lambda node=node: len(scene.ready(space, node)) == 1)
    mark = audit_mark(scene.lab)

    ended = scene.drain(name=None, names=[NODE, OTHER], max_parallel_nodes=1, timeout=60, last_replica_wait=5)

    assert ended.rc == 0, ended.output
    assert not scene.pods(space, NODE) and not scene.pods(space, OTHER)
    assert sorted(scene.lab.cordoned()) == [NODE, OTHER]
    asked = [pod for pod in evictions(audited(scene.lab, mark)) if pod.startswith(f"{space}/")]
    assert len(asked) == 2


@pytest.mark.long
def test_volumes_that_are_still_attached_are_awaited_and_named(scene: Scene, space: str) -> None:
    attachment = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": space},
        "spec": {"attacher": "csi.example.com", "nodeName": NODE, "source": {"persistentVolumeName": "disk-7"}},
    }
    scene.lab.apply(space, attachment)
    try:
        ended = scene.drain(wait_for_volume_detach=True, timeout=8)
        assert ended.rc != 0 and ended.result["timed_out"] and "disk-7" in ended.said
        with scene.draining(wait_for_volume_detach=True) as drain:
            wait_for("it runs again", lambda: drain.process.poll() is None)
            scene.lab.kubectl("delete", "volumeattachment", space)
            assert drain.finish().rc == 0
    finally:
        scene.lab.kubectl("delete", "volumeattachment", space, "--ignore-not-found")


@pytest.mark.long
def test_pods_that_no_other_node_can_take_are_named_beforehand(scene: Scene, space: str) -> None:
    big = sleeper()
    cores = int(scene.lab.get("node", OTHER)["status"]["allocatable"]["cpu"])
    # More than half of a node each: two of them have no room on one.
    big["containers"][0]["resources"] = {"requests": {"cpu": f"{cores * 600}m"}}
    before = scene.put(space, controlled("Deployment", "big", big), pods=1)
    scene.put(space, controlled("Deployment", "filler", {**big, "nodeSelector": hostname(OTHER)}), pods=1, node=OTHER)

    warned = scene.drain("--check", capacity_check="warn")
    assert warned.rc == 0 and f"{space}/big-" in warned.warned, warned.output
    refused = scene.drain(capacity_check="fail")
    assert refused.rc != 0 and f"{space}/big-" in refused.said and not refused.result["changed"]
    assert scene.cordon() is None
    assert set(uids(before).items()) <= set(uids(scene.pods(space)).items())


# --- a cluster in trouble ---------------------------------------------------------------------------------------


@contextmanager
def stopped(scene: Scene, component: str) -> Iterator[Callable[[], None]]:
    """Take a static pod's manifest away and wait until the process is gone; the call yielded brings it back."""
    aside = f"/etc/kubernetes/{component}.yaml"
    there = f"{MANIFESTS}/{component}.yaml"
    runs = f"sudo sh -c 'ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q /usr/local/bin/{component}$'; echo $?"

    def back() -> None:
        scene.lab.ssh(MASTER, f"sudo sh -c 'if [ -e {aside} ]; then mv {aside} {there}; fi'")

    scene.lab.ssh(MASTER, f"sudo mv {there} {aside}")
    try:
        wait_for(f"{component} is gone", lambda: scene.lab.ssh(MASTER, runs).strip() == "1")
        yield back
    finally:
        back()
        wait_for(f"{component} is back", lambda: scene.lab.ssh(MASTER, runs).strip() == "0")
        wait_for("the API answers", lambda: scene.lab.kubectl("get", "--raw", "/readyz", check=False) == "ok", 180)


@pytest.mark.long
def test_a_drain_outlives_an_api_server_that_stops_and_comes_back(scene: Scene, space: str) -> None:
    before = slow_web(scene, space)
    mark = audit_mark(scene.lab)

    with scene.draining(timeout=300) as drain:
        wait_for("the first pod is asked to leave", lambda: bool(evictions(audited(scene.lab, mark))))
        with stopped(scene, "kube-apiserver") as back:
            assert drain.process.poll() is None
            back()
        ended = drain.finish(300)

    assert ended.rc == 0, ended.output
    assert scene.pods(space, NODE) == {}
    assert ended.actions(space) == dict.fromkeys(before, "evicted")
    assert sorted(evictions(audited(scene.lab, mark))) == sorted(f"{space}/{name}" for name in before)


@pytest.mark.long
def test_a_namespace_that_is_going_away_is_awaited(scene: Scene, space: str) -> None:
    (name,) = scene.put(space, controlled("Deployment", "web", sleeper(node=NODE)), pods=1)
    mark = audit_mark(scene.lab)

    # Without the controller manager the namespace stays terminating, its pod untouched: evictions answer 403.
    with stopped(scene, "kube-controller-manager") as back:
        scene.lab.kubectl("delete", "namespace", space, "--wait=false")
        with scene.draining() as drain:
            wait_for("an eviction is refused", lambda: bool(evictions(audited(scene.lab, mark), 403)), 60)
            assert drain.process.poll() is None
            back()
            ended = drain.finish()

    assert ended.rc == 0, ended.output
    assert ended.record(name)["action"] in ("waited", "already_gone")
    assert evictions(audited(scene.lab, mark)) == []


@pytest.mark.long
def test_a_node_without_power_is_recognised(scene: Scene, space: str) -> None:
    before = scene.put(space, controlled("Deployment", "web", sleeper(), replicas=2), pods=2)
    scene.lab.run("power-off", NODE)
    try:
        wait_for(f"{NODE} is not Ready", lambda: NODE in scene.lab.not_ready())
        mark = audit_mark(scene.lab)

        refused = scene.drain()
        assert refused.rc != 0 and not refused.result["changed"], refused.output
        assert "kubelet is silent" in refused.said and "unreachable=best_effort" in refused.said
        assert writes_of(audited(scene.lab, mark)) == [] and scene.cordon() is None
        assert refused.seconds < 60

        tried = scene.drain(unreachable="best_effort", timeout=60)
        assert tried.rc == 0 and "may still run" in tried.warned, tried.output
        assert tried.actions(space) == dict.fromkeys(before, "left_terminating")
        assert tried.seconds < 60
        assert sorted(evictions(audited(scene.lab, mark))) == sorted(f"{space}/{name}" for name in before)
        wait_for("the replacements are Ready", lambda: len(scene.ready(space, OTHER)) == 2)
    finally:
        scene.lab.run("power-on", NODE)
        wait_for(f"{NODE} is Ready", lambda: NODE not in scene.lab.not_ready(), 240)
    wait_for("no pod is left twice", lambda: len(scene.pods(space)) == 2)


# --- the cluster's own names; the last one, because both DNS pods move ------------------------------------------


def test_names_keep_resolving_while_both_dns_pods_of_a_master_go(scene: Scene) -> None:
    lab = scene.lab

    assert scene.dns() == [MASTER, MASTER]
    lab.run("workload", "start", "--rate", "5")
    try:
        ended = scene.drain(name=MASTER)
    finally:
        told = json.loads(lab.run("workload", "stop", check=False).stdout)

    assert ended.rc == 0, ended.output
    assert MASTER not in scene.dns() and len(scene.dns()) == 2
    assert told["names"]["sent"] > 3 and told["names"]["failed"] == 0, told
    assert told["requests"]["failed"] == 0, told
    static = [pod["reason"] for pod in ended.result["pods"] if pod["name"].endswith(f"-{MASTER}")]
    assert static == ["static pod of the kubelet"] * 4

    lifted = scene.drain(name=MASTER, state="uncordoned")
    assert lifted.rc == 0 and lifted.result["changed"] and scene.cordon(MASTER) is None
    lab.kubectl("delete", "namespace", "lab-workload", "--wait=false")
