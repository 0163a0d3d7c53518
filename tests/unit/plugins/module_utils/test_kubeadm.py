# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""kubeadm's command lines, and when its step counts as done."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubeadm
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse

TARGET = parse("1.35.4")


@pytest.mark.parametrize(
    ("step", "options", "argv"),
    [
        ("control_plane", {}, "kubeadm upgrade apply v1.35.4 --yes"),
        ("node", {}, "kubeadm upgrade node"),
        (
            "control_plane",
            {"ignore_preflight_errors": ["SystemVerification", "Swap"], "patches": "/p"},
            "kubeadm upgrade apply v1.35.4 --yes --ignore-preflight-errors=SystemVerification,Swap --patches=/p",
        ),
        ("node", {"certificate_renewal": False}, "kubeadm upgrade node --certificate-renewal=false"),
    ],
)
def test_command_lines(step: str, options: dict[str, Any], argv: str) -> None:
    assert " ".join(_kubeadm.upgrade_argv(step, TARGET, **options)) == argv


def host(**changes: Any) -> dict[str, Any]:
    """A master on which all is done."""
    pods = {name: {"version": "1.35.4", "running": True} for name in _kubeadm.CONTROL_PLANE}
    done = {"target": "1.35.4", "finished": "2026-11-22T03:00:00Z"}
    return {
        "kubelet": {"running": "1.34.4", "flags": []},
        "static_pods": {**pods, "etcd": {"version": "3.6.6-0", "running": True}},
        "record": {"target": "1.35.4", "steps": {"kubeadm": done}},
        **changes,
    }


def flag(source: str, cleaned: bool) -> dict[str, Any]:
    row = {"flag": "--pod-infra-container-image", "value": "x", "source": source, "cleaned_by_kubeadm": cleaned}
    return {"running": "1.34.4", "flags": [row]}


OLD_SCHEDULER = {**host()["static_pods"], "kube-scheduler": {"version": "1.34.4", "running": True}}
DEAD_SERVER = {**host()["static_pods"], "kube-apiserver": {"version": "1.35.4", "running": False}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"record": None}, ["no finished kubeadm run to 1.35.4 is recorded and the kubelet runs 1.34.4"]),
        ({"record": None, "kubelet": {"running": "1.35.4"}}, []),
        (
            {"record": {"target": "1.34.4", "steps": {"kubeadm": {"target": "1.34.4", "finished": "x"}}}},
            ["no finished"],
        ),
        (
            {"record": {"target": "1.35.4", "steps": {"kubeadm": {"target": "1.35.4", "finished": None}}}},
            ["no finished"],
        ),
        ({"static_pods": OLD_SCHEDULER}, ["the manifest of kube-scheduler says 1.34.4"]),
        ({"static_pods": DEAD_SERVER}, ["kube-apiserver does not run"]),
        ({"static_pods": {}}, []),
        ({"kubelet": flag("/var/lib/kubelet/kubeadm-flags.env", True)}, ["still has --pod-infra-container-image"]),
        ({"kubelet": flag("/etc/default/kubelet", False)}, []),
    ],
    ids=[
        "all done",
        "images are new but nothing is recorded",
        "no record but the kubelet runs the target",
        "recorded for another target",
        "recorded without an end",
        "one static pod is old",
        "one static pod is dead",
        "worker",
        "a removed flag that kubeadm would clean",
        "a removed flag that kubeadm leaves alone",
    ],
)
def test_done_is_never_read_from_images_alone(changes: dict[str, Any], words: list[str]) -> None:
    reasons = _kubeadm.why_not_done(host(**changes), TARGET)
    assert len(reasons) == len(words), reasons
    assert all(word in reason for word, reason in zip(words, reasons))


STATIC_POD = """[upgrade/staticpods] Waiting for the kubelet to restart the component
error: error execution phase control-plane: static Pod hash for component etcd did not change
To see the stack trace of this error execute with --v=5 or higher
"""
PREFLIGHT = """[preflight] Some fatal errors occurred:
\t[ERROR CreateJob]: Job did not complete in 15s
[preflight] If you know what you are doing, you can make a check non-fatal
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (STATIC_POD, "static Pod hash for component etcd did not change"),
        (PREFLIGHT, "[ERROR CreateJob]: Job did not complete in 15s"),
        ("one\ntwo\n", "two"),
        ("", "it said nothing"),
    ],
)
def test_the_reason_is_found_in_the_output(output: str, words: str) -> None:
    assert words in _kubeadm.error_of(output)
    assert "stack trace" not in _kubeadm.error_of(output)
