# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The minor in package sources: found and switched, and not one other byte."""

from __future__ import annotations

from typing import Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _repository

HOST = "https://packages.example.org"
LIST = f"deb [signed-by=/etc/apt/keyrings/v1.34/k.gpg arch=amd64] {HOST}/core:/stable:/v1.34/deb/ /\n"
MIRROR = (
    "# deb http://old.example.org/v1.33/deb/ /\ndeb http://10.0.0.1:8081/repository/k8s/v1.34/deb/ /  # ours v1.34\n"
)
DEB822 = f"""# Kubernetes, was {HOST}/core:/stable:/v1.34/deb/
Types: deb
URIs: {HOST}/core:/stable:/v1.34/deb/
# {HOST}/core:/stable:/v1.34/deb/ once more
Suites: /
Signed-By: /etc/apt/keyrings/kubernetes.gpg

Types: deb
URIs: {HOST}/isv:/cri-o:/stable:/v1.34/deb/
Suites: /

Types: deb
Enabled: no
URIs: {HOST}/core:/stable:/v1.32/deb/
Suites: /
"""
REPO = f"""[kubernetes]
name=Kubernetes v1.34
baseurl={HOST}/core:/stable:/v1.34/rpm/
enabled=1
gpgcheck=1
gpgkey={HOST}/core:/stable:/v1.34/rpm/repodata/repomd.xml.key
exclude=kubelet kubeadm kubectl cri-tools kubernetes-cni

[cri-o]
name=CRI-O
baseurl={HOST}/addons:/cri-o:/stable:/v1.34/rpm/
enabled=1

[old]
baseurl={HOST}/core:/stable:/v1.30/rpm/
enabled=0
"""
NO_SPACES = "Types:deb\nURIs:http://a.example.org/v1.34/deb/\nSuites:/\n"
TWO_MIRRORS = """Types: deb
URIs: http://a.example.org/v1.34/deb/
      http://b.example.org/v1.34/deb/
Suites: /
"""


@pytest.mark.parametrize(
    ("path", "text", "uris"),
    [
        ("/k.list", LIST, [f"{HOST}/core:/stable:/v1.34/deb/"]),
        ("/k.list", MIRROR, ["http://10.0.0.1:8081/repository/k8s/v1.34/deb/"]),
        ("/k.list", "deb-src http://a.example.org/v1.34/deb/ /\n#deb http://a.example.org/v1.34/deb/ /\n", []),
        ("/k.list", "deb http://a.example.org/debian bookworm main\n", []),
        ("/k.list", "deb http://a.example.org/v1.34.4/deb/ /\n", []),
        ("/k.sources", DEB822, [f"{HOST}/core:/stable:/v1.34/deb/"]),
        ("/k.sources", TWO_MIRRORS, ["http://a.example.org/v1.34/deb/", "http://b.example.org/v1.34/deb/"]),
        ("/k.repo", REPO, [f"{HOST}/core:/stable:/v1.34/rpm/"]),
        ("/empty.list", "", []),
    ],
)
def test_only_enabled_kubernetes_entries_with_a_minor_are_found(path: str, text: str, uris: list[str]) -> None:
    found = _repository.by_minor(_repository.entries({path: text}))
    assert [source.uri for source in found] == uris
    assert all(source.minor == (1, 34) for source in found)


def switched(path: str, text: str, minor: tuple[int, int] = (1, 35)) -> str:
    sources = _repository.by_minor(_repository.entries({path: text}))
    return _repository.switch(path, text, sources, minor)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("/k.list", LIST, LIST.replace("/v1.34/deb", "/v1.35/deb")),
        ("/k.list", MIRROR, MIRROR.replace("k8s/v1.34/", "k8s/v1.35/")),
        ("/k.list", LIST.rstrip("\n"), LIST.rstrip("\n").replace("/v1.34/deb", "/v1.35/deb")),
        (
            "/k.sources",
            DEB822,
            DEB822.replace(
                "URIs: https://packages.example.org/core:/stable:/v1.34", f"URIs: {HOST}/core:/stable:/v1.35"
            ),
        ),
        ("/k.sources", TWO_MIRRORS, TWO_MIRRORS.replace("v1.34", "v1.35")),
        ("/k.sources", NO_SPACES, NO_SPACES.replace("v1.34", "v1.35")),
        ("/k.repo", REPO, REPO.replace("core:/stable:/v1.34", "core:/stable:/v1.35")),
    ],
    ids=[
        "key kept",
        "mirror and comments kept",
        "no newline at the end",
        "deb822",
        "two mirrors",
        "no spaces",
        "repo with its key",
    ],
)
def test_only_the_minor_in_the_path_changes(path: str, text: str, expected: str) -> None:
    assert text != expected
    assert switched(path, text) == expected
    assert switched(path, expected) == expected, "a second time it changes nothing"


def source(uri: str, path: str = "/k.list") -> _repository.Source:
    return _repository.entries({path: f"deb {uri} /\n"})[0]


OURS, NEXT = source("http://a.example.org/k8s/v1.34/deb/"), source("http://a.example.org/k8s/v1.35/deb/")
OTHER = source("http://a.example.org/tool/v1.2/deb/")


@pytest.mark.parametrize(
    ("sources", "current", "chosen"),
    [
        ([OURS], None, [OURS]),
        ([OURS, NEXT], (1, 34), [OURS, NEXT]),
        ([OURS, OTHER], (1, 34), [OURS]),
        ([OURS, OTHER], None, [OURS, OTHER]),
        ([], (1, 34), []),
    ],
    ids=["one", "two minors of one", "another project", "cannot be told", "none"],
)
def test_the_kubernetes_repository_is_told_from_others(
    sources: list[_repository.Source], current: Optional[tuple[int, int]], chosen: list[_repository.Source]
) -> None:
    assert _repository.choose(sources, current) == chosen


def test_of_two_minors_the_targets_is_used_and_else_the_newest() -> None:
    assert _repository.newest([OURS, NEXT], (1, 35)) == [NEXT]
    assert _repository.newest([OURS, NEXT], (1, 36)) == [NEXT]
    assert _repository.newest([OURS], (1, 35)) == [OURS]


def test_a_flat_mirror_is_known_by_what_the_package_manager_says() -> None:
    flat = source("http://a.example.org/all/")
    assert _repository.provided_by([flat, OTHER], ["http://a.example.org/all"]) == [flat]
    assert _repository.newest([flat], (1, 35)) == [flat]
