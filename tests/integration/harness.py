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

PROJECT = Path(__file__).resolve().parents[2]
LAB = PROJECT / "lab" / "lab"
ANSIBLE_PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"

# What an upgrade that was refused must not have touched on a host.
UNTOUCHED = (
    "/etc/kubernetes /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env "
    "/etc/default/kubelet /etc/apt /var/lib/apt/lists /var/cache/apt /var/lib/dpkg/status"
)


def wait_for(what: str, look: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for a condition, and fail in words when it does not come."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"after {seconds:g} s still not so: {what}"
        time.sleep(0.3)


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

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        return self.run("kubectl", *arguments, check=check).stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def ssh(self, node: str, command: str, check: bool = True) -> str:
        return self.run("ssh", node, command, check=check).stdout

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["metadata"]["name"]: node for node in self.get("nodes")["items"]}

    def kubelet_versions(self) -> dict[str, str]:
        return {name: node["status"]["nodeInfo"]["kubeletVersion"] for name, node in self.nodes().items()}

    def cordoned(self) -> list[str]:
        return [name for name, node in self.nodes().items() if node["spec"].get("unschedulable")]

    def not_ready(self) -> list[str]:
        return [
            name
            for name, node in self.nodes().items()
            if not any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        ]

    def unready_pods(self, since: float = 0) -> list[str]:
        """Pods of the whole cluster that do not serve, finished ones left out.

        :param since: a pod with a container from before this time is not seen as it is now.
        """

        def serves(status: dict[str, Any]) -> bool:
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
            return ready and all(
                "running" in container["state"]
                and datetime.fromisoformat(container["state"]["running"]["startedAt"]).timestamp() >= since
                for container in status.get("containerStatuses", [])
            )

        return [
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in self.get("pods", "--all-namespaces")["items"]
            if pod["status"].get("phase") != "Succeeded" and not serves(pod["status"])
        ]

    def fingerprints(self) -> dict[str, str]:
        """One hash a node over every file that a refused upgrade must leave alone."""
        command = (
            f"sudo sh -c 'find {UNTOUCHED} -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum; "
            f'find {UNTOUCHED} -printf "%p %m %U %G %l\\n" 2>/dev/null | sort; dpkg --get-selections\' | sha256sum'
        )
        return {node: self.ssh(node, command).strip() for node in self.nodes()}

    def writes_by_administrators(self) -> list[str]:
        """Every write of kubernetes-admin that the API servers' audit logs hold, oldest first."""
        found = []
        for node, data in self.nodes().items():
            if "node-role.kubernetes.io/control-plane" not in data["metadata"]["labels"]:
                continue
            for line in self.ssh(node, "sudo cat /var/log/kubernetes/audit.log").splitlines():
                event = json.loads(line)
                if event["user"]["username"] == "kubernetes-admin" and event["verb"] not in ("get", "list", "watch"):
                    found.append(f"{event['requestReceivedTimestamp']} {event['verb']} {event['requestURI']}")
        return sorted(found)


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


def _environment() -> dict[str, str]:
    return {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "160"}


def play(playbook: str, inventory: Path, *more: str, timeout: float = 1800, **variables: Any) -> Played:
    """Run a playbook of the project to its end."""
    began = time.monotonic()
    done = subprocess.run(
        _command(playbook, inventory, variables, *more),
        cwd=PROJECT,
        env=_environment(),
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
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def task(inventory: Path, host: str, module: str, /, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run one module of the collection as root on a host, as a task would; ``failed`` is always in its result."""
    done = subprocess.run(
        [
            *(str(ANSIBLE_PLAYBOOK.with_name("ansible")), "-i", str(inventory), "--become", host),
            *("-m", f"clustercare.kubeadm.{module}"),
            *(["-a", json.dumps(options)] if options else []),
            *(["--check"] if check else []),
        ],
        cwd=PROJECT,
        env={**_environment(), "ANSIBLE_TIMEOUT": "60"},
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


def machine_of(pid: int) -> str:
    """The lab and the machine that a process belongs to, such as ``test/cp1``; empty outside of labs."""
    try:
        found = re.search(r"/clustercare-lab/([^/]+/[^/\n]+)", Path(f"/proc/{pid}/cgroup").read_text())
    except OSError:
        return ""
    return found[1] if found else ""
