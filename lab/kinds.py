# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs a lab's control plane and its etcd: static pods of kubeadm, or systemd units on the masters.

Told by the masters' disks, not by a record: so it goes with every save, and cannot be wrong.
"""

from __future__ import annotations

from typing import NamedTuple

from .errors import LabError
from .state import Lab, Machine

STATIC_PODS, SYSTEMD = "static-pods", "systemd"
STACKED, EXTERNAL = "stacked", "external"
UNITS = "etc/systemd/system"


class Kind(NamedTuple):
    """By what each part is run."""

    control_plane: str = STATIC_PODS
    etcd: str = STATIC_PODS

    @property
    def words(self) -> str:
        if self == Kind():
            return ""
        return "control plane and etcd by systemd" if self.control_plane == SYSTEMD else "etcd by systemd"


def choose(control_plane: str, etcd: str, workers: int) -> Kind:
    """From what was asked for.

    :raises LabError: when it does not go together.
    """
    if control_plane != SYSTEMD:
        return Kind(STATIC_PODS, SYSTEMD if etcd == EXTERNAL else STATIC_PODS)
    if etcd == EXTERNAL:
        raise LabError("With --control-plane systemd etcd is a systemd unit anyway.", "leave --etcd out")
    if workers < 1:
        raise LabError("With --control-plane systemd masters are no nodes, so one worker at least is needed.")
    return Kind(SYSTEMD, SYSTEMD)


def of(lab: Lab) -> Kind:
    """What a lab is; kubeadm's own when its disks cannot be seen."""

    def unit(name: str) -> str:
        masters = lab.of_role("master")
        there = masters and (lab.root(masters[0].name) / UNITS / f"{name}.service").exists()
        return SYSTEMD if there else STATIC_PODS

    return Kind(unit("kube-apiserver"), unit("etcd"))


def nodes(lab: Lab) -> list[Machine]:
    """The machines that are nodes of the cluster: without static pods a master has no kubelet."""
    masters = [] if of(lab).control_plane == SYSTEMD else lab.of_role("master")
    return [*masters, *lab.of_role("worker")]
