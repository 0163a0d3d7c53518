# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""dnf: its exact commands, and what is read out of its answers."""

from __future__ import annotations

import os
import pathlib
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _packages_dnf
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_dnf import Dnf
from ansible_collections.clustercare.kubeadm.plugins.module_utils._repository import Source
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

SOURCE = Source(
    "/etc/yum.repos.d/kubernetes.repo",
    "https://packages.example.org/v1.35/rpm/",
    (1, 35),
    "[kubernetes]\nbaseurl=https://packages.example.org/v1.35/rpm/\nexclude=kubelet kubeadm kubectl\n",
    "kubernetes",
)
WANTED = {"kubelet": "1.35.4-150500.1.1", "kubectl": "1.35.4-150500.1.1"}


class Programs:
    def __init__(self, answers: Optional[dict[str, tuple[int, str, str]]] = None) -> None:
        self.answers = answers or {}
        self.ran: list[str] = []

    def __call__(self, argv: list[str], **_rest: Any) -> Done:
        self.ran.append(" ".join(argv))
        found = next((answer for words, answer in self.answers.items() if words in self.ran[-1]), (0, "", ""))
        return Done(argv, *found)


def dnf(programs: Programs, root: pathlib.Path, version: int = 4) -> Dnf:
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    (root / "usr/bin" / ("dnf5" if version == 5 else "dnf-3")).write_text("")
    link = root / "usr/bin/dnf"
    if not link.exists():
        os.symlink("dnf5" if version == 5 else "dnf-3", link)
    manager = Dnf(programs, root=str(root))
    manager.use([SOURCE])
    return manager


def test_the_exact_commands_that_change_something(tmp_path: pathlib.Path) -> None:
    programs = Programs()
    manager = dnf(programs, tmp_path)
    manager.refresh([SOURCE])
    manager.download(WANTED)
    manager.install({"kubeadm": "1.35.4-150500.1.1"})
    manager.install(WANTED)
    start = "dnf --assumeyes install --setopt=keepcache=True --disableexcludes=kubernetes"
    assert programs.ran == [
        "dnf --quiet --assumeyes --refresh --repo=kubernetes --setopt=kubernetes.skip_if_unavailable=False makecache",
        f"{start} --downloadonly kubelet-1.35.4-150500.1.1 kubectl-1.35.4-150500.1.1",
        f"{start} --exclude=kubelet,kubectl kubeadm-1.35.4-150500.1.1",
        f"{start} --exclude=kubeadm kubelet-1.35.4-150500.1.1 kubectl-1.35.4-150500.1.1",
    ]


@pytest.mark.parametrize(
    ("answer", "found"), [((0, "ours\n\nours\n", ""), 1), ((0, "", ""), 0), ((1, "ours\n", "no"), 0)]
)
def test_a_mirror_that_names_no_minor_is_known_by_what_it_has(
    tmp_path: pathlib.Path, answer: tuple[int, str, str], found: int
) -> None:
    repos = tmp_path / "etc" / "yum.repos.d"
    repos.mkdir(parents=True)
    (repos / "all.repo").write_text(
        "[ours]\nbaseurl=https://a.example.org/k8s/\n[base]\nbaseurl=https://a.example.org/os/\n"
    )
    programs = Programs({"--queryformat=%{repoid}\\n kubeadm": answer})
    assert dnf(programs, tmp_path).providers() == ["https://a.example.org/k8s/"][:found]


def test_dnf5_knows_the_option_by_another_name(tmp_path: pathlib.Path) -> None:
    programs = Programs()
    dnf(programs, tmp_path, version=5).download({"kubelet": "1.35.4-1"})
    assert "--setopt=disable_excludes=kubernetes" in programs.ran[0] and "--disableexcludes" not in programs.ran[0]


def test_dnf5_is_told_all_repositories_at_once_for_its_last_word_wins(tmp_path: pathlib.Path) -> None:
    programs = Programs()
    for version, words in (
        (5, "--setopt=disable_excludes=kubernetes,mirror"),
        (4, "--disableexcludes=kubernetes --disableexcludes=mirror"),
    ):
        manager = dnf(programs, tmp_path / str(version), version)
        manager.use([SOURCE, SOURCE._replace(repo_id="mirror")])
        manager.download({"kubelet": "1.35.4-1"})
        assert f" {words} --downloadonly" in programs.ran[-1]


def test_looking_aside_uses_repository_files_and_a_cache_of_its_own(tmp_path: pathlib.Path) -> None:
    programs = Programs({"repoquery": (0, "kubeadm|1.35.4-150500.1.1\n\nkubelet|1.35.4-150500.1.1\n", "")})
    found = dnf(programs, tmp_path).look_aside([SOURCE], ["kubeadm", "kubelet"])
    assert found == {"kubeadm": ["1.35.4-150500.1.1"], "kubelet": ["1.35.4-150500.1.1"]}
    own = f"{tmp_path}/var/lib/clustercare/dnf"
    assert programs.ran == [
        f"dnf --quiet --assumeyes --setopt=reposdir={own}/repos.d --setopt=cachedir={own}/cache --disableexcludes=all "
        "--setopt=kubernetes.skip_if_unavailable=False "
        r"--refresh repoquery --available --queryformat=%{name}|%{version}-%{release}\n kubeadm kubelet"
    ]
    assert pathlib.Path(f"{own}/repos.d/kubernetes.repo").read_text() == SOURCE.entry


