# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The same pods drained from the same node by kubectl, by kubernetes.core.k8s_drain and by node_drain, in turn.

A run is a whole command: kubectl's, or ansible-playbook's with the start of Ansible in it, whose task alone is told
too. API calls are counted by the server, for a user whom nobody else uses. When a tool says that it is done, the pods
that are still there are counted at once. When pods were asked to leave and when they were gone is read from the API
server's log, for all tools alike; beside it stands how long the node itself takes when it is asked for all at once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from common import PROJECT, Lab, figures, laboratory, say, table, wait_for
from harness import ANSIBLE_PLAYBOOK, audit_mark, audited, budget, controlled, evictions, sleeper

sys.path.insert(0, str(PROJECT))

from lab import cluster, state

NODE, OTHER = "w1", "w2"
SPACE = "drained"
USER = "drainer"
TOOLS = ("kubectl", "k8s_drain", "node_drain")


@dataclass(frozen=True)
class Case:
    """Pods that end a known time after they are asked to."""

    pods: int
    seconds: int
    one_at_a_time: bool = False

    def __str__(self) -> str:
        guard = ", a budget that lets 1 go at a time" if self.one_at_a_time else ""
        return f"{self.pods} pods that take {self.seconds} s to end{guard}"

    def objects(self) -> list[dict[str, Any]]:
        # Behind a budget the next may go when a replacement is Ready, so these start again on the other node. The
        # others stay Pending, so that the start of 60 containers beside it is not measured.
        pinned = None if self.one_at_a_time else NODE
        spec = sleeper(f"sleep {self.seconds}; exit 0", grace=60, node=pinned)
        web = controlled("Deployment", "web", spec, replicas=self.pods)
        return [web, budget("web", "web", maxUnavailable=1)] if self.one_at_a_time else [web]


CASES = {"short": Case(60, 1), "long": Case(60, 20), "budget": Case(10, 1, one_at_a_time=True)}


@dataclass
class Run:
    """One drain."""

    rc: int
    seconds: float
    task: float | None
    calls: int
    left: int
    first_asked: float | None
    last_asked: float | None
    last_gone: float | None
    said: str

    @property
    def beyond(self) -> float | None:
        """What the tool took to notice that the last pod was gone."""
        return None if self.last_gone is None else self.seconds - self.last_gone

    @property
    def around(self) -> float | None:
        """Ansible's own start and end."""
        return None if self.task is None else self.seconds - self.task


