# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the integration tests use of a lab and of ansible-playbook, as a user would use them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lab import audit, cluster, kubeadm, state
from lab.processes import Process, children, identify

PROJECT = Path(__file__).resolve().parents[2]
LAB = PROJECT / "lab" / "lab"
ANSIBLE_PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"

_ETCD_PKI = "/etc/kubernetes/pki/etcd"
# What etcdctl takes from its environment on a master.
ETCD_ACCESS = (
    f"ETCDCTL_API=3 ETCDCTL_CACERT={_ETCD_PKI}/ca.crt "
    f"ETCDCTL_CERT={_ETCD_PKI}/healthcheck-client.crt ETCDCTL_KEY={_ETCD_PKI}/healthcheck-client.key"
)
ETCDCTL = f"sudo env {ETCD_ACCESS} etcdctl"

# Within the root file system of a master.
AUDIT_LOG = kubeadm.AUDIT_LOG.lstrip("/")

# What an upgrade that was refused must not have touched on a host.
UNTOUCHED = (
    "/etc/kubernetes /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env "
    "/etc/default/kubelet /etc/apt /var/lib/apt/lists /var/cache/apt /var/lib/dpkg/status"
)


def wait_for(what: str, look: Callable[[], bool], seconds: float = 120, interval: float = 0.3) -> None:
    """Wait for a condition, and fail in words when it does not come."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"after {seconds:g} s still not so: {what}"
        time.sleep(interval)


class Lab:
    """One lab cluster by its command line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *arguments: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(LAB), *arguments],
            env={**os.environ, "LAB_NAME": self.name},
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, f"lab {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def up(self, masters: int, workers: int, kubernetes: str = "1.34.4") -> None:
        self.run("down")
        self.run("up", "--masters", str(masters), "--workers", str(workers), "--kubernetes", kubernetes)

    def save(self, name: str) -> None:
        """Keep the whole cluster as it is; its machines lose their power for that, and all nodes come back Ready."""
        self.run("save", name)

    def load(self, name: str) -> None:
        """Bring a saved cluster back; all nodes are Ready afterwards."""
        self.run("load", name)

    def forget(self, name: str) -> None:
        """Delete a save, if there is one."""
        if any(line.startswith(f"{name}:") for line in self.run("saves").stdout.splitlines()):
            self.run("saves", "--delete", name)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def kubectl(self, *arguments: str, check: bool = True, given: str = "") -> str:
        """The same as ``lab kubectl``, without a Python for each look: tests look often."""
        argv = cluster.kubectl_argv(state.require(self.name), *arguments)
        done = subprocess.run(argv, text=True, capture_output=True, input=given, timeout=900)
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, namespace: str, *objects: dict[str, Any]) -> None:
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "-n", namespace, "-f", "-", given=given)

    def ssh(self, node: str, command: str, check: bool = True) -> str:
        return self.run("ssh", node, command, check=check).stdout

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["metadata"]["name"]: node for node in self.get("nodes")["items"]}

    def kubelet_versions(self) -> dict[str, str]:
        return {name: node["status"]["nodeInfo"]["kubeletVersion"] for name, node in self.nodes().items()}

    def cordoned(self) -> list[str]:
        return [name for name, node in self.nodes().items() if node["spec"].get("unschedulable")]

    def not_ready(self) -> list[str]:
        return [name for name, node in self.nodes().items() if not cluster.is_ready(node)]

    def unready_pods(self, since: float = 0, node: str = "") -> list[str]:
        """Pods of the whole cluster, or of one node, that do not serve; finished ones are left out.

        :param since: a pod with a container from before this time is not seen as it is now.
        """

        def serves(pod: dict[str, Any]) -> bool:
            return cluster.is_ready(pod) and all(
                "running" in container["state"]
                and datetime.fromisoformat(container["state"]["running"]["startedAt"]).timestamp() >= since
                for container in pod["status"].get("containerStatuses", [])
            )

        return [
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in self.get("pods", "--all-namespaces")["items"]
            if node in ("", pod["spec"].get("nodeName"))
            and pod["status"].get("phase") != "Succeeded"
            and not serves(pod)
        ]

    def fingerprints(self, *nodes: str) -> dict[str, str]:
        """One hash a node (all, or those named) over every file that a refused upgrade must leave alone."""
        command = (
            f"sudo sh -c 'find {UNTOUCHED} -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum; "
            f'find {UNTOUCHED} -printf "%p %m %U %G %l\\n" 2>/dev/null | sort; dpkg --get-selections\' | sha256sum'
        )
        return {node: self.ssh(node, command).strip() for node in nodes or self.nodes()}

    def disks(self) -> dict[str, Path]:
        """Each machine's root file system as this host sees it, also while the machine is off."""
        return {name: Path(machine["root"]) for name, machine in self.status()["machines"].items()}

    def writes(self) -> list[dict[str, Any]]:
        """Every write of kubernetes-admin that the API servers' audit logs hold, oldest first."""
        answered = [event for disk in self.disks().values() for event in audit.events(disk / AUDIT_LOG)]
        found = [event for event in answered if event["user"].get("username") == "kubernetes-admin"]
        return sorted(found, key=lambda event: str(event["requestReceivedTimestamp"]))

    def writes_by_administrators(self) -> list[str]:
        """The same in a line each, to be compared."""
        return [f"{event['requestReceivedTimestamp']} {event['verb']} {event['requestURI']}" for event in self.writes()]

    def evicted_twice(self) -> list[str]:
        """Pods of which the API server took more than one eviction: two drains were at work on their node."""
        pods = evictions(self.writes())
        return sorted({pod for pod in pods if pods.count(pod) > 1})


