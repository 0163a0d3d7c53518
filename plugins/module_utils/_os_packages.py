# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Upgrading the packages of the operating system, those of Kubernetes held back."""

from __future__ import annotations

import re
import time
from typing import Protocol

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done, Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_apt import (
    KUBERNETES_PACKAGES,
    Apt,
    parse_simulation,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_choice import manager_of_host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_dnf import Dnf

# A changed configuration file stays as it is: nobody is there to answer. The node is drained, so services may restart.
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "a", "APT_LISTCHANGES_FRONTEND": "none"}
_KEEP = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]


class Manager(Protocol):
    """A package manager that can upgrade everything."""

    def refresh(self) -> None: ...

    def upgradable(self) -> list[str]: ...

    def upgrade(self) -> None: ...

    def installed(self) -> str: ...


def parse_dnf(said: str) -> list[str]:
    """Packages in ``dnf check-update``; what they make obsolete is listed after them and not counted."""
    rows = said.partition("Obsoleting Packages")[0].splitlines()
    return sorted({row.split()[0].rpartition(".")[0] for row in rows if re.match(r"^\S+\.\S+\s+\S+\s+\S+\s*$", row)})


class AptUpgrade:
    """By apt-get. Kubernetes packages are pinned to what is installed, as long as this runs, whether held or not."""

    def __init__(self, timeout: float, runner: Runner = run, root: str = "/") -> None:
        self._end = time.monotonic() + timeout
        self._apt = Apt(runner, timeout=int(timeout), root=root)
        self._runner = runner

    def refresh(self) -> None:
        self._run(["update"], "Reading the package lists")

    def upgradable(self) -> list[str]:
        """What an interrupted dpkg has left half-done is to be finished, too."""
        table = self._apt.table()
        done = self._run([*self._apt.pins(table.installed), "-s", "dist-upgrade"], "Looking for upgrades")
        return sorted({*parse_simulation(done.out), *self._apt.unfinished(table)})

    def upgrade(self) -> None:
        table = self._apt.table()
        if self._apt.unfinished(table):
            self._apt.mend()
        self._run([*self._apt.pins(table.installed), "-y", *_KEEP, "dist-upgrade"], "Upgrading the packages")

    def installed(self) -> str:
        return self._runner(["dpkg-query", "--show", "--showformat=${Status}|${binary:Package}|${Version}\\n"]).out

    def _run(self, arguments: list[str], what: str) -> Done:
        # On a terminal of its own dpkg would go on when apt-get is ended.
        argv = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0", *arguments]
        left = max(1.0, self._end - time.monotonic())
        return _good(self._apt.patiently(argv, _ENVIRONMENT, left), what, (0,))


class DnfUpgrade:
    """By dnf, which can leave packages out."""

    def __init__(self, timeout: float, runner: Runner = run) -> None:
        self._dnf = Dnf(runner)
        self._runner = runner
        self._end = time.monotonic() + timeout
        self._left_out = ["--exclude=" + ",".join(KUBERNETES_PACKAGES)]

    def refresh(self) -> None:
        # Else it trusts what it has for two days (metadata_expire); the answer is to a key that a repository names.
        self._run(["dnf", "-qy", "--refresh", "makecache"], "Reading the package lists", (0,))

    def upgradable(self) -> list[str]:
        # It ends with 100 when there are some.
        done = self._run(["dnf", "-q", "check-update", *self._left_out], "Looking for upgrades", (0, 100))
        return parse_dnf(done.out)

    def upgrade(self) -> None:
        self._run(["dnf", "-qy", "upgrade", *self._left_out], "Upgrading the packages", (0,))

    def installed(self) -> str:
        return "\n".join(sorted(self._runner(["rpm", "-qa"], timeout=120).out.split()))

    def _run(self, argv: list[str], what: str, good: tuple[int, ...]) -> Done:
        left = max(1.0, self._end - time.monotonic())
        return _good(self._dnf.patiently(argv, left, _ENVIRONMENT), what, good)


def manager(timeout: float, runner: Runner = run) -> Manager:
    """The host's own.

    :raises CareError: it has none that is known here.
    """
    found = manager_of_host(runner)
    if found is None:
        raise CareError(
            "This host has neither apt nor dnf, and no other package manager is supported, such as zypper: upgrade its "
            "packages by a tasks file of your own."
        )
    return AptUpgrade(timeout, runner) if found.name == "apt" else DnfUpgrade(timeout, runner)


def _good(done: Done, what: str, good: tuple[int, ...]) -> Done:
    if done.rc not in good:
        raise CareError(f"{what} failed ({' '.join(done.argv[:1])} ended with {done.rc}): {done.last_words}")
    return done
