# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Container images, each a docker-archive of one or two layers, under the names that kubeadm asks for."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from . import components, debian, paths
from .artifact import Artifact, digest, load, sha256
from .binaries import Programs
from .errors import LabError
from .progress import Progress
from .shell import output

RECIPE = "images 2"
CREATED = "2026-01-01T00:00:00Z"
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The sample workload's image. No registry has this name: it is there, or the pod says so at once.
NGINX = "lab.test/nginx:1.22"
# kube-proxy's tools and the sample workload's server share one base.
BASE_PACKAGES = ("iptables", "nftables", "conntrack", "kmod", "nginx-light", "curl")


def parse_names(text: str) -> dict[str, str]:
    """``kubeadm config images list`` as component -> whole name."""
    found = {line.rpartition("/")[2].partition(":")[0]: line for line in text.split()}
    missing = {"kube-apiserver", "kube-proxy", "coredns", "etcd", "pause"} - set(found)
    if missing:
        raise LabError(f"kubeadm config images list does not name {', '.join(sorted(missing))}, but: {text!r}")
    return found


def names(kubernetes: Programs) -> dict[str, str]:
    version = kubernetes.component.version
    kubeadm = kubernetes.path("kubeadm")
    return parse_names(output([kubeadm, "config", "images", "list", "--kubernetes-version", f"v{version}"]))


def tag(name: str) -> str:
    return name.rpartition(":")[2]


def etcd_version(names: dict[str, str]) -> str:
    """``3.6.5`` of ``.../etcd:3.6.5-0``."""
    return tag(names["etcd"]).partition("-")[0]


def coredns_version(names: dict[str, str]) -> str:
    return tag(names["coredns"]).removeprefix("v")


@dataclass(frozen=True)
class Layer:
    """Programs at their places (path in the image -> file), or a whole root file system in a tar archive."""

    files: tuple[tuple[str, Path], ...] = ()
    archive: Path | None = None


@dataclass(frozen=True)
class Image:
    file: str
    name: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()


def plan(
    names: dict[str, str], kubernetes: Programs, etcd: Programs, coredns: Programs, pause: Programs, base: Path
) -> list[Image]:
    """All images of one version of Kubernetes."""

    def layer(programs: Programs, folder: str, wanted: Sequence[str]) -> Layer:
        return Layer(tuple((f"{folder}{program}", programs.path(program)) for program in wanted))

    found = [
        Image(f"{name}.tar", names[name], (layer(kubernetes, "usr/local/bin/", [name]),))
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ]
    root = Layer(archive=base)
    return [
        *found,
        Image("kube-proxy.tar", names["kube-proxy"], (root, layer(kubernetes, "usr/local/bin/", ["kube-proxy"]))),
        Image("etcd.tar", names["etcd"], (layer(etcd, "usr/local/bin/", etcd.component.files),)),
        Image("coredns.tar", names["coredns"], (layer(coredns, "", ["coredns"]),), ("/coredns",)),
        Image("pause.tar", names["pause"], (layer(pause, "", ["pause"]),), ("/pause",)),
        Image("nginx.tar", NGINX, (root,), ("/usr/sbin/nginx", "-g", "daemon off;")),
    ]


def artifact(version: str, names: dict[str, str], programs: Sequence[Programs]) -> Artifact:
    base = debian.file_system("images", "essential", BASE_PACKAGES)
    recipe = digest(RECIPE, sorted(names.items()), NGINX, base.recipe, [part.content for part in programs])
    return Artifact(paths.images() / version, recipe)


def build(version: str, names: dict[str, str], programs: Sequence[Programs], progress: Progress) -> None:
    """:param programs: Kubernetes, etcd, coredns, pause."""
    base = debian.make_file_system("images", "essential", BASE_PACKAGES, progress)
    kubernetes, etcd, coredns, pause = programs

    def into(folder: Path) -> dict[str, Any]:
        for image in plan(names, kubernetes, etcd, coredns, pause, base):
            write_archive(image, folder / image.file, folder)
        return {"names": names}

    artifact(version, names, programs).make(into)


def write_archive(image: Image, target: Path, scratch: Path) -> None:
    """A docker-archive: the layers, a configuration that names their digests, and a manifest."""
    drafts = [_layer_archive(layer, scratch / f".layer-{number}") for number, layer in enumerate(image.layers)]
    digests = [sha256(draft) for draft in drafts]
    config = json.dumps(
        {
            "architecture": components.architecture(),
            "os": "linux",
            "created": CREATED,
            "config": {"Env": [SEARCH_PATH], "Entrypoint": list(image.entrypoint) or None},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{found}" for found in digests]},
            "history": [{"created": CREATED} for _ in digests],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [
        {"Config": config_name, "RepoTags": [image.name], "Layers": [f"{found}/layer.tar" for found in digests]}
    ]
    with tarfile.open(target, "w") as tar:
        for found, draft in zip(digests, drafts, strict=True):
            with draft.open("rb") as content:
                _add(tar, f"{found}/layer.tar", content, draft.stat().st_size)
        for name, text in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            _add(tar, name, io.BytesIO(text), len(text))
    for layer, draft in zip(image.layers, drafts, strict=True):
        if layer.archive is None:
            draft.unlink()


def _layer_archive(layer: Layer, draft: Path) -> Path:
    if layer.archive:
        return layer.archive
    with tarfile.open(draft, "w") as tar:
        for inside, source in layer.files:
            with source.open("rb") as content:
                _add(tar, inside, content, source.stat().st_size, 0o755)
    return draft


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    tar.addfile(member, content)


def load_names(version: str) -> dict[str, str]:
    """The image names of a version whose images are there."""
    return dict((load(paths.images() / version) or {})["names"])


def load_files(version: str) -> list[str]:
    return sorted((load(paths.images() / version) or {"files": {}})["files"])