@dataclass
class Played:
    """How a run of ansible-playbook ended."""

    rc: int
    output: str
    seconds: float
    recap: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        return sum(counts["changed"] for counts in self.recap.values())

    def results(self, host: str) -> int:
        """All task results of one host, skipped ones included."""
        counts = self.recap[host]
        return sum(counts[name] for name in ("ok", "failed", "skipped", "rescued", "ignored", "unreachable"))


def _command(playbook: str, inventory: Path, variables: dict[str, Any], *more: str) -> list[str]:
    extra = ["-e", json.dumps(variables)] if variables else []
    return [str(ANSIBLE_PLAYBOOK), "-i", str(inventory), str(PROJECT / playbook), *extra, *more]


def environment() -> dict[str, str]:
    return {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "160"}


def play(playbook: str, inventory: Path, *more: str, timeout: float = 1800, **variables: Any) -> Played:
    """Run a playbook of the project to its end."""
    began = time.monotonic()
    done = subprocess.run(
        _command(playbook, inventory, variables, *more),
        cwd=PROJECT,
        env=environment(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
    )
    return Played(done.returncode, done.stdout, time.monotonic() - began, read_recap(done.stdout))


@contextmanager
def playing(playbook: str, inventory: Path, log: Path, **variables: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A run of a playbook in a process group of its own, for a test that means to kill it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(playbook, inventory, variables),
            cwd=PROJECT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                kill(process, everything=True)


def kill(process: subprocess.Popen[bytes], everything: bool) -> list[Process]:
    """End a run of a playbook without a word: its main process alone, or with everything that it started.

    A signal to the process group would reach the main process alone: Ansible's workers have sessions of their own.

    :returns: what lives on.
    """
    os.kill(process.pid, signal.SIGSTOP)
    family: list[Process] = []
    while found := [one for one in _descendants(process.pid) if one not in family]:
        family += found
        for one in found if everything else ():
            one.signal(signal.SIGSTOP)  # so that it starts no other one meanwhile
        if not everything:
            break
    for one in family if everything else ():
        one.signal(signal.SIGKILL)
    process.kill()
    process.wait()
    return [] if everything else family


def _descendants(pid: int) -> list[Process]:
    found = [pid]
    for parent in found:  # grows on the way
        found += children(parent)
    return [identify(one) for one in found[1:]]


def task_command(inventory: Path, host: str, module: str, /, *more: str, **options: Any) -> list[str]:
    """One module of the collection as root on a host, as a task would run it."""
    ansible = [str(ANSIBLE_PLAYBOOK.with_name("ansible")), "-i", str(inventory), "--become", host]
    return [*ansible, "-m", f"clustercare.kubeadm.{module}", *(["-a", json.dumps(options)] if options else []), *more]


def task(inventory: Path, host: str, module: str, /, *more: str, **options: Any) -> dict[str, Any]:
    """Run one to its end; ``failed`` is always in its result."""
    done = subprocess.run(
        task_command(inventory, host, module, *more, **options),
        cwd=PROJECT,
        env={**environment(), "ANSIBLE_TIMEOUT": "60"},
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=900,
    )
    found = re.search(r"\| (\w+)!? => (\{.*\})", done.stdout, re.DOTALL)
    assert found and found[1] != "UNREACHABLE", done.stdout + done.stderr
    return {**json.loads(found[2]), "failed": found[1] == "FAILED"}


def read_recap(output: str) -> dict[str, dict[str, int]]:
    recap = {}
    for line in output.partition("PLAY RECAP")[2].splitlines():
        if found := re.match(r"(\S+)\s+: (ok=.*)", line):
            recap[found[1]] = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", found[2])}
    return recap


def _pss(pid: int) -> int:
    """The memory of a process in bytes, shared pages counted by share; 0 when it is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024


@contextmanager
def memory_watched(belongs: Callable[[int], bool]) -> Iterator[list[int]]:
    """Look five times a second; the only entry of the list is the most that all processes which belong held at once."""
    peak, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
            peak[0] = max(peak[0], sum(_pss(pid) for pid in pids if belongs(pid)))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    """0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def machine_of(pid: int) -> str:
    """The lab and the machine that a process belongs to, such as ``test/cp1``; empty outside of labs."""
    try:
        found = re.search(r"/clustercare-lab/([^/]+/[^/\n]+)", Path(f"/proc/{pid}/cgroup").read_text())
    except OSError:
        return ""
    return found[1] if found else ""


# --- what drains are tried on: sleeping pods, and what the API server noted -------------------------------------

IMAGE = "lab.test/nginx:1.22"


def sleeper(ends: str = "exit 0", grace: int = 30, node: str | None = None, **spec: Any) -> dict[str, Any]:
    """The spec of a pod whose one shell sleeps until it is asked to end, and then does what ``ends`` says."""
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", f"trap '{ends}' TERM; sleep infinity & wait"],
        "volumeMounts": [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in spec.get("volumes", [])],
    }
    pinned = {"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}
    return {"terminationGracePeriodSeconds": grace, "containers": [container], **pinned, **spec}


def controlled(kind: str, name: str, spec: dict[str, Any], replicas: int = 1) -> dict[str, Any]:
    """A Deployment, StatefulSet or DaemonSet of such pods; their label ``app`` is its name."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    more: dict[str, Any] = {} if kind == "DaemonSet" else {"replicas": replicas}
    if kind == "StatefulSet":
        more["serviceName"] = name
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **more},
    }


def budget(name: str, app: str, **allows: int) -> dict[str, Any]:
    """A PodDisruptionBudget, such as ``minAvailable=2``."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": app}}, **allows},
    }


