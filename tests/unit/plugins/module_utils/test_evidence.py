# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Last words of a failed component, and the archive that is made before."""

from __future__ import annotations

import os
import pathlib
import tarfile
from typing import Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _evidence


def test_the_newest_containers_last_lines_are_found(tmp_path: pathlib.Path) -> None:
    pod = tmp_path / "var/log/pods/kube-system_etcd-cp1_0123/etcd"
    pod.mkdir(parents=True)
    (pod / "0.log").write_text("2026-11-22T03:00:00Z stderr F old\n")
    (pod / "1.log").write_text("".join(f"2026-11-22T03:00:0{n}Z stderr F line {n}\n" for n in range(5)))
    os.utime(pod / "0.log", (1, 1))
    assert _evidence.pod_logs(str(tmp_path), lines=2) == {
        "etcd": ["2026-11-22T03:00:03Z line 3", "2026-11-22T03:00:04Z line 4"]
    }


@pytest.mark.parametrize(
    ("text", "component"),
    [
        ("static Pod hash for component kube-apiserver on Node cp1 did not change", "kube-apiserver"),
        ("couldn't upgrade control plane: etcd did not come up", "etcd"),
        ("[ERROR CreateJob]", None),
    ],
)
def test_the_component_that_failed_is_named(text: str, component: Optional[str]) -> None:
    assert _evidence.component_in(text) == component


def test_manifests_put_back_have_no_diff() -> None:
    before = {"etcd.yaml": "image: a\n"}
    assert _evidence.manifests_diff(before, dict(before)) == ""
    assert "+image: b" in _evidence.manifests_diff(before, {"etcd.yaml": "image: b\n"})
    assert "-image: a" in _evidence.manifests_diff(before, {})


def test_the_first_archive_of_a_run_is_kept_and_nobody_else_may_read_it(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "etc"
    config.mkdir()
    (config / "admin.conf").write_text("old")
    path = _evidence.archive("run-1", str(tmp_path / "care"), (str(config), "/nowhere/config.yaml"))
    (config / "admin.conf").write_text("new")
    assert _evidence.archive("run-1", str(tmp_path / "care"), (str(config),)) == path
    assert os.stat(path).st_mode & 0o777 == 0o600
    with tarfile.open(path) as tar:
        member = tar.extractfile(str(config / "admin.conf").lstrip("/"))
        assert member is not None and member.read() == b"old"


def test_the_newest_archives_stay_and_nothing_else_is_touched(tmp_path: pathlib.Path) -> None:
    backups = tmp_path / "care" / "backups"
    paths = []
    for number in range(7):
        paths.append(_evidence.archive(f"run-{number}", str(tmp_path / "care"), ()))
        os.utime(paths[-1], (2**32 + number, 2**32 + number))
        (backups / f"etcd-{number}.db").touch()
    # The host's clock was set back since: what was just made stays all the same.
    paths.append(_evidence.archive("run-7", str(tmp_path / "care"), ()))
    assert {str(path) for path in backups.glob("*.tar.gz")} == set(paths[3:])
    assert len(list(backups.glob("etcd-*.db"))) == 7


def test_the_kubelets_errors_are_not_drowned_by_what_is_harmless() -> None:
    harmless = [f"t n kubelet[1]: W1122 03:00:00 1 fs.go:641] {n}" for n in range(50)]
    wrong = "t n kubelet[1]: E1122 03:00:00 1 run.go:72] failed to validate kubelet flags"
    flag = "t n kubelet[1]: Error: unknown flag: --pod-infra-container-image"
    assert _evidence.telling([wrong, flag, *harmless], last=2) == [wrong, flag, *harmless[-2:]]
    assert _evidence.telling([]) == []
    assert _evidence.last_error([wrong, *harmless]) == "failed to validate kubelet flags"
    assert _evidence.last_error([]) == "nothing"


@pytest.mark.parametrize(
    ("changed", "back"),
    [
        ([], True),
        (["etcd.yaml"], True),
        (["kube-apiserver.yaml"], False),
        (["etcd.yaml", "kube-scheduler.yaml"], False),
    ],
)
def test_a_new_etcd_is_what_kubeadm_leaves_after_a_rollback(changed: list[str], back: bool) -> None:
    before = {"etcd.yaml": "old", "kube-apiserver.yaml": "old", "kube-scheduler.yaml": "old"}
    assert _evidence.rolled_back(before, {**before, **dict.fromkeys(changed, "new")}) is back
    words = _evidence.rollback_words({"rolled_back": back, "new_etcd": "etcd.yaml" in changed, "not_running": []})
    assert ("as before" in words) and ("not as before" in words) is not back
    assert ("which kubeadm leaves new" in words) is (changed == ["etcd.yaml"])
