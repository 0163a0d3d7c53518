# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""YAML through the host's kubectl: what is asked, and what is made of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _offline
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError


def answering(*documents: dict[str, Any], rc: int = 0, err: str = "") -> Any:
    asked: list[list[str]] = []

    def run(argv: list[str], **_rest: Any) -> Done:
        asked.append(argv)
        return Done(argv, rc, "\n".join(json.dumps(document, indent=4) for document in documents), err)

    run.asked = asked  # type: ignore[attr-defined]
    return run


def test_several_files_are_read_by_one_call_without_our_mark() -> None:
    mark = {"clustercare.io/read": "y"}
    kubectl = answering(
        {"kind": "Pod", "metadata": {"name": "a", "annotations": {**mark, "b": "c"}}},
        {"kind": "K", "metadata": {"annotations": mark}},
    )
    assert _offline.read_objects(["/a.yaml", "/b.yaml"], kubectl) == [
        {"kind": "Pod", "metadata": {"name": "a", "annotations": {"b": "c"}}},
        {"kind": "K"},
    ]
    assert [argv[:3] for argv in kubectl.asked] == [["kubectl", "annotate", "--local"]]


def test_an_unreadable_file_is_named_with_kubectls_reason() -> None:
    with pytest.raises(CareError, match=r"/a\.yaml: error: yaml: line 3"):
        _offline.read_objects(["/a.yaml"], answering(rc=1, err="error: yaml: line 3: mapping values"))


def test_a_patch_shows_what_it_sets() -> None:
    kubectl = answering({"kind": "KubeletConfiguration", "failCgroupV1": False})
    assert _offline.apply_fragment("/p.yaml", "merge", kubectl)["failCgroupV1"] is False
    assert kubectl.asked[0][-4:] == ["--patch-file", "/p.yaml", "-o", "json"]
