# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a host says of itself: read only, in under a second, pure pieces put together at the end."""

from __future__ import annotations

import concurrent.futures
import glob
import json
import os
import platform
import re
import time
from typing import Any, Callable, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _certificate,
    _kubelet,
    _offline,
    _process,
    _record,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import (
    WILDCARDS,
    Access,
    ApiServer,
    access_of,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_choice import manager_of_host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import read_text

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
MANIFESTS = "/etc/kubernetes/manifests"
CA_FILE = "/etc/kubernetes/pki/ca.crt"
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
_KUBELET_CERTIFICATE = "/var/lib/kubelet/pki/kubelet-client-current.pem"
_NODE_PREFIX = "system:node:"
_TAG = re.compile(r":v?(\d+\.\d+\.\d+[^@/:]*)(?:@.*)?$")
_KUBELET_PATCH = re.compile(r"^kubeletconfiguration[^+]*?(?:\+(strategic|merge|json))?\.(yaml|json)$")
_FAMILIES = {"debian": {"debian", "ubuntu"}, "redhat": {"rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn"}}
_POD_INTERFACES = ("veth", "cni", "cali", "lxc", "cilium", "flannel", "docker", "kube-")


def os_release(text: str) -> dict[str, Any]:
    """The fields of /etc/os-release that matter, and the family that decides on packages."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    fields = {name: value.strip().strip("\"'") for name, value in fields.items()}
    names = {fields.get("ID", ""), *fields.get("ID_LIKE", "").split()}
    family = next((family for family, members in _FAMILIES.items() if names & members), "other")
    return {
        "id": fields.get("ID"),
        "version_id": fields.get("VERSION_ID"),
        "family": family,
        "name": fields.get("PRETTY_NAME"),
    }


def image_version(image: str) -> Optional[str]:
    """``registry.example.org/kube-apiserver:v1.34.4`` -> ``1.34.4``; None without a version as tag."""
    found = _TAG.search(image or "")
    return found.group(1) if found else None


def container_of(pod: dict[str, Any], name: str) -> dict[str, Any]:
    """The container of a static pod that carries its name, else its first one."""
    containers = (pod.get("spec") or {}).get("containers") or [{}]
    return dict(next((c for c in containers if c.get("name") == name), containers[0]))


def argv_of_pod(pod: dict[str, Any], name: str) -> list[str]:
    """The command line of that container."""
    container = container_of(pod, name)
    return [*(container.get("command") or []), *(container.get("args") or [])]


def static_pod(pod: dict[str, Any], name: str, table: list[_process.Process]) -> dict[str, Any]:
    """A manifest beside the process that should run from it."""
    image = container_of(pod, name).get("image")
    argv = argv_of_pod(pod, name)
    running = _process.named(table, name)
    return {
        "image": image,
        "version": image_version(str(image)),
        "running": bool(running),
        "current": any(process.argv == argv for process in running),
        "pid": running[-1].pid if running else None,
        "started": round(running[-1].started, 2) if running else None,
        "flags": argv,
    }


def option_of(argv: list[str], flag: str) -> Optional[str]:
    """The value of ``--flag`` in a command line."""
    values = [value for found, value in _kubelet.flags_of_argv(argv) if found == flag]
    return values[-1] if values else None


def local_address(argv: list[str]) -> tuple[str, int]:
    """Where the API server of this host with that command line is asked, past any load balancer."""
    address = option_of(argv, "--advertise-address") or option_of(argv, "--bind-address") or ""
    return WILDCARDS.get(address, address), int(option_of(argv, "--secure-port") or 6443)


def local_server(access: Access, argv: list[str], timeout: float = 3.0) -> ApiServer:
    """That API server; ``timeout`` is the seconds that an answer may take."""
    return ApiServer(access, *local_address(argv), timeout)


def runtime_name(endpoint: Optional[str], table: list[_process.Process]) -> str:
    """Which container runtime the kubelet's socket belongs to."""
    if "containerd" in (endpoint or ""):
        return "containerd"
    if "crio" in (endpoint or ""):
        return "cri-o"
    if _process.named(table, "containerd"):
        return "containerd"
    return "cri-o" if _process.named(table, "crio") else "unknown"


def kubelet_patches(names: list[str]) -> list[tuple[str, str]]:
    """The kubeadm patches for the kubelet's configuration, in kubeadm's order, with how kubectl applies each."""
    found = []
    for name in sorted(names):
        match = _KUBELET_PATCH.match(name)
        if match:
            found.append((name, "json" if match.group(1) == "json" else "merge"))
    return found


def free_bytes(path: str) -> Optional[int]:
    """What root's own processes may still write there."""
    try:
        room = os.statvfs(path)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def addresses_in(shown: str) -> list[str]:
    """Addresses of ``ip -json address`` that others can reach; pod and bridge interfaces are left out."""
    found = []
    for link in json.loads(shown or "[]"):
        if str(link.get("ifname", "")).startswith(_POD_INTERFACES):
            continue
        found += [a["local"] for a in link.get("addr_info") or [] if a.get("scope") == "global" and "local" in a]
    return found


class Gatherer:
    """Reads one host. Each part fails by itself: what could not be read is null and said in ``problems``."""

    def __init__(self, kubeconfig: str, patches_dir: Optional[str] = None) -> None:
        self.kubeconfig = kubeconfig
        self.patches_dir = patches_dir
        self.problems: list[str] = []
        self.table = list(_process.processes())
        self.began = time.time()

    def part(self, look: Callable[[], Any]) -> Any:
        """The answer of ``look``, or None with a sentence in ``problems``."""
        try:
            return look()
        except CareError as error:
            self.problems.append(error.message)
        except (OSError, ValueError, KeyError) as error:
            self.problems.append(f"{getattr(look, '__name__', 'A part')} could not be read: {error!r}.")
        return None

    def node_name(self) -> Optional[str]:
        """The Node that this host's kubelet is, by its own client certificate."""
        pem = read_text(_KUBELET_CERTIFICATE)
        if pem is None and os.path.exists(KUBELET_CONF):
            pem = access_of(_offline.read_kubeconfig(KUBELET_CONF), KUBELET_CONF).certificate
        der = _certificate.der_of_pem(pem or "")
        name = _certificate.subject_common_name(der) if der else None
        return name[len(_NODE_PREFIX) :] if name and name.startswith(_NODE_PREFIX) else None

    def ca_sha256(self) -> Optional[str]:
        der = _certificate.der_of_pem(read_text(CA_FILE) or "")
        return _certificate.sha256(der) if der else None

    def objects(self) -> dict[str, dict[str, Any]]:
        """Static pod manifests and the kubelet's configuration by path, read by one kubectl."""
        paths = [f"{MANIFESTS}/{name}.yaml" for name in COMPONENTS] + [_kubelet.CONFIG_FILE]
        paths = [path for path in paths if os.path.isfile(path)]
        return dict(zip(paths, _offline.read_objects(paths))) if paths else {}

    def addresses(self) -> list[str]:
        return addresses_in(run(["ip", "-json", "address"], timeout=10).out)

    def packages(self) -> dict[str, Any]:
        manager = manager_of_host()
        if manager is None:
            return {"manager": "none", "installed": {}, "held": [], "interrupted": False}
        return manager.overview()

    def patches_fail_cgroup_v1(self) -> bool:
        """Whether a patch in ``patches_dir`` makes kubeadm write ``failCgroupV1: false``."""
        names = sorted(os.listdir(self.patches_dir)) if self.patches_dir and os.path.isdir(self.patches_dir) else []
        value = None
        for name, kind in kubelet_patches(names):
            set_to = _offline.apply_fragment(os.path.join(str(self.patches_dir), name), kind)
            value = set_to.get("failCgroupV1", value)
        return value is False

    def api(self, argv: list[str]) -> dict[str, Any]:
        """The local API server, asked past any load balancer."""
        address, port = local_address(argv)
        found: dict[str, Any] = {"address": address, "port": port, "reachable": False, "version": None}
        found.update(kube_system_uid=None, error=None)
        server = None
        try:
            access = access_of(_offline.read_kubeconfig(self.kubeconfig), self.kubeconfig)
            server = local_server(access, argv, 5.0)
            found["version"] = server.get("/version").get("gitVersion")
            found["reachable"] = True
            found["kube_system_uid"] = server.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        except (CareError, KeyError, ValueError, OSError) as error:
            found["error"] = str(error)
        finally:
            if server:
                server.close()
        return found

    def kubelet(self, unit: _kubelet.Unit, installed: Optional[str], config: dict[str, Any]) -> dict[str, Any]:
        process = _kubelet.running_kubelet(self.table, unit)
        files = _kubelet.sources(unit)
        rows = _kubelet.flags({path: read_text(path) or "" for path in files}, process.argv if process else [])
        found: dict[str, Any] = {"installed": installed, "running": None, "started": None, "stale": False}
        found.update(stale_because=[], fail_cgroup_v1=config.get("failCgroupV1"), flags=rows, pid=None)
        if process is None:
            return found
        path = _kubelet.installed_path()
        same = bool(path) and _kubelet.same_binary(process, str(path))
        config_file = option_of(process.argv, "--config") or _kubelet.CONFIG_FILE
        reasons = _kubelet.why_stale(
            process.started, same, unit.needs_reload, _kubelet.changed_times([config_file, *files])
        )
        running = installed if same else _kubelet.said_version([f"/proc/{process.pid}/exe", "--version"], run)
        found.update(running=running, started=round(process.started, 2), pid=process.pid)
        found.update(stale=bool(reasons), stale_because=reasons)
        return found

    def runtime(self, endpoint: Optional[str]) -> dict[str, Any]:
        name = runtime_name(endpoint, self.table)
        running = _process.named(self.table, {"containerd": "containerd", "cri-o": "crio"}.get(name, ""))
        version = _kubelet.said_version([f"/proc/{running[0].pid}/exe", "--version"], run) if running else None
        return {"name": name, "version": version, "endpoint": endpoint}

    def gather(self) -> dict[str, Any]:
        """The whole host; programs run side by side, for each costs a tenth of a second."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=6) as pool:

            def start(look: Callable[[], Any]) -> concurrent.futures.Future[Any]:
                return pool.submit(self.part, look)

            objects_later = start(self.objects)
            unit_later = start(lambda: _kubelet.look_at_unit(run))
            kubelet_later = start(lambda: _kubelet.said_version(["kubelet", "--version"], run))
            kubeadm_later = start(lambda: _kubelet.said_version(["kubeadm", "version", "-o", "short"], run))
            kubectl_later = start(lambda: _kubelet.said_version(["kubectl", "version", "--client", "-o", "json"], run))
            packages_later, addresses_later = start(self.packages), start(self.addresses)
            node_later, patches_later = start(self.node_name), start(self.patches_fail_cgroup_v1)

            objects = objects_later.result() or {}
            pods = {
                name: static_pod(objects[f"{MANIFESTS}/{name}.yaml"], name, self.table)
                for name in COMPONENTS
                if f"{MANIFESTS}/{name}.yaml" in objects
            }
            role = self.role()
            server = [p.argv for p in _process.named(self.table, "kube-apiserver")]
            argv = pods["kube-apiserver"]["flags"] if "kube-apiserver" in pods else (server or [[]])[-1]
            api_later = start(lambda: self.api(argv)) if role == "master" else None
            config = objects.get(_kubelet.CONFIG_FILE, {})
            unit = unit_later.result() or _kubelet.parse_unit("")
            kubelet = self.part(lambda: self.kubelet(unit, kubelet_later.result(), config)) or {}
            endpoint = _kubelet.flag_value(kubelet.get("flags", []), "--container-runtime-endpoint")
            runtime = self.part(lambda: self.runtime(endpoint or config.get("containerRuntimeEndpoint")))
            host = {
                "hostname": os.uname().nodename,
                "node_name": node_later.result(),
                "role": role,
                "machine_id": (read_text("/etc/machine-id") or "").strip() or None,
                "boot_id": (read_text("/proc/sys/kernel/random/boot_id") or "").strip() or None,
                "time": round(self.began, 2),
                "addresses": addresses_later.result() or [],
                "os": os_release(read_text("/etc/os-release") or ""),
                "python": platform.python_version(),
                "cgroup": 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1,
                "runtime": runtime,
                "kubelet": kubelet,
                "kubeadm": {"installed": kubeadm_later.result()},
                "kubectl": {"installed": kubectl_later.result()},
                "packages": packages_later.result(),
                "static_pods": pods,
                "ca_sha256": self.part(self.ca_sha256),
                "api": api_later.result() if api_later else None,
                "etcd": etcd_of(pods),
                "disk": self.disk(),
                "record": self.part(_record.load),
                "busy": _process.busy(self.table, os.getpid()),
                "patches": {self.patches_dir: names_in(self.patches_dir)} if self.patches_dir else {},
                "kubeadm_patches_fail_cgroup_v1": patches_later.result() or False,
            }
        host["problems"] = self.problems
        return host

    def role(self) -> str:
        """master: a static API server, or one that systemd runs; worker: a kubelet that has joined."""
        if os.path.exists(f"{MANIFESTS}/kube-apiserver.yaml"):
            return "master"
        for process in _process.named(self.table, "kube-apiserver"):
            if "kubepods" not in (read_text(f"/proc/{process.pid}/cgroup") or ""):
                return "master"
        return "worker" if os.path.exists(KUBELET_CONF) else "none"

    def disk(self) -> dict[str, int]:
        """Free bytes where an upgrade writes."""
        paths = ["/etc/kubernetes", "/var/lib/etcd", "/var/lib/containerd", "/var/lib/containers", "/var/cache/apt"]
        return {path: free for path in paths for free in [free_bytes(path)] if free is not None}


def names_in(directory: Optional[str]) -> list[str]:
    """Sorted names, none when it is not there."""
    return sorted(os.path.basename(path) for path in glob.glob(os.path.join(directory or "", "*")))


def etcd_of(pods: dict[str, dict[str, Any]]) -> Optional[dict[str, Any]]:
    """Version, place and size of a stacked etcd."""
    if "etcd" not in pods:
        return None
    data_dir = option_of(pods["etcd"]["flags"], "--data-dir") or "/var/lib/etcd"
    try:
        size: Optional[int] = os.stat(os.path.join(data_dir, "member/snap/db")).st_size
    except OSError:
        size = None
    version = pods["etcd"]["version"]
    return {"version": version.split("-")[0] if version else None, "data_dir": data_dir, "db_size": size}
