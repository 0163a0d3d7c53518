# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kubelet's flags, where they come from, and when a restart makes a difference."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubelet
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done

SHOWN = """MainPID=522
NeedDaemonReload=yes
NRestarts=2
FragmentPath=/lib/systemd/system/kubelet.service
DropInPaths=/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf /etc/systemd/system/kubelet.service.d/20-mine.conf
EnvironmentFiles=/var/lib/kubelet/kubeadm-flags.env (ignore_errors=yes)
EnvironmentFiles=/etc/default/kubelet (ignore_errors=yes)
"""


def test_the_unit_is_read_with_repeated_properties() -> None:
    assert _kubelet.parse_unit(SHOWN) == _kubelet.Unit(
        main_pid=522,
        needs_reload=True,
        fragment="/lib/systemd/system/kubelet.service",
        drop_ins=[
            "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
            "/etc/systemd/system/kubelet.service.d/20-mine.conf",
        ],
        environment_files=["/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet"],
        restarts=2,
    )


def test_a_host_without_a_kubelet_has_an_empty_unit() -> None:
    assert _kubelet.parse_unit("MainPID=0\nNeedDaemonReload=no\nFragmentPath=\n").main_pid == 0
    assert _kubelet.parse_unit("").drop_ins == []


INFRA = "--pod-infra-container-image"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'KUBELET_KUBEADM_ARGS="--a=1 --pod-infra-container-image=r.example.org/pause:3.10"',
            [("--a", "1"), (INFRA, "r.example.org/pause:3.10")],
        ),
        ("KUBELET_EXTRA_ARGS=--pod-infra-container-image=x", [(INFRA, "x")]),
        ("KUBELET_EXTRA_ARGS=", []),
        ("# KUBELET_EXTRA_ARGS=--pod-infra-container-image=x", []),
        (
            '[Service]\nEnvironment="KUBELET_EXTRA_ARGS=--pod-infra-container-image x --v=2"',
            [(INFRA, "x"), ("--v", "2")],
        ),
        ("Environment=KUBELET_EXTRA_ARGS='--v=2'", [("--v", "2")]),
        (
            "ExecStart=\nExecStart=/usr/bin/kubelet $KUBELET_ARGS --config=/c \\\n  --v 3",
            [("--config", "/c"), ("--v", "3")],
        ),
        ("ExecStart=/usr/bin/kubelet --fail-swap-on $KUBELET_ARGS", [("--fail-swap-on", None)]),
    ],
)
def test_flags_are_found_as_people_write_them(text: str, expected: list[tuple[str, Optional[str]]]) -> None:
    assert _kubelet.flags_of_text(text) == expected


def test_each_flag_tells_its_file_and_whether_kubeadm_cleans_it() -> None:
    texts = {
        _kubelet.FLAGS_FILE: 'KUBELET_KUBEADM_ARGS="--a=1"',
        "/etc/default/kubelet": "KUBELET_EXTRA_ARGS=--pod-infra-container-image=x",
    }
    rows = _kubelet.flags(texts, ["/usr/bin/kubelet", "--a=1", "--pod-infra-container-image=x", "--by-hand=2"])
    assert [(row["flag"], row["source"], row["cleaned_by_kubeadm"]) for row in rows] == [
        ("--a", _kubelet.FLAGS_FILE, True),
        (INFRA, "/etc/default/kubelet", False),
        ("--by-hand", "process", False),
    ]
    assert _kubelet.flag_value(rows, "--by-hand") == "2"
    assert _kubelet.flag_value(rows, "--missing") is None


@pytest.mark.parametrize(
    ("same", "reload", "changed", "word"),
    [
        (True, False, {"/config.yaml": 99.0}, None),
        (False, False, {}, "another file"),
        (True, True, {}, "unit files"),
        (True, False, {"/config.yaml": 101.0, "/flags.env": 5.0}, "/config.yaml is newer"),
    ],
    ids=["nothing changed", "another binary", "unit changed", "configuration changed"],
)
def test_stale_has_a_reason(same: bool, reload: bool, changed: dict[str, float], word: Optional[str]) -> None:
    reasons = _kubelet.why_stale(100.0, same, reload, changed)
    assert len(reasons) == (0 if word is None else 1)
    assert word is None or word in reasons[0]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Kubernetes v1.34.4", "1.34.4"),
        ("v1.35.0-rc.1", "1.35.0-rc.1"),
        ('  "gitVersion": "v1.34.4",', "1.34.4"),
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1", "1.6.20~ds1"),
        ("error", None),
    ],
)
def test_versions_are_found_in_what_programs_say(said: str, version: Optional[str]) -> None:
    assert _kubelet.version_in(said) == version


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, ("127.0.0.1", 10248)),
        ({"healthzPort": 0}, None),
        ({"healthzPort": 11248, "healthzBindAddress": "0.0.0.0"}, ("127.0.0.1", 11248)),
    ],
)
def test_the_health_port_is_the_configured_one(config: dict[str, Any], where: Optional[tuple[str, int]]) -> None:
    assert _kubelet.healthz_of(config) == where


@pytest.mark.parametrize(("mode", "version"), [(0o755, "2.1.4"), (0o757, None)])
def test_a_program_that_others_may_write_is_not_asked_for_its_version(
    tmp_path: pathlib.Path, mode: int, version: Optional[str]
) -> None:
    program = tmp_path / "containerd"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    program.chmod(mode)
    with subprocess.Popen([str(program), "60"]) as process:
        while os.path.realpath(f"/proc/{process.pid}/exe") != str(program):
            pass  # not yet executed
        said = _kubelet.said_version(
            [f"/proc/{process.pid}/exe", "--version"], lambda argv, **_more: Done(argv, 0, "containerd v2.1.4", "")
        )
        process.kill()
    assert said == version
