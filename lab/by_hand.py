# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Masters whose etcd, or whole control plane, is systemd units: programs, certificates, start, workers' kubelets.

Certificates and kubeconfigs are made by kubeadm's phases, as the tutorials do it today; nothing else knows kubeadm.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import binaries, cluster, components, images, kinds, kubeadm, machines, remote, state, units
from .artifact import write
from .errors import LabError
from .kinds import Kind
from .processes import wait_for
from .progress import Progress
from .shell import run
from .state import Lab, Machine

ETCD_CA = ("etcd/ca.crt", "etcd/ca.key")
CAS = (*ETCD_CA, "ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub")
ETCD_PHASES = [
    f"certs {name}"
    for name in ("etcd-ca", "etcd-server", "etcd-peer", "etcd-healthcheck-client", "apiserver-etcd-client")
]
# No kubelet.conf: a master without a kubelet is no node.
PHASES = ["certs all"] + [f"kubeconfig {name}" for name in ("admin", "super-admin", "controller-manager", "scheduler")]
START_SECONDS = 120


def furnish(lab: Lab, kind: Kind, progress: Progress) -> None:
    """Programs and units on the masters' disks, before their first start. The units start nothing yet."""
    masters = lab.of_role("master")
    sources = _programs(lab, kind, progress)
    for machine in masters:
        root = lab.root(machine.name)
        texts = {units.ETCD: units.etcd(lab.addresses, masters, machine)}
        if kind.control_plane == kinds.SYSTEMD:
            texts |= units.control_plane(lab.addresses, masters, machine)
            for idle in ("kubelet", "containerd"):
                (root / kinds.UNITS / "multi-user.target.wants" / f"{idle}.service").unlink(missing_ok=True)
        for name, text in texts.items():
            write(root / kinds.UNITS / f"{name}.service", text)
        for source in sources:
            # From the first machine on the bytes are in the machines' own file system, where copies share them.
            run(["cp", "--reflink=auto", source, root / units.PROGRAMS.lstrip("/")])
        sources = [root / units.PROGRAMS.lstrip("/") / source.name for source in sources]


def _programs(lab: Lab, kind: Kind, progress: Progress) -> list[Path]:
    wanted = [components.etcd(images.etcd_version(images.load_names(lab.kubernetes)))]
    if kind.control_plane == kinds.SYSTEMD:
        wanted.append(components.kubernetes(lab.kubernetes))
    found: list[Path] = []
    for component in wanted:
        programs = binaries.Binaries(progress).find(component)
        if programs is None:
            raise LabError(
                f"The programs of {component.name} {component.version} are not in the cache any more.",
                f"lab/lab prepare --kubernetes {lab.kubernetes}",
            )
        names = units.CONTROL_PLANE if component.name == "kubernetes" else component.files
        found += [programs.path(name) for name in names]
    return found


def form_etcd(lab: Lab, progress: Progress) -> list[str]:
    """Start etcd on the masters, for kubeadm to use. Returns its endpoints."""
    masters = lab.of_role("master")
    _certify(lab, kubeadm.Secrets(), ETCD_PHASES, ETCD_CA)
    for machine in masters[1:]:
        # As kubeadm's own guide has it: the key of etcd's CA is on one host only.
        (_pki(lab, machine) / "etcd/ca.key").unlink()
    _start(lab, masters, [units.ETCD], progress)
    return units.client_urls(lab.addresses, masters)