def _audit_log(lab: Lab, master: str) -> Path:
    return state.require(lab.name).root(master) / AUDIT_LOG


def audit_mark(lab: Lab, master: str = "cp1") -> int:
    """Where the audit log of a master ends now."""
    return audit.end(_audit_log(lab, master))


def audited(lab: Lab, since: int, master: str = "cp1") -> list[dict[str, Any]]:
    """The writes that a master's API server has answered since a mark, oldest first."""
    return audit.events(_audit_log(lab, master), since)


def evictions(events: list[dict[str, Any]], code: int | None = 201) -> list[str]:
    """The pods (``namespace/name``) whose evictions were answered so, once for each answer."""
    return [
        f"{event['objectRef']['namespace']}/{event['objectRef']['name']}"
        for event in events
        if event["verb"] == "create"
        and event.get("objectRef", {}).get("subresource") == "eviction"
        and code in (None, event["responseStatus"]["code"])
    ]


def kubeadm_upgrades(lab: str) -> dict[int, str]:
    """The processes in which kubeadm upgrades something in a lab just now, and the machine of each."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if command_of(pid).startswith("kubeadm upgrade "):
            name, _, machine = machine_of(pid).partition("/")
            if name == lab:
                found[pid] = machine
    # Until a child of kubeadm has become its own program, it looks like a second kubeadm.
    return {pid: machine for pid, machine in found.items() if parent_of(pid) not in found}


def led_astray(lab: str) -> list[str]:
    """The machines of a lab whose kubelet speaks to another API server than its own, as for the length of kubeadm."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    machines = [machine_of(pid) for pid in pids if " --kubeconfig=/run/clustercare/" in command_of(pid)]
    return sorted(name.partition("/")[2] for name in machines if name.startswith(f"{lab}/"))


class Watch:
    """Looks four times a second at all kubeadm processes of a lab, and once at the cluster when a new one is seen."""

    def __init__(self, lab: Lab, look_closer: Callable[[str], list[str]]) -> None:
        """:param look_closer: is given the machine of a new kubeadm, and tells what is wrong there."""
        self.lab, self.look_closer = lab, look_closer
        self._problems: list[str] = []
        self.seen: dict[int, str] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def take_problems(self) -> list[str]:
        """What was seen since the last call, each once."""
        found, self._problems = self._problems, []
        return sorted(set(found))

    def _keep_looking(self) -> None:
        while not self._done.wait(0.25):
            now = kubeadm_upgrades(self.lab.name)
            machines = sorted(now.values())
            masters = [name for name in machines if name.startswith("cp")]
            if len(set(machines)) < len(machines) or len(masters) > 1:
                self._problems.append(f"kubeadm ran on {machines} at once")
            for pid, machine in now.items():
                if pid not in self.seen:
                    self.seen[pid] = machine
                    try:
                        self._problems += self.look_closer(machine)
                    except (AssertionError, subprocess.SubprocessError) as failure:
                        self._problems.append(f"kubeadm began on {machine}, and it could not be looked at: {failure}")
