# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a person is told whose machine cannot run the lab."""

from __future__ import annotations

import dataclasses

import pytest

from lab import requirements
from lab.requirements import GIGABYTE, TOOLS, Host

GOOD = Host(
    uid=0,
    missing=(),
    file_systems=frozenset({"btrfs", "overlay", "ext4"}),
    cgroup=1,
    nspawn=252,
    memory=24 * GIGABYTE,
    disk=70 * GIGABYTE,
)


def test_a_good_host_hears_nothing() -> None:
    assert requirements.problems(GOOD) == []
    assert requirements.problems(dataclasses.replace(GOOD, cgroup=2, nspawn=257)) == []


@pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ({"uid": 1000}, "needs root", "sudo"),
        ({"missing": (TOOLS[1],)}, "btrfs is not there", "apt-get install btrfs-progs"),
        ({"file_systems": frozenset({"btrfs"})}, "no overlay file system", "modprobe overlay"),
        ({"cgroup": 0}, "No control groups", "mount -t cgroup2"),
        ({"cgroup": 1, "nspawn": 257}, "systemd-nspawn 257 refuses", "cgroup v2"),
        ({"memory": 2 * GIGABYTE}, "this host has 2.0 GB", "bigger machine"),
        ({"disk": GIGABYTE}, "has 1.0 GB of free disk", "LAB_CACHE"),
    ],
)
def test_one_missing_thing_is_one_sentence_with_its_remedy(change: dict[str, object], said: str, remedy: str) -> None:
    found = requirements.problems(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]

    assert len(found) == 1
    assert said in found[0].message
    assert remedy in found[0].remedy


def test_missing_packages_are_one_command() -> None:
    two = tuple(tool for tool in TOOLS if tool.package in ("haproxy", "btrfs-progs"))
    error = requirements.summary(requirements.problems(dataclasses.replace(GOOD, uid=1, missing=two)))

    assert "apt-get install btrfs-progs haproxy " in error.remedy
    assert "sudo" in error.remedy
    assert error.message.count("\n") == 3, "root, and the three commands that are missing"