def form(lab: Lab, progress: Progress, fail_cgroup_v1: bool = False) -> None:
    """Make one cluster of all masters and workers, which are starting, without kubeadm's static pods."""
    keys = kubeadm.Secrets()
    masters, workers = lab.of_role("master"), lab.of_role("worker")
    first = masters[0]
    config = _certify(lab, keys, PHASES, CAS)
    state.write_private(lab.kubeconfig, (lab.root(first.name) / "etc/kubernetes/admin.conf").read_text())
    _start(lab, masters, [units.ETCD, *units.CONTROL_PLANE], progress)
    if not wait_for(lambda: cluster.ask(lab, "get", "--raw", "/readyz", check=False).rc == 0, START_SECONDS, 0.3):
        raise LabError(f"The API at {lab.addresses.api} was not ready within {START_SECONDS} s.", _journal(lab, first))
    for phase in ("bootstrap-token", "addon all"):
        cluster.run_kubeadm(lab, first, f"init phase {phase}", config)
    _at_once(lambda machine: _join(lab, machine, keys.token, fail_cgroup_v1, progress), workers)


def _join(lab: Lab, machine: Machine, token: str, fail_cgroup_v1: bool, progress: Progress) -> None:
    machines.await_ssh(lab, machine.name)
    root = lab.root(machine.name)
    _copy(_pki(lab, lab.of_role("master")[0]), _pki(lab, machine), ["ca.crt"])
    write(root / "var/lib/kubelet/config.yaml", units.kubelet(lab.addresses, fail_cgroup_v1))
    bootstrap, own = (root / "etc/kubernetes" / name for name in ("bootstrap-kubelet.conf", "kubelet.conf"))
    state.write_private(bootstrap, units.bootstrap_kubeconfig(lab.addresses, token))
    remote.run(lab, machine.name, ["sudo", "systemctl", "restart", "kubelet"], timeout=60)
    if not wait_for(own.exists, START_SECONDS, 0.3):
        raise LabError(
            f"The kubelet of {machine.name} got no certificate within {START_SECONDS} s.",
            f"lab/lab ssh --name {lab.name} {machine.name} sudo journalctl -u kubelet",
        )
    bootstrap.unlink()
    progress(f"{machine.name} joined")


def _certify(lab: Lab, keys: kubeadm.Secrets, phases: Sequence[str], shared: Sequence[str]) -> str:
    """Run kubeadm's phases on all masters, which then have the same authorities. Returns the first one's config."""
    first, *others = lab.of_role("master")

    def certify(machine: Machine) -> str:
        machines.await_ssh(lab, machine.name)
        if machine is not first:
            _copy(_pki(lab, first), _pki(lab, machine), shared)
        config = kubeadm.init_config(lab.addresses, machine.octet, lab.kubernetes, keys)
        for phase in phases:
            cluster.run_kubeadm(lab, machine, f"init phase {phase}", config)
        return config

    config = certify(first)
    _at_once(certify, others)
    return config


def _start(lab: Lab, masters: Sequence[Machine], names: Sequence[str], progress: Progress) -> None:
    """On all masters at once: no etcd is ready before most of them are."""

    def enable(machine: Machine) -> None:
        remote.run(lab, machine.name, ["sudo", "systemctl", "enable", "--now", "--no-block", *names], timeout=60)

    def active(machine: Machine) -> bool:
        return remote.run(lab, machine.name, ["systemctl", "is-active", *names], check=False, timeout=10).rc == 0

    _at_once(enable, masters)
    for machine in masters:
        if not wait_for(lambda machine=machine: active(machine), START_SECONDS, 0.3):  # type: ignore[misc]
            what = f"Not all of {', '.join(names)} run on {machine.name} after {START_SECONDS} s."
            raise LabError(what, _journal(lab, machine))
        progress(f"{machine.name}: {', '.join(names)} {'runs' if len(names) == 1 else 'run'}")


def _at_once(act: Callable[[Machine], object], on: Sequence[Machine]) -> None:
    if on:
        with ThreadPoolExecutor(len(on)) as pool:
            for _ in pool.map(act, on):
                pass


def _pki(lab: Lab, machine: Machine) -> Path:
    return lab.root(machine.name) / kubeadm.PKI.lstrip("/")


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def _journal(lab: Lab, machine: Machine) -> str:
    return f"lab/lab ssh --name {lab.name} {machine.name} sudo journalctl -p warning"
