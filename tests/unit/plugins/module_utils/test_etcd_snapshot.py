# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_shelf as shelf
from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_snapshot as snapshots
from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

NOBODY = Access("", None, None, None)
WHOLE = fakes.snapshot()


def test_proof_tells_what_is_inside(tmp_path: Path) -> None:
    file = tmp_path / "good.db"
    file.write_bytes(WHOLE)
    proof = snapshots.prove(str(file))
    assert proof["sha256"] == hashlib.sha256(WHOLE).hexdigest()
    assert (proof["size"], proof["revision"], proof["keys"], proof["records"]) == (len(WHOLE), 6, 2, 5)
    assert (proof["cluster_version"], proof["storage_version"], proof["consistent_index"]) == ("3.6.0", "3.6.0", 42)
    assert proof["members"] == [
        {
            "id_hex": "8e9e05c52164694d",
            "name": "cp1",
            "peer_urls": ["https://10.80.0.11:2380"],
            "client_urls": [],
            "learner": False,
        }
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "no whole snapshot", id="empty"),
        pytest.param(fakes.database(), "no whole snapshot", id="no digest"),
        pytest.param(WHOLE[:-1], "no whole snapshot", id="one byte short"),
        pytest.param(WHOLE[:-512], "is damaged", id="one block short"),
        pytest.param(WHOLE[: 4 * 4096 + 32], "is damaged", id="pages missing"),
        pytest.param(fakes.flipped(-1), "is damaged", id="flip in the digest"),
        pytest.param(fakes.flipped(len(WHOLE) // 2), "is damaged", id="flip in a page"),
        pytest.param(fakes.flipped(2 * 4096 + 99), "is damaged", id="flip in a free page"),
        pytest.param(fakes.snapshot(fakes.database()[: 6 * 4096]), "is cut off", id="cut before it was signed"),
        pytest.param(fakes.snapshot(fakes.database(members=[])), "no etcd member", id="no members"),
        pytest.param(fakes.snapshot(b"\0" * 8192), "no etcd database", id="zeroes, well signed"),
    ],
)
def test_whatever_is_no_good_snapshot_is_noticed(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "bad.db"
    file.write_bytes(data)
    with pytest.raises(BrokenFile, match=words):
        snapshots.prove(str(file))


@pytest.mark.parametrize("name", ["../x.db", "/etc/x", "", " ", "x.db.json", "x.part", "-x", "a b"])
def test_names_stay_in_their_directory(name: str) -> None:
    with pytest.raises(CareError, match="option name"):
        snapshots.check_name(name)


def test_default_names_sort_by_time() -> None:
    names = [snapshots.default_name("cp1", when) for when in (1_700_000_000, 1_700_000_001, 1_800_000_000)]
    assert names == sorted(names) and names[0] == "etcd-cp1-20231114T221320Z.db"
    snapshots.check_name(names[0])


@pytest.mark.parametrize("taken", ["01.01.2026 02:03", 1767232984, {"at": "noon"}, None, ""])
def test_a_time_that_cannot_be_read_is_not_known(tmp_path: Path, taken: Any) -> None:
    file = tmp_path / "good.db"
    file.write_bytes(WHOLE)
    said = {"schema": 1, "sha256": hashlib.sha256(WHOLE).hexdigest(), "taken": taken}
    (tmp_path / "good.db.json").write_text(json.dumps(said))
    found = snapshots.existing(str(file))
    assert found is not None and "taken" not in found
    # Listed all the same, by when the file was written last.
    listed = shelf.inspected(shelf.one(str(file)), True, file.stat().st_mtime + 60)
    assert (listed["good"], listed["age"]) == (True, 60)
    assert listed["taken"] == iso(file.stat().st_mtime)


def test_a_sidecar_of_before_is_as_good_as_ever(tmp_path: Path) -> None:
    file = tmp_path / "good.db"
    file.write_bytes(WHOLE)
    said = {"schema": 1, "sha256": hashlib.sha256(WHOLE).hexdigest(), "taken": "2026-01-01T02:03:04Z"}
    (tmp_path / "good.db.json").write_text(json.dumps(said))
    listed = shelf.inspected(shelf.one(str(file)), True, 1767233044)
    assert (listed["good"], listed["ours"], listed["taken"], listed["age"]) == (True, True, said["taken"], 60)
    assert listed["kubernetes_version"] is listed["etcd_image"] is listed["encryption_config_sha256"] is None
