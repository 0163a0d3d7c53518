# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the lab's clusters are made of: which programs, from which Go modules, stamped with which version."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field

from . import versions
from .artifact import digest

KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubeadm",
    "kubectl",
)
# Packages in k8s.io/kubernetes read their version from these two.
STAMPED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
NO_COMMIT = "0" * 40
# Fixed, so that the same version always gives the same bytes.
BUILD_DATE = "2026-01-01T00:00:00Z"


def architecture() -> str:
    """The machine's architecture as Go and Debian call it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


@dataclass(frozen=True)
class Component:
    """:param modules: Go modules that are required, with their versions; the first one decides about Go's version.
    :param programs: file name -> Go package.
    :param stamps: Go variable -> value.
    :param gigabytes: free space that a build needs.
    :param staging: the first module's parts that it replaces by folders of its own, published under this version.
    """

    name: str
    version: str
    modules: tuple[tuple[str, str], ...]
    programs: dict[str, str]
    stamps: dict[str, str] = field(default_factory=dict)
    tags: str = ""
    gigabytes: int = 3
    staging: str = ""

    @property
    def files(self) -> list[str]:
        return list(self.programs)

    @property
    def recipe(self) -> str:
        """The origin is no part of it: a downloaded release is as good as a build."""
        return digest("binaries 1", self.name, self.version, self.files, architecture())

    @property
    def linker_flags(self) -> str:
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.stamps.items())])


def kubernetes(version: str) -> Component:
    _, minor, patch = versions.parse(version)
    values = {
        "gitVersion": f"v{version}",
        "gitMajor": "1",
        "gitMinor": str(minor),
        "gitTreeState": "clean",
        "gitCommit": NO_COMMIT,
        "buildDate": BUILD_DATE,
    }
    return Component(
        name="kubernetes",
        version=version,
        modules=(("k8s.io/kubernetes", f"v{version}"),),
        programs={name: f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS},
        stamps={f"{package}.{name}": value for package in STAMPED for name, value in values.items()},
        gigabytes=7,
        staging=f"v0.{minor}.{patch}",
    )


def etcd(version: str) -> Component:
    parts = {"etcd": "server", "etcdctl": "etcdctl", "etcdutl": "etcdutl"}
    packages = {program: f"go.etcd.io/etcd/{part}/v3" for program, part in parts.items()}
    return Component("etcd", version, tuple((package, f"v{version}") for package in packages.values()), packages)


def coredns(version: str) -> Component:
    package = "github.com/coredns/coredns"
    return Component("coredns", version, ((package, f"v{version}"),), {"coredns": package})


def containerd(version: str) -> Component:
    """Kubernetes needs containerd 2 from 1.36 on; Debian 12 has 1.6."""
    module = "github.com/containerd/containerd/v2"
    programs = ("containerd", "containerd-shim-runc-v2", "ctr")
    return Component(
        "containerd",
        version,
        ((module, f"v{version}"),),
        {program: f"{module}/cmd/{program}" for program in programs},
        {f"{module}/version.Version": f"v{version}"},
        tags="no_btrfs no_devmapper no_zfs",
    )


def go_mod(component: Component, upstream: str) -> str:
    """A go.mod that builds the component from published modules.

    :param upstream: the go.mod of the component's first module. Replacements do not carry over to those who
        require a module, and Kubernetes requires its own parts at v0.0.0: so they are named again here, at the
        version that the parts are published under.
    """
    lines = [f"module lab.test/{component.name}", ""]
    lines += re.findall(r"^(?:go|godebug) .+$", upstream, re.MULTILINE)
    lines += ["", "require (", *(f"\t{module} {version}" for module, version in component.modules), ")"]
    if component.staging:
        parts = re.findall(r"^(?:replace)?\s*(\S+)(?: v0\.0\.0)? => \./staging/src/\S+$", upstream, re.MULTILINE)
        lines += ["", "replace (", *(f"\t{part} => {part} {component.staging}" for part in sorted(parts)), ")"]
    return "\n".join(lines) + "\n"
