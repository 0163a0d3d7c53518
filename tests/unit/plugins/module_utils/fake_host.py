# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host made of files: a process table, a manifest directory, a systemd, and a kubelet that follows the manifests."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import time
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

UID = "0123456789abcdef0123456789abcdef"
HOST_NETWORK = "net:[1]"


def manifest(name: str, *flags: str, grace: Optional[int] = None) -> dict[str, Any]:
    container = {"name": name, "image": f"registry.example.org/{name}:v1.34.4", "command": [name, *flags]}
    spec: dict[str, Any] = {"hostNetwork": True, "containers": [container]}
    if grace is not None:
        spec["terminationGracePeriodSeconds"] = grace
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "kube-system"}, "spec": spec}


class FakeHost:
    """``tick`` lets the kubelet look at its manifests once, if there is a kubelet."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.proc = root / "proc"
        self.manifests = root / "manifests"
        self.state = root / "clustercare"
        self.logs = root / "logs"
        for path in (self.proc / "self" / "ns", self.proc / "1" / "ns", self.manifests, self.logs):
            path.mkdir(parents=True)
        (self.proc / "self" / "ns" / "net").symlink_to(HOST_NETWORK)
        (self.proc / "1" / "ns" / "net").symlink_to(HOST_NETWORK)
        (self.proc / "uptime").write_text("1000.00 1000.00\n")
        self.units: dict[str, dict[str, str]] = {}
        self.argvs: list[list[str]] = []
        self.killed: list[tuple[int, int]] = []
        self.deaf: set[str] = set()  # programs that a SIGTERM does not end
        self.said: dict[str, str] = {}  # by unit, what its processes logged last
        self.kubelet_follows = True
        self.next_pid = 100
        self.host = Host(str(self.manifests), self.runner, str(self.proc), str(self.state), str(self.logs))

    # --- time

    def take_the_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only waiting moves the time, and lets the kubelet look at its manifests; signals go to the fake processes."""
        self.now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(Deadline, "sleep", lambda _deadline, seconds: self.wait(seconds))
        monkeypatch.setattr(os, "kill", self.kill)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tick()

    # --- processes

    def start(self, argv: list[str], cgroup: str, age: float = 10.0, network: str = HOST_NETWORK) -> int:
        self.next_pid += 1
        pid = self.next_pid
        base = self.proc / str(pid)
        (base / "ns").mkdir(parents=True)
        (base / "cmdline").write_bytes(b"\0".join(word.encode() for word in argv) + b"\0")
        ticks = int((1000 - age) * os.sysconf("SC_CLK_TCK"))
        columns = " ".join(["0"] * 18)
        (base / "stat").write_text(f"{pid} (x) S {columns} {ticks} 0 0\n")
        (base / "cgroup").write_text(cgroup)
        (base / "exe").symlink_to(f"/usr/bin/{os.path.basename(argv[0])}")
        (base / "ns" / "net").symlink_to(network)
        return pid

    def start_pod(self, name: str, *flags: str, uid: str = UID, age: float = 10.0) -> int:
        return self.start([name, *flags], f"0::/kubepods.slice/kubepods-burstable-pod{uid}.slice/cri-1.scope\n", age)

    def start_unit(self, unit: str, *argv: str, age: float = 10.0) -> int:
        pid = self.start(list(argv), f"0::/system.slice/{unit}\n", age)
        self.units[unit] = {"ActiveState": "active", "MainPID": str(pid), "argv": json.dumps(argv)}
        return pid

    def end(self, pid: int) -> None:
        shutil.rmtree(self.proc / str(pid), ignore_errors=True)

    def pids(self, program: str) -> list[int]:
        return [process.pid for process in self.host.processes(program)]

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))
        program = (self.proc / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode()
        if number == signal.SIGKILL or program not in self.deaf:
            self.end(pid)

    # --- the kubelet

    def write(self, name: str, *flags: str, file: str = "", grace: Optional[int] = None) -> pathlib.Path:
        path = self.manifests / (file or f"{name}.yaml")
        path.write_text(json.dumps(manifest(name, *flags, grace=grace)))
        path.chmod(0o600)
        return path

    def tick(self, *_seconds: float) -> None:
        if not self.pids("kubelet") or not self.kubelet_follows:
            return
        wanted = {}
        for path in self.manifests.glob("[!.]*"):
            pod = json.loads(path.read_text())
            wanted[pod["metadata"]["name"]] = pod["spec"]["containers"][0]["command"]
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            pids = [process.pid for process in self.host.processes(name) if self.host.home(process).pod]
            if pids and name not in wanted and name not in self.deaf:
                self.end(pids[0])
            elif name in wanted and not pids:
                self.start_pod(*wanted[name], age=0)

    # --- programs

    def runner(self, argv: list[str], **_more: Any) -> Done:
        self.argvs.append(argv)
        if argv[0] == "kubectl":
            paths = [argv[at + 1] for at, word in enumerate(argv) if word == "-f"]
            try:
                texts = [pathlib.Path(path).read_text() for path in paths]
                return Done(argv, 0, "".join(json.dumps(json.loads(text)) for text in texts), "")
            except (OSError, ValueError) as error:
                return Done(argv, 1, "", f"error: {error}")
        if argv[0] == "systemctl":
            return self.systemctl(argv)
        if argv[0] == "journalctl":
            return Done(argv, 0, self.journal(argv[1]), "")
        return Done(argv, 0, "", "")

    def journal(self, match: str) -> str:
        """The last line; by --unit that is systemd's own when a unit has ended."""
        field, _equals, name = match.partition("=")
        return f"{name}: Failed with result 'exit-code'." if field == "--unit" else self.said.get(name, "")

    def systemctl(self, argv: list[str]) -> Done:
        name = argv[-1]
        if argv[1] == "show":
            return Done(argv, 0, self.shown_all() if argv[2] == "*.service" else self.shown(argv[2]), "")
        unit = self.units.get(name, {})
        if argv[1] == "stop":
            if name not in self.deaf:
                self.end(int(unit["MainPID"]))
                unit.update(ActiveState="inactive", MainPID="0")
        elif argv[1] == "start" and unit["ActiveState"] != "active":
            self.start_unit(name, *json.loads(unit["argv"]), age=0)
        elif argv[1] == "kill":
            self.end(int(unit["MainPID"]))
            unit.update(ActiveState="failed", MainPID="0")
        return Done(argv, 0, "", "")

    def shown(self, name: str) -> str:
        if name.endswith(".timer"):
            return "ActiveState=active\nNextElapseUSecRealtime=Tue 2026-11-24 06:00:00 UTC\n"
        unit = self.units.get(name)
        load = "loaded" if unit else "not-found"
        words = " ".join(json.loads(unit.get("argv", "[]"))) if unit else ""
        command = f"ExecStart={{ path={words.partition(' ')[0]} ; argv[]={words} ; ignore_errors=no ; pid=0 }}\n"
        active = (unit or {}).get("ActiveState", "inactive")
        return f"LoadState={load}\nActiveState={active}\nResult=success\n{command if unit else ''}"

    def shown_all(self) -> str:
        """Every unit that is loaded, by what it starts."""
        started = {name: json.loads(unit["argv"]) for name, unit in self.units.items()}
        return "\n\n".join(
            f"Id={name}\nExecStart={{ path={argv[0]} ; argv[]={' '.join(argv)} ; ignore_errors=no ; pid=0 }}"
            for name, argv in started.items()
        )

    def changes(self) -> list[list[str]]:
        """Every program that was run to change something."""
        return [argv for argv in self.argvs if argv[0] == "systemctl" and argv[1] != "show"]
