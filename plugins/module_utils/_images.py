# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Images that a version needs, pulled beforehand."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version

_WORKERS_NEED = ("kube-proxy", "coredns", "pause")


def config_text(cluster: dict[str, Any], target: Version, endpoint: Optional[str]) -> str:
    """The cluster's own kubeadm configuration at the target: it holds the registry that people chose."""
    wanted = {**cluster, "kubernetesVersion": f"v{target}"}
    node = {"apiVersion": cluster["apiVersion"], "kind": "InitConfiguration"}
    documents = [wanted, {**node, "nodeRegistration": {"criSocket": endpoint}} if endpoint else node]
    return "\n---\n".join(json.dumps(document) for document in documents) + "\n"


def short_name(image: str) -> str:
    """``registry.example.org/coredns/coredns:v1.13.1`` -> ``coredns``."""
    return image.split("@", 1)[0].rsplit("/", 1)[-1].split(":", 1)[0]


def needed(images: Sequence[str], role: str) -> list[str]:
    """A worker never runs a static pod."""
    return [image for image in images if role == "master" or short_name(image) in _WORKERS_NEED]


def present(endpoint: Optional[str], runner: Runner = run) -> Optional[list[str]]:
    """Images that the runtime has, or None when nothing on the host can tell."""
    socket = (endpoint or "").replace("unix://", "")
    for argv in (
        ["crictl", *(["--runtime-endpoint", f"unix://{socket}"] if socket else []), "images", "--output=json"],
        ["ctr", *(["--address", socket] if socket else []), "--namespace=k8s.io", "images", "list", "--quiet"],
    ):
        try:
            done = runner(argv, timeout=30)
        except CareError:
            continue
        if done.rc == 0:
            return parse_crictl(done.out) if argv[0] == "crictl" else done.out.split()
    return None


def parse_crictl(said: str) -> list[str]:
    """Names of ``crictl images -o json``."""
    return [tag for image in json.loads(said).get("images") or [] for tag in image.get("repoTags") or []]


def write_config(text: str, directory: str = _record.DIRECTORY) -> str:
    """Put the configuration where kubeadm reads it."""
    path = os.path.join(_record.private_directory("kubeadm", directory=directory), "images.yaml")
    _record.write_private(path, text.encode())
    return path


def wanted_images(config: str, runner: Runner = run) -> list[str]:
    """The images of a configuration, by kubeadm itself."""
    done = runner(["kubeadm", "config", "images", "list", "--config", config])
    if done.rc != 0:
        raise CareError(f"kubeadm cannot list the images of this version: {done.last_words}")
    return done.out.split()


def pull_argv(missing: Sequence[str], config: str, endpoint: Optional[str], by_crictl: bool) -> list[list[str]]:
    """The commands that pull: everything by kubeadm, or single images by crictl where there is one."""
    if not by_crictl:
        return [["kubeadm", "config", "images", "pull", "--config", config]]
    address = ["--runtime-endpoint", endpoint] if endpoint else []
    return [["crictl", *address, "pull", image] for image in missing]