def test_a_version_lock_is_released_and_set_again(tmp_path: pathlib.Path) -> None:
    locks = tmp_path / "etc/dnf/plugins/versionlock.list"
    locks.parent.mkdir(parents=True)
    locks.write_text("# Added lock\nkubelet-0:1.34.4-150500.1.1.*\nbash-0:5.1-1.*\n")
    programs = Programs()
    manager = dnf(programs, tmp_path)
    assert manager.held() == ["kubelet"]
    manager.release_holds(["kubelet"])
    manager.restore_holds(["kubelet"])
    assert programs.ran == ["dnf --quiet versionlock delete kubelet"], "nothing was lost here"
    locks.write_text("")
    manager.restore_holds(["kubelet"])
    assert programs.ran[1:] == ["dnf --quiet versionlock add kubelet"]


def test_without_locks_versionlock_is_not_called(tmp_path: pathlib.Path) -> None:
    programs = Programs()
    manager = dnf(programs, tmp_path)
    manager.release_holds([])
    manager.restore_holds([])
    assert programs.ran == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("kubelet-0:1.34.4-150500.1.1.*\nkubeadm-0:1.34.4-150500.1.1.*\n", ["kubeadm", "kubelet"]),
        ("#kubelet-0:1.34.4-1.*\n!kubectl-0:1.35.0-1.*\n", []),
        ('version = "1.0"\n[[packages]]\nname = "kubelet"\n', ["kubelet"]),
        ("", []),
    ],
)
def test_lock_lists(text: str, names: list[str]) -> None:
    assert _packages_dnf.parse_locks(text) == names


@pytest.mark.parametrize(
    ("err", "told"),
    [
        ("Error: Unable to find a match: kubelet-1.35.9\n", "Error: Unable to find a match: kubelet-1.35.9"),
        (
            "All matches were filtered out by exclude filtering for argument: kubelet-1.35.9\n"
            "Error: Unable to find a match: kubelet-1.35.9\n",
            "All matches were filtered out by exclude filtering for argument: kubelet-1.35.9 "
            "Error: Unable to find a match: kubelet-1.35.9",
        ),
        (
            "Failed to resolve the transaction:\nProblem: conflicting requests\n"
            "  - nothing provides cri-tools >= 1.35 needed by kubeadm-1.35.9-1.x86_64 from kubernetes\n",
            "Failed to resolve the transaction: Problem: conflicting requests "
            "- nothing provides cri-tools >= 1.35 needed by kubeadm-1.35.9-1.x86_64 from kubernetes",
        ),
        (
            "Running transaction\nTransaction failed: Rpm transaction failed.\n"
            "Warning: skipped OpenPGP checks for 1 package from repository: kubernetes\n",
            "Transaction failed: Rpm transaction failed.",
        ),
        ("Argument 'kubelet-1.35.9' matches only excluded packages.\n", "Argument 'kubelet-1.35.9' matches only"),
        ("something else\n", "something else"),
    ],
)
def test_a_failure_is_told_in_dnfs_words(err: str, told: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(CareError) as error:
        dnf(Programs({"install": (1, "", err)}), tmp_path).install({"kubelet": "1.35.9"})
    assert error.value.message.startswith(f"dnf cannot install: {told}")


@pytest.mark.parametrize(
    "locked",
    [
        "Transaction failed: Failed to obtain rpm transaction lock. Another transaction is in progress.\n",
        "RPM: error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)\n",
    ],
)
def test_a_lock_for_which_dnf_does_not_wait_is_waited_for(
    locked: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs({"install": (1, "", locked)})
    manager = dnf(programs, tmp_path)
    monkeypatch.setattr(Deadline, "sleep", lambda _self, _seconds: programs.answers.clear())
    manager.install({"kubelet": "1.35.4-1"})
    assert len(programs.ran) == 2
    manager.lock_timeout = 0
    programs.answers["install"] = (1, "", locked)
    with pytest.raises(CareError, match="transaction lock"):
        manager.install({"kubelet": "1.35.4-1"})


def test_installed_versions_are_read_without_the_sentences(tmp_path: pathlib.Path) -> None:
    said = "kubeadm|1.34.4-150500.1.1\npackage cri-tools is not installed\n"
    programs = Programs({"rpm": (1, said, "")})
    assert dnf(programs, tmp_path).installed() == {"kubeadm": "1.34.4-150500.1.1"}
    assert r"--queryformat=%{NAME}|%{VERSION}-%{RELEASE}\n" in programs.ran[0]


def test_downloads_are_looked_for_in_every_cache(tmp_path: pathlib.Path) -> None:
    cache = tmp_path / "var/cache/dnf/kubernetes-1234/packages"
    cache.mkdir(parents=True)
    (cache / "kubelet-1.35.4-150500.1.1.x86_64.rpm").write_text("")
    assert dnf(Programs(), tmp_path).missing_downloads(WANTED) == ["kubectl"]
