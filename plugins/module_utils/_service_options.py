# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a task may ask of a node's components, in which order that is done, and what it means."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import RUNTIME

# What may go at the same time, and what before the next: an API server ends quickly only while its etcd is there.
STOP_ORDER = (("kube-apiserver", "kube-controller-manager", "kube-scheduler"), ("etcd",), ("kubelet",), (RUNTIME,))
START_ORDER = ((RUNTIME,), ("kubelet",), ("etcd",), ("kube-apiserver",), ("kube-controller-manager", "kube-scheduler"))

MEANS = {
    "kubelet": (
        "The kubelet of this host is stopped: its pods go on running and serving, the Node becomes NotReady after 40 "
        "to 50 seconds and its pods are replaced elsewhere after their toleration (5 minutes by default). Static pods "
        "can neither be started nor changed until it runs again."
    ),
    RUNTIME: (
        "The container runtime of this host is stopped: containers that run go on as a rule, but none can be started, "
        "ended, probed by exec or looked at, and the Node becomes NotReady."
    ),
}


class Options(NamedTuple):
    """What the task asks for."""

    names: list[str]
    state: str
    restore_after: Optional[int]
    allow_outage: bool
    timeout: int
    grace_period: Optional[int]
    prove: str
    kubeconfig: str
    etcd: Access
    check_mode: bool


def in_order(names: list[str], order: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    """The names in waves: those of one may go at the same time."""
    waves = [[name for name in wave if name in names] for wave in order]
    return [wave for wave in waves if wave]


def wrong_options(options: Options) -> Optional[str]:
    """What does not fit together."""
    if not options.names:
        return "Option name is empty: name at least one component."
    if options.restore_after is None:
        return None
    if options.state != "stopped":
        return "restore_after only goes with state=stopped: the other states end with the component running."
    if options.restore_after != 0 and options.restore_after < 10:
        return "restore_after is in seconds and at least 10, or 0 to take a timer away."
    return None


def options_of(params: dict[str, Any], etcd: Access, check_mode: bool) -> Options:
    """The task's parameters as a run uses them."""
    return Options(
        names=params["name"],
        state=params["state"],
        restore_after=params["restore_after"],
        allow_outage=params["allow_outage"],
        timeout=params["timeout"],
        grace_period=params["grace_period"],
        prove=params["prove"],
        kubeconfig=params["kubeconfig"],
        etcd=etcd,
        check_mode=check_mode,
    )
