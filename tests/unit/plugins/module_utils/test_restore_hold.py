# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_hold
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

UNITS = ["etcd.service", "kube-apiserver.service"]


class Systemd:
    def __init__(self, rc: int = 0) -> None:
        self.rc = rc
        self.argvs: list[list[str]] = []

    def __call__(self, argv: list[str], **_more: object) -> Done:
        self.argvs.append(argv)
        return Done(argv, self.rc, "", "no")


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_restore_hold, "DIRECTORY", str(tmp_path))
    return tmp_path


def test_a_unit_is_held_by_a_file_that_is_its_own_condition(units: Path) -> None:
    systemd = Systemd()
    _restore_hold.hold(UNITS, systemd)
    for unit in UNITS:
        (path,) = (units / f"{unit}.d").iterdir()
        assert f"ConditionPathExists=!{path}\n" in path.read_text()
    assert systemd.argvs == [["systemctl", "daemon-reload"]]
    _restore_hold.hold(UNITS, systemd)
    assert len(systemd.argvs) == 1


def test_what_is_released_leaves_nothing_behind(units: Path) -> None:
    systemd = Systemd()
    theirs = units / "etcd.service.d" / "10-theirs.conf"
    theirs.parent.mkdir()
    theirs.touch()
    _restore_hold.hold(UNITS, systemd)
    _restore_hold.release(UNITS, systemd)
    assert sorted(units.rglob("*")) == [theirs.parent, theirs]
    assert len(systemd.argvs) == 2
    _restore_hold.release(UNITS, systemd)
    assert len(systemd.argvs) == 2


def test_a_systemd_that_does_not_take_it_is_told_of(units: Path) -> None:
    with pytest.raises(CareError, match="does not read"):
        _restore_hold.hold(UNITS, Systemd(rc=1))


def test_a_unit_that_is_held_forgets_whom_it_was_told_to_join(units: Path) -> None:
    systemd = Systemd()
    for kind in ("conf", "env", "json"):
        path = Path(_restore_hold.told_path("etcd.service", kind))
        path.parent.mkdir(exist_ok=True)
        path.touch()
    _restore_hold.hold(["etcd.service"], systemd)
    assert [path.name for path in units.rglob("*.*") if path.is_file()] == [_restore_hold.NAME]
    assert systemd.argvs == [["systemctl", "daemon-reload"]]
    # Held already, as after a restart in the middle of a roll-back.
    Path(_restore_hold.told_path("etcd.service", "conf")).touch()
    _restore_hold.hold(["etcd.service"], systemd)
    assert len(systemd.argvs) == 2
    _restore_hold.release(["etcd.service"], systemd)
    assert list(units.rglob("*")) == []
