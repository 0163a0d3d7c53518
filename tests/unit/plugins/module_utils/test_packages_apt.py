# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""apt: its exact commands, and what is read out of its answers."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _packages_apt
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_apt import Apt
from ansible_collections.clustercare.kubeadm.plugins.module_utils._repository import Source
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

SOURCE = Source(
    "/etc/apt/sources.list.d/k.list",
    "http://packages.example.org/v1.35/deb/",
    (1, 35),
    "deb http://packages.example.org/v1.35/deb/ /\n",
)
INSTALL = (
    "apt-get install --yes --no-install-recommends --no-remove --allow-change-held-packages "
    "-o DPkg::Lock::Timeout=7 -o Dpkg::Options::=--force-confold"
)
DUMP = """APT "";
APT::Architecture "amd64";
APT::Update::Post-Invoke-Success:: "touch /changed";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
Acquire::http::Proxy "http://proxy.example.org:3128";
"""


class Programs:
    """Answers by the first words of a command, and remembers each with its environment."""

    def __init__(self, answers: Optional[dict[str, Any]] = None) -> None:
        self.answers = {"apt-config dump": (0, DUMP, ""), **(answers or {})}
        self.ran: list[str] = []
        self.envs: list[dict[str, str]] = []

    def __call__(self, argv: list[str], env: Optional[dict[str, str]] = None, **_rest: Any) -> Done:
        self.ran.append(" ".join(argv))
        self.envs.append(env or {})
        for words, answer in self.answers.items():
            if self.ran[-1].startswith(words):
                rc, out, err = answer.pop(0) if isinstance(answer, list) else answer
                return Done(argv, rc, out, err)
        return Done(argv, 0, "", "")


def apt(programs: Programs, root: pathlib.Path, lock_timeout: int = 7) -> Apt:
    return Apt(programs, lock_timeout=lock_timeout, timeout=60, root=str(root))


def test_the_exact_commands_that_change_something(tmp_path: pathlib.Path) -> None:
    programs = Programs()
    manager = apt(programs, tmp_path)
    manager.download({"kubeadm": "1.35.4-1.1", "kubelet": "1.35.4-1.1"})
    manager.install({"kubeadm": "1.35.4-1.1"})
    assert programs.ran == [
        f"{INSTALL} --download-only kubeadm=1.35.4-1.1 kubelet=1.35.4-1.1",
        f"{INSTALL} kubeadm=1.35.4-1.1",
    ]
    for env in programs.envs:
        assert env["DEBIAN_FRONTEND"] == "noninteractive" and env["NEEDRESTART_SUSPEND"] == "1"


def test_a_refresh_reads_the_kubernetes_source_alone(tmp_path: pathlib.Path) -> None:
    programs = Programs()
    apt(programs, tmp_path).refresh([SOURCE])
    own = f"{tmp_path}/var/lib/clustercare/apt"
    assert programs.ran[-1] == (
        f"apt-get update -o Dir::Etc::sourcelist={own}/sources/refresh.list "
        "-o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 -o DPkg::Lock::Timeout=7"
    )
    assert pathlib.Path(f"{own}/sources/refresh.list").read_text() == SOURCE.entry
    assert "Dir::State" not in pathlib.Path(programs.envs[-1]["APT_CONFIG"]).read_text()


def test_a_repository_that_stands_in_both_formats_is_asked_in_one(tmp_path: pathlib.Path) -> None:
    stanza = "Types: deb\nURIs: http://packages.example.org/v1.35/deb/\nSuites: /\n"
    apt(Programs(), tmp_path).refresh([SOURCE, SOURCE._replace(path="/etc/apt/k.sources", entry=stanza)])
    (written,) = (tmp_path / "var/lib/clustercare/apt/sources").iterdir()
    assert (written.name, written.read_text()) == ("refresh.list", SOURCE.entry)


def test_looking_aside_has_a_state_of_its_own_with_the_hosts_proxy_and_no_hooks(tmp_path: pathlib.Path) -> None:
    madison = "   kubeadm | 1.35.4-1.1 | http://packages.example.org/v1.35/deb  Packages\n"
    programs = Programs({"apt-cache madison": (0, madison, "")})
    assert apt(programs, tmp_path).look_aside([SOURCE], ["kubeadm"]) == {"kubeadm": ["1.35.4-1.1"]}
    assert programs.ran == ["apt-config dump", "apt-get update", "apt-cache madison kubeadm"]
    config = pathlib.Path(programs.envs[1]["APT_CONFIG"])
    assert programs.envs[2]["APT_CONFIG"] == str(config)
    text = config.read_text()
    assert 'Acquire::http::Proxy "http://proxy.example.org:3128";' in text
    assert "Post-Invoke" not in text
    own = f"{tmp_path}/var/lib/clustercare/apt"
    for setting in (
        "Dir::State",
        "Dir::State::lists",
        "Dir::Cache",
        "Dir::Etc::sourcelist",
        "Dir::Etc::sourceparts",
        "Dir::Etc::parts",
    ):
        assert f'\n{setting} "{own}/' in text, setting
    assert sorted(os.listdir(tmp_path)) == ["var"] and sorted(os.listdir(tmp_path / "var")) == ["lib"]


