# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _os_packages
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

SIMULATED = """
Inst libssl3 [3.0.11-1] (3.0.15-1 Debian:12 [amd64])
Inst kubectl [1.34.4-1.1] (1.34.5-1.1 kubernetes [amd64])
Remv old-thing [1.0]
Conf libssl3 (3.0.15-1 Debian:12 [amd64])
"""
CHECK_UPDATE = """
openssl-libs.x86_64          1:3.0.7-27.el9          baseos
kernel.x86_64                5.14.0-427.13.1.el9_4   baseos
Obsoleting Packages
grub2-tools.x86_64           1:2.06-77.el9           baseos
"""
DPKG = "hi |kubeadm|1.34.4-1.1\nhi |kubelet|1.34.4-1.1\nii |kubectl|1.34.4-1.1\nii |bash|5.2\n"


class Host:
    """Answers what the programs would, and remembers what was run."""

    def __init__(self, fails: str = "") -> None:
        self.ran: list[str] = []
        self.fails = fails

    def __call__(self, argv: list[str], **options: Any) -> Done:
        line = " ".join(argv)
        self.ran.append(line)
        out = DPKG if argv[0] == "dpkg-query" else SIMULATED if "-s" in argv else ""
        out = CHECK_UPDATE if "check-update" in argv else out
        rc = 100 if "check-update" in argv else 0
        if self.fails and self.fails in line:
            return Done(argv, 100, "", "E: it went wrong")
        return Done(argv, rc, out, "")

    def lines(self, word: str) -> list[str]:
        return [line for line in self.ran if word in line]


def test_what_would_be_upgraded_leaves_out_kubernetes() -> None:
    assert _os_packages.AptUpgrade(60, Host()).upgradable() == ["libssl3", "old-thing"]
    host = Host()
    assert _os_packages.DnfUpgrade(60, host).upgradable() == ["kernel", "openssl-libs"]
    assert "--exclude=kubeadm,kubelet,kubectl" in host.ran[0]


def test_what_nobody_held_is_held_for_the_upgrade_only() -> None:
    host = Host()
    _os_packages.AptUpgrade(60, host).upgrade()
    steps = [line for line in host.ran if line.startswith("apt")]
    assert steps[0] == "apt-mark hold kubectl" and steps[-1] == "apt-mark unhold kubectl"
    assert "dist-upgrade" in steps[1] and "--force-confold" in steps[1] and len(steps) == 3


def test_the_hold_is_given_back_when_the_upgrade_fails() -> None:
    host = Host(fails="dist-upgrade")
    with pytest.raises(CareError, match=r"Upgrading the packages failed.*it went wrong"):
        _os_packages.AptUpgrade(60, host).upgrade()
    assert host.lines("unhold") == ["apt-mark unhold kubectl"]
