# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""YAML and kubeconfig files read through the host's kubectl, offline: Python's standard library has no YAML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

_MARK = "clustercare.io/read"


def json_documents(text: str) -> list[dict[str, Any]]:
    """The JSON objects that stand one after the other in ``text``."""
    decoder, documents, at = json.JSONDecoder(), [], 0
    text = text.strip()
    while at < len(text):
        document, end = decoder.raw_decode(text, at)
        documents.append(document)
        at = end + (len(text[end:]) - len(text[end:].lstrip()))
    return documents


def _without_mark(document: dict[str, Any]) -> dict[str, Any]:
    metadata = document.get("metadata", {})
    annotations = metadata.get("annotations", {})
    annotations.pop(_MARK, None)
    if not annotations:
        metadata.pop("annotations", None)
    if not metadata:
        document.pop("metadata", None)
    return document


def read_objects(paths: Sequence[str], runner: Runner = run) -> list[dict[str, Any]]:
    """The Kubernetes objects in YAML or JSON files, in order, by one call."""
    return _annotate([word for path in paths for word in ("-f", path)], ", ".join(paths), runner)


def read_text(text: str, what: str) -> dict[str, Any]:
    """The one object of a YAML text."""
    found = _annotate(["-f", "-"], what, run, stdin=text)
    if len(found) != 1:
        raise CareError(f"{what} holds {len(found)} objects where one is expected.")
    return found[0]


def _annotate(files: list[str], what: str, runner: Runner, stdin: Optional[str] = None) -> list[dict[str, Any]]:
    # annotate --local needs no API and no known kind, and prints what it read
    done = runner(["kubectl", "annotate", "--local", "--overwrite", *files, f"{_MARK}=y", "-o", "json"], stdin=stdin)
    if done.rc != 0:
        raise CareError(f"kubectl cannot read {what}: {done.last_words}")
    return [_without_mark(document) for document in json_documents(done.out)]


def apply_fragment(path: str, kind: str, runner: Runner = run) -> dict[str, Any]:
    """A kubeadm patch file applied to an empty KubeletConfiguration: shows what it sets.

    :param kind: ``merge`` (also right for the top-level fields of a strategic patch) or ``json``.
    """
    empty = json.dumps({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"})
    argv = ["kubectl", "patch", "--local", "-f", "-", "--type", kind, "--patch-file", path, "-o", "json"]
    done = runner(argv, stdin=empty)
    if done.rc != 0:
        raise CareError(f"kubectl cannot read the kubeadm patch {path}: {done.last_words}")
    return json_documents(done.out)[0]


def read_kubeconfig(path: str, runner: Runner = run) -> dict[str, Any]:
    """A kubeconfig with its certificates and keys in place; the result holds secrets."""
    done = runner(["kubectl", "config", "view", "--raw", "-o", "json", "--kubeconfig", path])
    if done.rc != 0:
        raise CareError(f"kubectl cannot read the kubeconfig {path}: {done.last_words}")
    loaded: dict[str, Any] = json.loads(done.out)
    return loaded
