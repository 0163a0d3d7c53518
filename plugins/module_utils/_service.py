# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A component of this host: whether a static pod or a systemd unit runs it, by which processes, from which files."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubelet, _offline, _process
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import UNITS as ETCD_UNITS
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import (
    COMPONENTS,
    MANIFESTS,
    argv_of_pod,
    container_of,
    option_of,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_job import parse_properties
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import Process, link, read_text
from ansible_collections.clustercare.kubeadm.plugins.module_utils._record import DIRECTORY

RUNTIME = "container-runtime"
NAMES = (*sorted(COMPONENTS), "kubelet", RUNTIME)
_UNITS = {
    "etcd": ETCD_UNITS,
    "kube-apiserver": ("kube-apiserver", "snap.kube-apiserver.daemon"),
    "kube-controller-manager": ("kube-controller-manager", "snap.kube-controller-manager.daemon"),
    "kube-scheduler": ("kube-scheduler", "snap.kube-scheduler.daemon"),
    "kubelet": ("kubelet", "snap.kubelet.daemon"),
}
_RUNTIMES = {"containerd": "containerd", "crio": "crio", "cri-docker": "cri-dockerd", "cri-dockerd": "cri-dockerd"}
UNIT_FILE = ".unit"  # the name of the unit that we stopped; a running process tells it, a stopped one does not
_SERVICE = re.compile(r"([^/\n]+\.service)(?=/|$)", re.MULTILINE)
_STARTS = re.compile(r"path=(\S+) ;")  # in ExecStart, as systemctl shows it


class Home(NamedTuple):
    """Where a process lives: in a pod, or in a unit."""

    pod: Optional[str]
    unit: Optional[str]


def home_of(cgroup: str) -> Home:
    """Read /proc/PID/cgroup, of version 1 or 2, by either cgroup driver."""
    pod = _process.pod_of(cgroup)
    if pod:
        return Home(pod, None)
    units = _SERVICE.findall(cgroup)
    return Home(None, units[-1] if units else None)


def is_pod_of(pod: dict[str, Any], name: str, path: str) -> bool:
    """Whether a manifest is this component's, whatever its file is called; that counts when nothing can read it."""
    if not pod:
        return os.path.basename(path).split(".")[0] == name
    named = name in ((pod.get("metadata") or {}).get("name"), container_of(pod, name).get("name"))
    return named or os.path.basename("".join(argv_of_pod(pod, name)[:1])) == name


def manifest_files(directory: str) -> list[str]:
    """What a kubelet would read there: every file whose name does not begin with a dot."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    paths = [os.path.join(directory, name) for name in names if not name.startswith(".")]
    return [path for path in paths if os.path.isfile(path)]


class Unit(NamedTuple):
    """What systemd says of a unit."""

    name: str
    active: str  # active, activating, inactive, failed, ...
    result: str
    restarts: int
    exit_code: str
    exit_status: int


class Service(NamedTuple):
    """A component as it is now."""

    name: str
    kind: str  # static_pod, systemd, process (somebody started it by hand), absent
    processes: list[Process]
    unit: Optional[Unit]
    manifests: list[str]  # where the kubelet reads them
    parked: list[str]  # where we put them when we stopped it
    pod: dict[str, Any]  # its manifest's object, empty when nothing could read it
    where: str = ""  # the directory that the kubelet reads

    @property
    def running(self) -> bool:
        return bool(self.processes)

    @property
    def wanted(self) -> bool:
        """Whether something on the host would start it when it is gone."""
        if self.kind == "static_pod":
            return bool(self.manifests)
        return self.unit is not None and self.unit.active not in ("inactive", "failed")

    @property
    def argv(self) -> list[str]:
        """The command line of the process, else of the manifest."""
        if self.processes:
            return self.processes[-1].argv
        return argv_of_pod(self.pod, self.name)

    @property
    def state(self) -> str:
        """started, stopped, failed (it should run and does not), absent."""
        if self.kind == "absent":
            return "absent"
        if self.running:
            return "started"
        return "failed" if self.wanted or (self.unit is not None and self.unit.active == "failed") else "stopped"


class Host:
    """Finds the components of one host; reads only."""

    def __init__(
        self,
        manifests_dir: Optional[str] = None,
        runner: Runner = run,
        proc: str = "/proc",
        directory: str = DIRECTORY,
        logs: str = _process.LOGS,
    ) -> None:
        self.runner = runner
        self.proc = proc
        self.directory = directory
        self.logs = logs
        self._manifests_dir = manifests_dir
        self._kubelet_config: Optional[dict[str, Any]] = None
        self._read: dict[tuple[str, int, int], dict[str, Any]] = {}

    # --- processes

    def table(self) -> list[Process]:
        return list(_process.processes(self.proc, self.logs))

    def home(self, process: Process) -> Home:
        return home_of(read_text(os.path.join(self.proc, str(process.pid), "cgroup")) or "")

    def _network(self, pid: str) -> str:
        return link(os.path.join(self.proc, pid, "ns", "net"))

    def processes(self, name: str, table: Optional[list[Process]] = None) -> list[Process]:
        """The component's own processes, oldest first: no other cluster's that runs in this one's pods."""
        program = self.runtime_program() if name == RUNTIME else name
        ours = []
        network = self._network("self")
        for process in _process.named(self.table() if table is None else table, program):
            pod = self.home(process).pod
            on_host = self._network(str(process.pid)) == network
            if on_host and (pod is None or name in COMPONENTS):
                ours.append(process)
        return ours

    # --- units

    def unit(self, name: str) -> Optional[Unit]:
        """A unit by its name, or None when systemd has no such thing."""
        properties = "LoadState,ActiveState,Result,NRestarts,ExecMainCode,ExecMainStatus"
        done = self.runner(["systemctl", "show", name, "--property", properties])
        shown = parse_properties(done.out)
        if done.rc != 0 or not shown.get("ActiveState"):
            raise CareError(f"systemd does not tell how {name} stands: {done.last_words}.")
        if shown.get("LoadState") not in ("loaded", "masked"):
            return None
        return Unit(
            name,
            shown["ActiveState"],
            shown.get("Result", ""),
            int(shown.get("NRestarts") or 0),
            shown.get("ExecMainCode", ""),
            int(shown.get("ExecMainStatus") or 0),
        )

    def _known_unit(self, name: str) -> Optional[Unit]:
        names = [self.runtime_unit()] if name == RUNTIME else [f"{unit}.service" for unit in _UNITS[name]]
        remembered = (read_text(os.path.join(self.parking(name), UNIT_FILE)) or "").strip()
        names = [remembered, *names] if remembered else names
        for unit_name in names:
            unit = self.unit(unit_name)
            if unit is not None:
                return unit
        return self._unit_that_starts(name)

    def _unit_that_starts(self, program: str) -> Optional[Unit]:
        """The one unit, whatever its name, that systemd would run this program by; None when there is not just one."""
        found = []
        for shown in self.runner(["systemctl", "show", "*.service", "--property", "Id,ExecStart"]).out.split("\n\n"):
            unit = parse_properties(shown)
            paths = _STARTS.findall(unit.get("ExecStart", ""))
            if program in map(os.path.basename, paths):
                found.append(unit["Id"])
        return self.unit(found[0]) if len(found) == 1 else None

    # --- the kubelet and what it says of the others

    def kubelet_config(self) -> dict[str, Any]:
        """The kubelet's configuration; empty when there is none, or nothing can read it."""
        if self._kubelet_config is None:
            running = self.processes("kubelet")
            path = option_of(running[-1].argv, "--config") if running else None
            path = path or _kubelet.CONFIG_FILE
            try:
                self._kubelet_config = _offline.read_objects([path], self.runner)[0] if os.path.isfile(path) else {}
            except (CareError, IndexError):
                self._kubelet_config = {}
        return self._kubelet_config

    def runtime_endpoint(self) -> str:
        """The socket by which the kubelet reaches the container runtime."""
        running = self.processes("kubelet")
        flag = option_of(running[-1].argv, "--container-runtime-endpoint") if running else None
        if not flag and not self.kubelet_config().get("containerRuntimeEndpoint"):
            texts = {path: read_text(path) or "" for path in (_kubelet.FLAGS_FILE, "/etc/default/kubelet")}
            flag = _kubelet.flag_value(_kubelet.flags(texts, []), "--container-runtime-endpoint")
        return str(flag or self.kubelet_config().get("containerRuntimeEndpoint") or "")

    def _runtime(self) -> str:
        endpoint = self.runtime_endpoint()
        for word in ("cri-dockerd", "cri-docker", "crio", "containerd"):
            if word in endpoint:
                return word
        table = self.table()
        return next((word for word in ("crio", "cri-dockerd") if _process.named(table, word)), "containerd")

    def runtime_program(self) -> str:
        return _RUNTIMES[self._runtime()]

    def runtime_unit(self) -> str:
        name = self._runtime()
        return f"{'cri-docker' if name == 'cri-dockerd' else name}.service"

    def manifests_dir(self) -> str:
        """The directory that the kubelet reads."""
        if not self._manifests_dir:
            running = self.processes("kubelet")
            flag = option_of(running[-1].argv, "--pod-manifest-path") if running else None
            self._manifests_dir = flag or self.kubelet_config().get("staticPodPath") or MANIFESTS
        return str(self._manifests_dir)

    def parking(self, name: str) -> str:
        """Where a stopped component's manifests wait: never below the manifest directory."""
        return os.path.join(self.directory, "services", name)

    def pods(self, paths: list[str]) -> dict[str, dict[str, Any]]:
        """Manifests by path, each read once while it stays as it is; what nothing can read has an empty object."""
        keys = {path: _identity(path) for path in paths}
        unread = [path for path in paths if keys[path] not in self._read]
        self._read.update({keys[path]: pod for path, pod in self._pods(unread).items()})
        return {path: self._read[keys[path]] for path in paths}

    def _pods(self, paths: list[str]) -> dict[str, dict[str, Any]]:
        if not paths:
            return {}
        try:
            found = _offline.read_objects(paths, self.runner)
            if len(found) == len(paths):
                return dict(zip(paths, found))
        except (CareError, ValueError):
            pass  # one that is broken hides the others
        if len(paths) == 1:
            return {paths[0]: {}}
        return {path: pod for each in paths for path, pod in self._pods([each]).items()}

    # --- all together

    def look(self, name: str) -> Service:
        """One component as it is now.

        :raises CareError: this process may not look at others; it would take what runs for gone.
        """
        if not self._network("1"):
            raise CareError(
                f"Other processes of {os.uname().nodename} cannot be looked at: this needs root (become: true)."
            )
        processes = self.processes(name)
        manifests: dict[str, dict[str, Any]] = {}
        parked: dict[str, dict[str, Any]] = {}
        if name in COMPONENTS:
            every = self.pods(manifest_files(self.manifests_dir()))
            manifests = {path: pod for path, pod in every.items() if is_pod_of(pod, name, path)}
            parked = self.pods(manifest_files(self.parking(name)))
        homes = [self.home(process) for process in processes]
        in_pods = any(home.pod for home in homes)
        unit_name = next((home.unit for home in reversed(homes) if home.unit), None)
        unit = self.unit(unit_name) if unit_name else None
        if unit is None and not in_pods and not manifests and not parked:
            unit = self._known_unit(name)
        if in_pods or ((manifests or parked) and unit is None):
            kind = "static_pod"
        elif unit is not None:
            kind = "systemd"
        else:
            kind = "process" if processes else "absent"
        pods = [*manifests.values(), *parked.values(), {}]
        return Service(
            name=name,
            kind=kind,
            processes=processes,
            unit=unit if kind == "systemd" else None,
            manifests=list(manifests),
            parked=list(parked),
            pod=pods[0],
            where=self.manifests_dir() if name in COMPONENTS else "",
        )


def _identity(path: str) -> tuple[str, int, int]:
    try:
        about = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, about.st_ino, about.st_mtime_ns
