# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A manifest goes away and comes back as the very same file, whatever happens in between."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _service_manifest
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError


@pytest.fixture
def places(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    manifests, parking = tmp_path / "manifests", tmp_path / "parking"
    manifests.mkdir()
    parking.mkdir()
    path = manifests / "etcd.yaml"
    path.write_bytes(b"kind: Pod \xff\n")
    path.chmod(0o640)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return manifests, parking


def test_a_manifest_comes_back_as_it_was(places: tuple[pathlib.Path, pathlib.Path]) -> None:
    manifests, parking = places
    parked = _service_manifest.park([str(manifests / "etcd.yaml")], str(parking))
    assert parked == [str(parking / "etcd.yaml")]
    assert list(manifests.iterdir()) == []
    assert _service_manifest.put_back(parked, str(manifests)) == ([str(manifests / "etcd.yaml")], [])
    about = (manifests / "etcd.yaml").stat()
    assert (about.st_mode & 0o777, about.st_mtime) == (0o640, 1_700_000_000)
    assert (manifests / "etcd.yaml").read_bytes() == b"kind: Pod \xff\n"
    assert list(parking.iterdir()) == []


def test_an_interruption_leaves_a_whole_copy_and_the_same_again_ends_it(
    places: tuple[pathlib.Path, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests, parking = places

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CareError, match=r"cannot be moved.*No space left on device"):
        _service_manifest.park([str(manifests / "etcd.yaml")], str(parking))
    monkeypatch.undo()
    assert [path.name for path in manifests.iterdir()] == ["etcd.yaml"]
    assert list(parking.iterdir()) == [], "a half-written copy stayed"
    # cut off between the copy and the removal: both are there
    _service_manifest.copy_whole(str(manifests / "etcd.yaml"), str(parking / "etcd.yaml"))
    assert _service_manifest.put_back([str(parking / "etcd.yaml")], str(manifests))[1] == []
    assert [path.name for path in (*manifests.iterdir(), *parking.iterdir())] == ["etcd.yaml"]


def test_a_manifest_that_was_written_meanwhile_wins_and_the_old_one_is_kept(
    places: tuple[pathlib.Path, pathlib.Path],
) -> None:
    manifests, parking = places
    parked = _service_manifest.park([str(manifests / "etcd.yaml")], str(parking))
    (manifests / "etcd.yaml").write_text("newer")
    _places, notes = _service_manifest.put_back(parked, str(manifests))
    assert (manifests / "etcd.yaml").read_text() == "newer"
    assert (parking / ".old-etcd.yaml").read_bytes() == b"kind: Pod \xff\n"
    assert len(notes) == 1 and ".old-etcd.yaml" in notes[0]


def test_nothing_is_parked_where_the_kubelet_reads(places: tuple[pathlib.Path, pathlib.Path]) -> None:
    manifests, _parking = places
    (manifests / "stopped").mkdir()
    with pytest.raises(CareError, match="would go on reading"):
        _service_manifest.park([str(manifests / "etcd.yaml")], str(manifests / "stopped"))
    assert (manifests / "etcd.yaml").exists()
