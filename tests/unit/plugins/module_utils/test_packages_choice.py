# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which package manager a host has, by the programs that are there."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_choice import manager_of_host


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    there: set[str] = set()
    monkeypatch.setattr(shutil, "which", lambda name, **_options: f"/usr/bin/{name}" if name in there else None)
    return there


@pytest.mark.parametrize(
    ("there", "name"),
    [
        (["apt-get", "dpkg-query", "rpm", "dnf"], "apt"),
        (["dnf", "rpm", "yum"], "dnf"),
        (["yum", "rpm"], None),
        (["zypper", "rpm"], None),
        ([], None),
    ],
    ids=str,
)
def test_the_package_manager_of_a_host(there: list[str], name: str | None, programs: set[str]) -> None:
    programs.update(there)
    found = manager_of_host()
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("module", "options", "way_out"),
    [
        ("kube_packages", {"state": "available", "version": "1.35.4"}, "upgrade_manage_packages=false"),
        ("os_packages", {"state": "available"}, "a tasks file of your own"),
    ],
)
def test_a_host_with_another_one_is_refused_and_told_the_way_out(
    module: str, options: dict[str, Any], way_out: str, programs: set[str], run_module: Any
) -> None:
    programs.update({"zypper", "rpm"})
    result = run_module(module, options)
    assert result["failed"] and "no other package manager is supported, such as zypper" in result["msg"]
    assert way_out in result["msg"]
