# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import cgroups
from lab.cgroups import parse_mounts, tracking

HYBRID = """25 1 0:22 / /proc rw - proc proc rw
30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
31 29 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
32 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 29 0:29 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw
"""
UNIFIED = "30 29 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("mounts", "found", "tracked"),
    [
        (HYBRID, [("cpu", 1), ("cpuset", 1), ("systemd", 1), ("unified", 2)], "/sys/fs/cgroup/systemd"),
        (UNIFIED, [("cgroup", 2)], "/sys/fs/cgroup"),
    ],
)
def test_layouts(mounts: Any, found: Any, tracked: Any) -> None:
    hierarchies = parse_mounts(mounts)
    assert [(h.mount.name, h.version) for h in hierarchies] == found
    assert tracking(hierarchies).mount == Path(tracked)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plain folders in the place of the kernel's: paths and contents are what is tested."""

    def build(mounts: str) -> Path:
        text = mounts.replace("/sys/fs/cgroup", str(tmp_path))
        monkeypatch.setattr(cgroups, "hierarchies", lambda: parse_mounts(text))
        return tmp_path

    return build


def test_version_1_gives_a_machine_a_group_in_every_hierarchy_and_the_host_part_one(folders: Any) -> None:
    top = folders(HYBRID)
    for level in (top / "cpuset", top / "cpuset/clustercare-lab", top / "cpuset/clustercare-lab/demo"):
        level.mkdir()
        (level / "cpuset.cpus").write_text("0-1\n" if level.name == "cpuset" else "\n")
        (level / "cpuset.mems").write_text("0\n" if level.name == "cpuset" else "\n")
    machine = top / "cpuset/clustercare-lab/demo/w1"
    machine.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        (machine / name).write_text("\n")
    lists = cgroups.create("demo", "w1")
    assert sorted(path.parents[3].name for path in lists) == ["cpu", "cpuset", "systemd", "unified"]
    assert (machine / "cpuset.cpus").read_text() == "0-1\n"
    assert [path.parents[3].name for path in cgroups.create("demo", cgroups.HOST)] == ["systemd"]


def test_version_2_hands_the_controllers_down_to_the_machine(folders: Any) -> None:
    top = folders(UNIFIED)
    levels = [top, top / "clustercare-lab", top / "clustercare-lab/demo"]
    for level in levels:
        level.mkdir(exist_ok=True)
        (level / "cgroup.controllers").write_text("memory\n")
    cgroups.create("demo", "w1")
    assert [(level / "cgroup.subtree_control").read_text() for level in levels] == ["+memory"] * 3


def test_processes_are_found_in_the_groups_below(folders: Any) -> None:
    top = folders(UNIFIED)
    inner = top / "clustercare-lab/demo/w1/payload"
    inner.mkdir(parents=True)
    (inner / "cgroup.procs").write_text("12\n13\n")
    (top / "clustercare-lab/demo/cgroup.procs").write_text("11\n")
    assert sorted(cgroups.pids("demo")) == [11, 12, 13]
    assert sorted(cgroups.pids("demo", "w1")) == [12, 13]
    assert cgroups.pids("nobody") == []