def test_a_missing_repository_is_told_in_apts_words(tmp_path: pathlib.Path) -> None:
    err = "E: Failed to fetch http://x/Packages  404  Not Found\nE: Some index files failed to download.\n"
    with pytest.raises(CareError, match="apt-get update fails: Failed to fetch http://x/Packages  404"):
        apt(Programs({"apt-get update": (100, "", err)}), tmp_path).refresh([SOURCE])


def test_a_lock_for_which_apt_does_not_wait_is_waited_for(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deadline, "sleep", lambda _self, _seconds: None)
    locked = (100, "", "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)\n")
    programs = Programs({"apt-get update": [locked, (0, "", "")]})
    apt(programs, tmp_path).refresh([SOURCE])
    assert len([words for words in programs.ran if words.startswith("apt-get update")]) == 2
    with pytest.raises(CareError, match="held by process 7"):
        apt(Programs({"apt-get update": locked}), tmp_path, lock_timeout=0).refresh([SOURCE])


def test_only_lost_holds_are_restored(tmp_path: pathlib.Path) -> None:
    programs = Programs({"dpkg-query": (0, "ii |kubeadm|1.35.4-1.1\nhi |kubelet|1.34.4-1.1\n", "")})
    apt(programs, tmp_path).restore_holds(["kubeadm", "kubelet"])
    assert programs.ran[1:] == ["apt-mark hold kubeadm"]


def test_an_interrupted_dpkg_is_mended_under_the_frontends_lock(tmp_path: pathlib.Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    programs = Programs()
    apt(programs, tmp_path).mend()
    assert programs.ran == ["dpkg --force-confold --configure --pending"]
    assert programs.envs[0]["DPKG_FRONTEND_LOCKED"] == "1"
    with pytest.raises(CareError, match="cannot be mended: post-installation script"):
        apt(Programs({"dpkg": (1, "", "post-installation script failed\n")}), tmp_path).mend()


def test_a_dpkg_that_outlived_its_apt_is_waited_for(tmp_path: pathlib.Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    lock = tmp_path / "var/lib/dpkg/lock"
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", hold, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin and other.stdout
        other.stdout.readline()
        programs = Programs()
        with pytest.raises(CareError, match=f"still runs, and holds {lock}"):
            apt(programs, tmp_path, lock_timeout=0).mend()
        assert programs.ran == []
        other.stdin.close()
    apt(programs, tmp_path, lock_timeout=0).mend()
    assert programs.ran == ["dpkg --force-confold --configure --pending"]


def test_what_the_cache_has_is_not_missing(tmp_path: pathlib.Path) -> None:
    archives = tmp_path / "var/cache/apt/archives"
    archives.mkdir(parents=True)
    for name in ("kubeadm_1.35.4-1.1_amd64.deb", "kubelet_1.35.40-1.1_amd64.deb", "kubectl_1%3a1.35.4-1.1_amd64.deb"):
        (archives / name).write_text("")
    wanted = {"kubeadm": "1.35.4-1.1", "kubelet": "1.35.4-1.1", "kubectl": "1:1.35.4-1.1"}
    assert apt(Programs(), tmp_path).missing_downloads(wanted) == ["kubelet"]


def test_a_simulation_tells_what_else_would_change(tmp_path: pathlib.Path) -> None:
    said = (
        "Inst kubelet [1.34.4-1.1] (1.35.4-1.1 x [amd64])\n"
        "Inst kubeadm [1.34.4-1.1] (1.35.4-1.1)\nInst cri-tools (1.35)\nConf kubeadm\n"
    )
    programs = Programs({f"{INSTALL} --simulate": (0, said, "")})
    assert apt(programs, tmp_path).also_changed({"kubeadm": "1.35.4-1.1"}) == ["kubelet"]


@pytest.mark.parametrize(
    ("line", "installed", "held", "unfinished"),
    [
        ("ii |kubelet|1.34.4-1.1", {"kubelet": "1.34.4-1.1"}, [], []),
        ("hi |kubelet|1.34.4-1.1", {"kubelet": "1.34.4-1.1"}, ["kubelet"], []),
        ("rc |kubelet|1.34.4-1.1", {}, [], []),
        ("iF |kubelet|1.34.4-1.1", {"kubelet": "1.34.4-1.1"}, [], ["kubelet"]),
        ("iU |openssl|3.0", {}, [], ["openssl"]),
        ("iHR|openssl|3.0", {}, [], ["openssl"]),
        ("it |man-db|2.11", {}, [], ["man-db"]),
        ("un |dnf|", {}, [], []),
    ],
)
def test_dpkgs_letters(line: str, installed: dict[str, str], held: list[str], unfinished: list[str]) -> None:
    assert _packages_apt.parse_dpkg(line + "\n") == (installed, held, unfinished)


def test_policy_and_madison_are_read() -> None:
    policy = """kubeadm:
  Installed: 1.34.4-1.1
  Version table:
 *** 1.34.4-1.1 500
        500 http://packages.example.org/all  Packages
        100 /var/lib/dpkg/status
"""
    assert _packages_apt.parse_policy(policy) == ["http://packages.example.org/all"]
    said = (
        " kubeadm | 1.35.4-1.1 | http://a  Packages\n kubeadm | 1.35.4-1.1 | http://b  Packages\n"
        " kubeadm | 1.35.4-1.1 | http://a Sources\n"
    )
    assert _packages_apt.parse_madison(said) == {"kubeadm": ["1.35.4-1.1"]}
