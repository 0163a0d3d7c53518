# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images bear the names that kubeadm asks for, and hold what is promised."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from lab import images, template
from lab.errors import LabError
from lab.images import Image, Layer

LIST = """\
registry.example.org/kube-apiserver:v1.35.4
registry.example.org/kube-controller-manager:v1.35.4
registry.example.org/kube-scheduler:v1.35.4
registry.example.org/kube-proxy:v1.35.4
registry.example.org/coredns/coredns:v1.13.1
registry.example.org/pause:3.10.1
registry.example.org/etcd:3.6.6-0
"""


def test_names_come_from_kubeadm() -> None:
    names = images.parse_names(LIST)

    assert names["kube-proxy"] == "registry.example.org/kube-proxy:v1.35.4"
    assert names["coredns"] == "registry.example.org/coredns/coredns:v1.13.1"
    assert images.etcd_version(names) == "3.6.6"
    assert images.coredns_version(names) == "1.13.1"


def test_a_registry_with_a_port_is_no_tag() -> None:
    names = images.parse_names(LIST.replace("registry.example.org", "registry.example.org:5000"))

    assert names["pause"] == "registry.example.org:5000/pause:3.10.1"
    assert images.tag(names["pause"]) == "3.10.1"


def test_a_list_without_etcd_is_refused() -> None:
    with pytest.raises(LabError, match="does not name etcd"):
        images.parse_names("\n".join(line for line in LIST.splitlines() if "etcd" not in line))


def test_an_archive_holds_its_layers_under_their_digests(tmp_path: Path) -> None:
    program, base = tmp_path / "kube-proxy", tmp_path / "base.tar"
    program.write_text("the program")
    with tarfile.open(base, "w"):
        pass
    layers = (Layer(archive=base), Layer((("usr/local/bin/kube-proxy", program),)))
    target = tmp_path / "out" / "kube-proxy.tar"
    target.parent.mkdir()

    images.write_archive(Image("x", "registry.example.org/kube-proxy:v1", layers), target, target.parent)

    assert [path.name for path in target.parent.iterdir()] == ["kube-proxy.tar"], "nothing else is left"
    assert base.exists()
    with tarfile.open(target) as archive:

        def content(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        manifest = json.loads(content("manifest.json"))[0]
        assert manifest["RepoTags"] == ["registry.example.org/kube-proxy:v1"]
        config = content(manifest["Config"])
        assert manifest["Config"] == hashlib.sha256(config).hexdigest() + ".json"
        found = [hashlib.sha256(content(name)).hexdigest() for name in manifest["Layers"]]
        assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{name}" for name in found]
        with tarfile.open(fileobj=archive.extractfile(manifest["Layers"][1])) as layer:
            member = layer.getmember("usr/local/bin/kube-proxy")
            assert member.mode == 0o755 and member.uid == 0


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("1.34.4", ["1.34.4", "1.34.10", "1.35.4", "1.36.3"]),
        ("1.34.10", ["1.34.10", "1.35.4", "1.36.3"]),
        ("1.36.3", ["1.36.3", "1.37.0"]),
    ],
)
def test_a_machine_has_the_images_it_may_be_upgraded_to(version: str, wanted: list[str]) -> None:
    assert template.later(version, ["1.37.0", "1.34.10", "1.36.3", "1.35.4", "1.34.4", "1.33.2"]) == wanted
