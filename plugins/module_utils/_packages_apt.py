# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Kubernetes packages by apt and dpkg."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

_JOURNAL = "/var/lib/dpkg/updates"
_UNFINISHED = set("HUFWt")  # half-installed, unpacked, half-configured, triggers awaited, triggers pending
_FORMAT = "${db:Status-Abbrev}|${Package}|${Version}\\n"
KUBERNETES_PACKAGES = ("kubeadm", "kubelet", "kubectl", "cri-tools", "kubernetes-cni")


class DpkgTable(NamedTuple):
    """What dpkg knows: versions and holds of the Kubernetes packages, and what is unfinished of all packages."""

    installed: dict[str, str]
    held: list[str]
    unfinished: list[str]


def parse_dpkg(table: str) -> DpkgTable:
    """Read ``dpkg-query -W`` in our format; the three letters are wanted, status, error."""
    installed, held, unfinished = {}, [], []
    for line in table.splitlines():
        state, _bar, rest = line.partition("|")
        name, _bar, version = rest.partition("|")
        if len(state) < 2:
            continue
        if state[1] in _UNFINISHED or state[2:3] == "R":
            unfinished.append(name)
        if name in KUBERNETES_PACKAGES and state[1] not in "nc":
            installed[name] = version
            if state[0] == "h":
                held.append(name)
    return DpkgTable(installed, sorted(held), sorted(set(unfinished)))


class Apt:
    """The package manager of the Debian family."""

    name = "apt"

    def __init__(self, runner: Runner = run) -> None:
        self.runner = runner

    def table(self) -> DpkgTable:
        done = self.runner(["dpkg-query", "--show", f"--showformat={_FORMAT}"])
        if done.rc != 0:
            raise CareError(f"dpkg does not tell what is installed: {done.last_words}")
        return parse_dpkg(done.out)

    def overview(self) -> dict[str, Any]:
        """Installed and held Kubernetes packages, and whether dpkg was interrupted."""
        table = self.table()
        interrupted = bool(table.unfinished) or bool(os.path.isdir(_JOURNAL) and os.listdir(_JOURNAL))
        return {"manager": self.name, "installed": table.installed, "held": table.held, "interrupted": interrupted}
