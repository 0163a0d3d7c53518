# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a master does by itself when nobody comes back, on a host of files with a kubelet that follows its manifests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_hold, _restore_state, _restore_undo
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_dead_man import copy_code
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import Places, swap
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost

NO_ACCESS = Access("https://127.0.0.1:2379", None, None, None)
COMPONENTS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]


class World:
    """A master in the middle of a restore.

    :param by_systemd: what runs as units there; all else are static pods.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, by_systemd: tuple[str, ...] = ()) -> None:
        self.fake = FakeHost(root)
        self.units = {name: f"{name}.service" for name in by_systemd}
        self.holds = root / "units"
        monkeypatch.setattr(_restore_hold, "DIRECTORY", str(self.holds))
        if len(by_systemd) < len(COMPONENTS):
            self.fake.start_unit("kubelet.service", "/usr/bin/kubelet", age=500)
        self.places = Places(str(root / "etcd"), str(root / "room"))
        for path, text in ((self.places.live, "old"), (self.places.new, "new")):
            os.makedirs(path)
            Path(path, "db").write_text(text)
        for name in COMPONENTS:
            flags = [f"--data-dir={self.places.data_dir}"] if name == "etcd" else []
            if name in by_systemd:
                self.fake.start_unit(f"{name}.service", name, *flags)
                continue
            self.fake.write(name, *flags)
            self.fake.start_pod(name)
        self.fake.take_the_clock(monkeypatch)
        monkeypatch.setattr(_restore_undo, "QuickHost", lambda *_arguments, **_more: self.fake.host)

    def at(self, phase: str, **more: Any) -> None:
        state = {
            "run": "r1",
            "data_dir": self.places.data_dir,
            "room": self.places.room,
            "had_data": True,
            "access": ["https://127.0.0.1:2379", None, None, None],
            "kubeconfig": "/nowhere",
            "units": self.units,
            **more,
        }
        _restore_state.save(state, phase, str(self.fake.state))

    def park(self, *names: str) -> None:
        """Stop these, as a restore does."""
        _restore_hold.hold([self.units[name] for name in names if name in self.units], self.fake.runner)
        for name in names:
            if name in self.units:
                self.fake.runner(["systemctl", "stop", "--no-block", self.units[name]])
                continue
            parking = Path(self.fake.host.parking(name))
            parking.mkdir(parents=True, exist_ok=True)
            os.rename(self.fake.manifests / f"{name}.yaml", parking / f"{name}.yaml")
        self.fake.tick()

    def undo(self) -> str:
        said = _restore_undo.undo(str(self.fake.state), "r1", self.fake.runner)
        self.fake.tick()
        return said

    @property
    def data(self) -> str:
        return Path(self.places.live, "db").read_text()

    @property
    def held(self) -> list[str]:
        return sorted(path.parent.name for path in self.holds.rglob("*.conf"))

    @property
    def manifests(self) -> list[str]:
        return sorted(path.stem for path in self.fake.manifests.glob("[!.]*"))

    @property
    def phase(self) -> str:
        state = _restore_state.load(str(self.fake.state))
        assert state is not None
        return str(state["phase"])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.mark.parametrize("phase", ["stopping", "stopped", "swapping", "swapped", "starting", "started", "rolling_back"])
def test_before_all_agree_the_old_data_and_all_manifests_come_back(world: World, phase: str) -> None:
    world.park(*COMPONENTS)
    if _restore_state.rank(phase) >= _restore_state.rank("swapped"):
        swap(world.places)
    if phase == "started":
        os.rename(Path(world.fake.host.parking("etcd"), "etcd.yaml"), world.fake.manifests / "etcd.yaml")
        world.fake.tick()
    before = world.fake.pids("etcd")
    world.at(phase)
    world.undo()
    assert world.data == "old"
    assert world.manifests == COMPONENTS
    assert world.phase == "rolled_back"
    assert not set(before) & set(world.fake.pids("etcd")), "an etcd that ran on the new data still runs"


@pytest.mark.parametrize("phase", ["agreed", "serving"])
def test_once_all_agree_the_new_data_stays_and_is_served(world: World, phase: str) -> None:
    world.park("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    swap(world.places)
    world.at(phase)
    world.undo()
    assert world.data == "new"
    assert world.manifests == COMPONENTS
    assert world.phase == "serving"


BY_SYSTEMD = [tuple(COMPONENTS), ("etcd",)]


@pytest.mark.parametrize("by_systemd", BY_SYSTEMD)
@pytest.mark.parametrize("phase", ["stopping", "swapped", "started"])
def test_units_get_the_old_data_back_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, by_systemd: tuple[str, ...]
) -> None:
    world = World(tmp_path, monkeypatch, by_systemd)
    world.park(*COMPONENTS)
    assert world.held == sorted(f"{name}.service.d" for name in by_systemd)
    if phase != "stopping":
        swap(world.places)
    if phase == "started":
        _restore_hold.release(["etcd.service"], world.fake.runner)
        world.fake.runner(["systemctl", "start", "--no-block", "etcd.service"])
    before = world.fake.pids("etcd")
    world.at(phase)
    world.undo()
    assert (world.data, world.phase, world.held) == ("old", "rolled_back", [])
    assert all(world.fake.pids(name) for name in COMPONENTS)
    assert not set(before) & set(world.fake.pids("etcd")), "an etcd that ran on the new data still runs"


@pytest.mark.parametrize("by_systemd", BY_SYSTEMD)
def test_once_all_agree_units_are_started_on_the_new_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_systemd: tuple[str, ...]
) -> None:
    world = World(tmp_path, monkeypatch, by_systemd)
    world.park("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    swap(world.places)
    world.at("agreed")
    world.undo()
    assert (world.data, world.phase, world.held) == ("new", "serving", [])
    assert all(world.fake.pids(name) for name in COMPONENTS)


def test_a_unit_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, tuple(COMPONENTS))
    world.fake.deaf.add("kube-apiserver.service")
    began = world.fake.now
    _restore_undo.operate(world.fake.host, NO_ACCESS, "/nowhere", _restore_undo.SERVERS, "stopped", 120)
    assert world.fake.pids("kube-apiserver") == []
    assert world.fake.now - began < 10
    assert ["systemctl", "kill", "--signal=SIGKILL", "kube-apiserver.service"] in world.fake.argvs


@pytest.mark.parametrize(("phase", "served"), [("agreed", False), ("joining", False), ("joined", True)])
def test_a_master_without_data_serves_only_what_it_has_joined(world: World, phase: str, served: bool) -> None:
    world.park(*COMPONENTS)
    swap(world.places)
    world.at(phase, joins=True)
    world.undo()
    assert world.data == "new"
    assert world.manifests == (COMPONENTS if served else [])
    assert world.phase == phase


@pytest.mark.parametrize("phase", ["staged", "armed", "finished", "done", "rolled_back"])
def test_where_nothing_is_half_done_nothing_is_touched(world: World, phase: str) -> None:
    before = {name: world.fake.pids(name) for name in COMPONENTS}
    world.at(phase)
    world.undo()
    assert world.data == "old"
    assert {name: world.fake.pids(name) for name in COMPONENTS} == before


def test_a_timer_of_an_earlier_run_touches_nothing(world: World) -> None:
    world.at("swapped", run="r2")
    assert "nothing was done" in world.undo()
    assert world.data == "old"


def test_the_copied_code_runs_without_ansible(world: World, tmp_path: Path) -> None:
    world.at("armed")
    code = tmp_path / "code"
    copy_code(str(code))
    program = (
        f"import sys; sys.path[:] = [{str(code)!r}] + [p for p in sys.path if 'site-packages' not in p and p];"
        "from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import undo;"
        "assert 'ansible' not in sys.modules; import json;"
        f"print(json.dumps(undo({str(world.fake.state)!r}, 'r1')))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "armed" in json.loads(done.stdout)