class Bench:
    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.kubectl = cluster.kubectl_argv(state.require(lab.name))[0]
        self.inventory = lab.status()["inventory"]
        self.kubeconfig = directory / "kubeconfig"
        self._make_user()

    def _make_user(self) -> None:
        """An administrator of our own, with a flow of its own: that is where the API server counts requests."""
        account = {"kind": "ServiceAccount", "name": USER, "namespace": SPACE}
        flow = {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": {"name": USER},
            "spec": {
                # The level that service accounts have anyway.
                "priorityLevelConfiguration": {"name": "workload-low"},
                "matchingPrecedence": 500,
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [
                    {
                        "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": USER, "namespace": SPACE}}],
                        "resourceRules": [
                            {
                                "verbs": ["*"],
                                "apiGroups": ["*"],
                                "resources": ["*"],
                                "clusterScope": True,
                                "namespaces": ["*"],
                            }
                        ],
                        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                    }
                ],
            },
        }
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": USER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [account],
        }
        self.lab.kubectl("create", "namespace", SPACE)
        self.lab.kubectl("create", "serviceaccount", USER, "-n", SPACE)
        self.lab.apply(SPACE, flow, role)
        config = json.loads(self.lab.kubectl("config", "view", "--raw", "-o", "json"))
        token = self.lab.kubectl("create", "token", USER, "-n", SPACE, "--duration=4h").strip()
        config["users"][0]["user"] = {"token": token}
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(json.dumps(config))

    def calls(self) -> int:
        """How many requests of our user the API server has let through so far."""
        pattern = rf'^apiserver_flowcontrol_dispatched_requests_total{{.*flow_schema="{USER}".*}} (\S+)$'
        found = re.findall(pattern, self.lab.kubectl("get", "--raw", "/metrics"), re.MULTILINE)
        return round(sum(float(number) for number in found))

    def here(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.lab.get("pods", "-n", SPACE, "--field-selector", f"spec.nodeName={NODE}")[
            "items"
        ]
        return found

    @contextmanager
    def filled(self, case: Case) -> Iterator[None]:
        self.lab.kubectl("cordon", NODE)
        self.lab.apply(SPACE, *case.objects())
        try:
            yield
        finally:
            self.lab.kubectl("delete", "deployment,pdb", "--all", "-n", SPACE, "--wait=false")
            wait_for("all pods are gone", lambda: not self.lab.get("pods", "-n", SPACE)["items"], 300)

    def refill(self, case: Case) -> None:
        """All pods Ready on the node, the other one open too, and the machine quiet again."""
        if case.one_at_a_time:
            self.lab.kubectl("scale", "deployment/web", "--replicas=0", "-n", SPACE)
            wait_for("the pods are gone", lambda: not self.lab.get("pods", "-n", SPACE)["items"], 300)
        self.lab.kubectl("cordon", OTHER)
        self.lab.kubectl("uncordon", NODE)
        self.lab.kubectl("scale", "deployment/web", f"--replicas={case.pods}", "-n", SPACE)

        def ready() -> bool:
            pods = self.here()
            return len(pods) == case.pods and all(map(cluster.is_ready, pods))

        wait_for(f"{case.pods} pods are Ready on {NODE}", ready, 300)
        if case.one_at_a_time:
            wait_for("the budget has room for one", lambda: self._room() == 1)
        self.lab.kubectl("uncordon", OTHER)
        quieten()

    def _room(self) -> int:
        return int(self.lab.get("pdb", "web", "-n", SPACE)["status"].get("disruptionsAllowed", 0))

    def drain(self, tool: str) -> Run:
        calls, mark = self.calls(), audit_mark(self.lab)
        began, clock = time.monotonic(), time.time()
        done = subprocess.run(
            self._command(tool),
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=900,
        )
        seconds = time.monotonic() - began
        left = len(self.here())
        events = audited(self.lab, mark)
        asked = [at(event) - clock for event in events if evictions([event])]
        gone = [at(event) - clock for event in events if is_end_of_pod(event)]
        complete = not left and done.returncode == 0
        run = Run(
            done.returncode,
            seconds,
            None if tool == "kubectl" else task_seconds(done.stdout),
            self.calls() - calls,
            left,
            min(asked, default=None),
            max(asked, default=None),
            max(gone) if complete and gone else None,
            " ".join((done.stdout + done.stderr).split()[-40:]),
        )
        say(
            f"{tool}: rc {run.rc} after {seconds:.1f} s, {run.calls} calls, {len(evictions(events))} evictions "
            f"accepted, {len(evictions(events, 429))} held back, {left} pods left"
        )
        return run

    def all_at_once(self) -> float:
        """How long the node takes when one request asks all its pods to leave and nobody looks on."""
        self.lab.kubectl("cordon", NODE)
        mark, clock = audit_mark(self.lab), time.time()
        self.lab.kubectl("delete", "--raw", f"/api/v1/namespaces/{SPACE}/pods?fieldSelector=spec.nodeName%3D{NODE}")
        wait_for(f"no pod is left on {NODE}", lambda: not self.here(), 300, interval=2)
        seconds = max(at(event) for event in audited(self.lab, mark) if is_end_of_pod(event)) - clock
        say(f"all at once: the last pod was gone after {seconds:.1f} s")
        return seconds

    def _command(self, tool: str) -> list[str]:
        if tool == "kubectl":
            return [self.kubectl, f"--kubeconfig={self.kubeconfig}", "drain", NODE, "--ignore-daemonsets"]
        variables = json.dumps({"kubeconfig": str(self.kubeconfig), "node": NODE})
        playbook = PROJECT / "benchmarks" / "drain" / f"{tool}.yml"
        return [str(ANSIBLE_PLAYBOOK), "-i", self.inventory, "-e", variables, str(playbook)]


def is_end_of_pod(event: dict[str, Any]) -> bool:
    """The kubelet's own delete of a pod whose containers are gone."""
    about = event["objectRef"]
    return bool(
        event["verb"] == "delete"
        and event["user"]["username"] == f"system:node:{NODE}"
        and about["resource"] == "pods"
        and about["namespace"] == SPACE
    )


def at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["stageTimestamp"]).timestamp()


