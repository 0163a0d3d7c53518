# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A restore does not cut into the work of others without being told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record, _restore_look
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_api import lock_now
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_others import others_at_work
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch

RENEWED = epoch("2026-01-01T00:00:00Z")
MACHINE = {"machine_id": "m1", "boot_id": "b1", "hostname": "bastion", "pid_namespace": "pid:[4026531836]"}
ME = {**MACHINE, "first_namespace": True, "pid": 99, "start": 5, "running": [{"pid": 99, "start": 5}]}


def lease(**notes: str) -> dict[str, Any]:
    told = {**MACHINE, "purpose": "upgrade", "run": "r7", "pid": "42", "start": "777", **notes}
    return {
        "metadata": {"annotations": {f"clustercare.io/{name.replace('_', '-')}": text for name, text in told.items()}},
        "spec": {
            "holderIdentity": "upgrade/r7",
            "renewTime": "2026-01-01T00:00:00.000000Z",
            "leaseDurationSeconds": 900,
        },
    }


@pytest.mark.parametrize(
    ("lock", "me", "later", "refused"),
    [
        (None, {}, 0, False),
        (lease(machine_id="m2", hostname="laptop"), {}, 60, True),
        (lease(machine_id="m2", hostname="laptop"), {}, 901, False),
        # Its process runs, or is gone, on this very machine.
        (lease(), {"running": [{"pid": 42, "start": 777}]}, 60, True),
        (lease(), {}, 60, False),
        # A play that holds the lock and restores.
        (lease(pid="99", start="5"), {}, 60, False),
    ],
)
def test_the_lock_of_a_living_run(lock: Any, me: dict[str, Any], later: int, refused: bool) -> None:
    looks = {"master-1": {"lock": None, "time": 0}, "master-2": {"lock": lock, "time": RENEWED + later}}
    said = " ".join(others_at_work(looks, Asked(), {**ME, **me}))
    assert bool(said) is refused
    if refused:
        assert "run r7 for 'upgrade'" in said and "etcd_restore_take_over=true" in said
    assert others_at_work(looks, Asked(take_over=True), {**ME, **me}) == []


def test_an_upgrade_that_was_not_ended_is_named() -> None:
    looks = {"master-1": {}, "master-2": {"upgrade": {"target": "1.35.4", "run": "r7", "phase": "kubeadm"}}}
    said = " ".join(others_at_work(looks, Asked(), ME))
    assert "master-2 to 1.35.4, run r7, in step kubeadm" in said
    assert "upgrade_abort=true" in said
    assert others_at_work(looks, Asked(take_over=True), ME) == []


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (None, None),
        ({"target": "1.35.4", "run": "r7", "phase": "done"}, None),
        ({"target": "1.35.4", "run": "r7", "phase": "kubeadm"}, {"target": "1.35.4", "run": "r7", "phase": "kubeadm"}),
    ],
)
def test_the_record_of_an_upgrade_is_looked_at(tmp_path: Path, record: Any, found: Any) -> None:
    if record:
        _record.save(record, str(tmp_path))
    assert _restore_look.open_upgrade(str(tmp_path)) == found


class Leases:
    def __init__(self, *names: str) -> None:
        self.items = [{"metadata": {"name": name, "annotations": {"a": name}}, "spec": {"x": name}} for name in names]

    def get(self, path: str) -> dict[str, Any]:
        if not path.endswith("/kube-system/leases"):
            raise CareError(path)
        return {"items": self.items}


def test_the_lock_is_one_lease_of_many() -> None:
    wanted = {"metadata": {"annotations": {"a": "clustercare"}}, "spec": {"x": "clustercare"}}
    server: Any = Leases("kube-scheduler", "clustercare")
    assert lock_now(server) == wanted
    server = Leases("kube-scheduler")
    assert lock_now(server) is None
