# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the programs are built from published Go modules."""

from __future__ import annotations

import pytest

from lab import components, versions
from lab.errors import LabError

UPSTREAM = """\
module k8s.io/kubernetes

go 1.24.0

godebug default=go1.24

require (
	k8s.io/api v0.0.0
	k8s.io/klog/v2 v2.130.1
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/component-base v0.0.0 => ./staging/src/k8s.io/component-base
)

replace k8s.io/kubelet => ./staging/src/k8s.io/kubelet
"""


def test_kubernetes_parts_are_taken_as_published() -> None:
    text = components.go_mod(components.kubernetes("1.34.4"), UPSTREAM)

    assert "\tk8s.io/kubernetes v1.34.4\n" in text
    for part in ("api", "component-base", "kubelet"):
        assert f"\tk8s.io/{part} => k8s.io/{part} v0.34.4\n" in text
    assert "staging" not in text
    assert "klog" not in text, "what upstream requires comes through upstream's own go.mod"


def test_the_go_version_and_its_settings_are_upstreams() -> None:
    lines = components.go_mod(components.kubernetes("1.34.4"), UPSTREAM).splitlines()

    assert "go 1.24.0" in lines
    assert "godebug default=go1.24" in lines


def test_other_components_replace_nothing() -> None:
    text = components.go_mod(components.etcd("3.6.5"), "module go.etcd.io/etcd/server/v3\n\ngo 1.24.0\n")

    assert "replace" not in text
    assert "\tgo.etcd.io/etcd/etcdctl/v3 v3.6.5\n" in text


def test_programs_say_their_version() -> None:
    flags = components.kubernetes("1.35.4").linker_flags

    # kubeadm reads the first, kubectl the second; without them kubeadm refuses to work.
    assert "-X k8s.io/component-base/version.gitVersion=v1.35.4" in flags
    assert "-X k8s.io/client-go/pkg/version.gitVersion=v1.35.4" in flags
    assert "-X k8s.io/component-base/version.gitMinor=35" in flags


def test_another_version_is_another_recipe() -> None:
    assert components.kubernetes("1.34.4").recipe != components.kubernetes("1.34.5").recipe
    assert components.kubernetes("1.34.4").recipe == components.kubernetes("1.34.4").recipe


@pytest.mark.parametrize("text", ["1.35", "1.35.4-1.1", "latest", "2.1.0", ""])
def test_inexact_versions_are_refused(text: str) -> None:
    with pytest.raises(LabError, match="exact version"):
        versions.parse(text)


def test_versions_are_read_by_number() -> None:
    assert sorted(["1.34.10", "1.9.9", "1.34.9"], key=versions.parse) == ["1.9.9", "1.34.9", "1.34.10"]
    assert versions.minor("1.34.10") == "1.34"
    assert versions.plain("v1.34.4") == "1.34.4"
