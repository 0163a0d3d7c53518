# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Kubernetes packages by dnf and rpm."""

from __future__ import annotations

from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run

KUBERNETES_PACKAGES = ("kubeadm", "kubelet", "kubectl", "cri-tools", "kubernetes-cni")


def parse_rpm(said: str) -> dict[str, str]:
    """Read ``rpm -q`` in our format; packages that are not installed are sentences and left out."""
    pairs = (line.split("|") for line in said.splitlines() if line.count("|") == 1)
    return {name: version for name, version in pairs if name in KUBERNETES_PACKAGES}


class Dnf:
    """The package manager of the Red Hat family."""

    name = "dnf"

    def __init__(self, runner: Runner = run) -> None:
        self.runner = runner

    def installed(self) -> dict[str, str]:
        return parse_rpm(
            self.runner(["rpm", "-q", "--queryformat", "%{NAME}|%{VERSION}-%{RELEASE}\\n", *KUBERNETES_PACKAGES]).out
        )

    def overview(self) -> dict[str, Any]:
        return {"manager": self.name, "installed": self.installed(), "held": [], "interrupted": False}
