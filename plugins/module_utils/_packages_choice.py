# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Which package manager a host has."""

from __future__ import annotations

import shutil
from typing import Optional, Union

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, environment, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_apt import Apt
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_dnf import Dnf


def manager_of_host(runner: Runner = run, lock_timeout: int = 120, timeout: int = 1200) -> Optional[Union[Apt, Dnf]]:
    """apt where dpkg stands beside it, else dnf beside rpm, else None."""
    path = environment()["PATH"]
    if shutil.which("apt-get", path=path) and shutil.which("dpkg-query", path=path):
        return Apt(runner, lock_timeout, timeout)
    if shutil.which("dnf", path=path) and shutil.which("rpm", path=path):
        return Dnf(runner, lock_timeout, timeout)
    return None