def task_seconds(output: str) -> float:
    """How long the task took by Ansible's own clock."""
    (task,) = json.loads(output[output.index("{") :])["plays"][0]["tasks"]
    began, ended = (datetime.fromisoformat(task["task"]["duration"][name]) for name in ("start", "end"))
    return (ended - began).total_seconds()


def quieten(seconds: float = 60) -> None:
    """Wait until half of the machine has nothing to do, but not for ever: others may work beside us."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        idle, whole = processor()
        time.sleep(2)
        later_idle, later_whole = processor()
        if later_idle - idle > (later_whole - whole) / 2:
            return
    say("the machine does not become quiet")


def processor() -> tuple[int, int]:
    """Ticks without work, and all of them."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def measure(bench: Bench, case: Case, rounds: int) -> tuple[dict[str, list[Run]], list[float]]:
    """The runs of each tool, and how long the node took by itself; a budget allows no such thing."""
    say(str(case))
    runs: dict[str, list[Run]] = {tool: [] for tool in TOOLS}
    alone: list[float] = []
    with bench.filled(case):
        for number in range(rounds):
            for place in range(len(TOOLS)):
                tool = TOOLS[(number + place) % len(TOOLS)]
                bench.refill(case)
                runs[tool].append(bench.drain(tool))
            if not case.one_at_a_time:
                bench.refill(case)
                alone.append(bench.all_at_once())
    return runs, alone


def show(case: Case, runs: dict[str, list[Run]], alone: list[float]) -> None:
    def middle(values: list[float | None]) -> object:
        there = [value for value in values if value is not None]
        return median(there) if there else "-"

    table(
        str(case),
        ["tool", "seconds", "all runs", "its task", "API calls", "exit code", "left when done", "beyond last pod"],
        [
            [
                tool,
                middle([run.seconds for run in found]),
                " ".join(f"{run.seconds:.1f}" for run in found),
                middle([run.task for run in found]),
                round(median(run.calls for run in found)),
                "/".join(sorted({str(run.rc) for run in found})),
                max(run.left for run in found),
                middle([run.beyond for run in found]),
            ]
            for tool, found in runs.items()
        ],
    )
    table(
        "Where its seconds go: from the start of the command until",
        ["tool", "first pod asked", "last pod asked", "last pod gone", "end", "of it around the task"],
        [
            [
                tool,
                middle([run.first_asked for run in found]),
                middle([run.last_asked for run in found]),
                middle([run.last_gone for run in found]),
                middle([run.seconds for run in found]),
                middle([run.around for run in found]),
            ]
            for tool, found in runs.items()
        ]
        + ([["(all by one request)", "-", "-", median(alone), "-", "-"]] if alone else []),
    )
    for tool, found in runs.items():
        for run in found[:1]:
            if run.rc:
                print(f"  {tool} ended with {run.rc}: ...{run.said[-400:]}\n")


def ratio(runs: dict[str, list[Run]], other: str) -> float | None:
    """How many times longer another tool took than ours; None unless both did the whole work each time."""
    if any(run.rc or run.left for tool in (other, "node_drain") for run in runs[tool]):
        return None
    return median(run.seconds for run in runs[other]) / median(run.seconds for run in runs["node_drain"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only these; all when not given")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, float | None] = {}
    with laboratory("drain", masters=1, workers=2) as lab, tempfile.TemporaryDirectory() as directory:
        bench = Bench(lab, Path(directory))
        for name in options.case or CASES:
            runs, alone = measure(bench, CASES[name], options.rounds)
            show(CASES[name], runs, alone)
            if alone:
                found[f"beyond_the_node_itself_{name}"] = median(r.seconds for r in runs["node_drain"]) - median(alone)
            found[f"kubectl_over_ours_{name}"] = ratio(runs, "kubectl")
            if name != "budget":
                found[f"k8s_drain_over_ours_{name}"] = ratio(runs, "k8s_drain")
    print("Seconds are the median of all runs of a whole command; 'beyond last pod' is what a tool took to notice.")
    figures(**found)


if __name__ == "__main__":
    main()
