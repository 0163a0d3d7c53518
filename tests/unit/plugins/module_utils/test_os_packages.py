# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _os_packages, _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done

SIMULATED = """
Inst libssl3 [3.0.11-1] (3.0.15-1 Debian:12 [amd64])
Remv old-thing [1.0]
Conf libssl3 (3.0.15-1 Debian:12 [amd64])
"""
CHECK_UPDATE = """
openssl-libs.x86_64          1:3.0.7-27.el9          baseos
kernel.x86_64                5.14.0-427.13.1.el9_4   baseos
Obsoleting Packages
grub2-tools.x86_64           1:2.06-77.el9           baseos
"""
DPKG = "hi |kubeadm|1.34.4-1.1\nhi |kubelet|1.34.4-1.1\nii |kubectl|1.34.4-1.1\nii |bash|5.2\n"


class Host:
    """Answers what the programs would, and remembers what was run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[list[str]] = []
        self.fails = ""
        self.dpkg = DPKG
        self.after = DPKG.replace("bash|5.2", "bash|5.3")
        self.simulated = [SIMULATED, ""]

    def __call__(self, argv: list[str], **options: Any) -> Done:
        line = " ".join(argv)
        self.ran.append(argv)
        if self.fails and self.fails in line:
            return Done(argv, 100, "", "E: it went wrong")
        if argv[-1] == "dist-upgrade" and "-s" not in argv:
            self.dpkg = self.after
        if argv[0] == "dpkg":
            self.dpkg = self.dpkg.replace("iF ", "ii ")
        if "-s" in argv:
            return Done(argv, 0, self.simulated.pop(0) if len(self.simulated) > 1 else self.simulated[0], "")
        if "check-update" in argv:
            return Done(argv, 100, CHECK_UPDATE, "")
        return Done(argv, 0, self.dpkg if argv[0] == "dpkg-query" else "", "")

    def lines(self, word: str) -> list[str]:
        return [" ".join(argv) for argv in self.ran if word in argv]

    def pinned(self, argv: list[str]) -> str:
        (option,) = [word for word in argv if word.startswith("Dir::Etc::Preferences=")]
        return Path(option.partition("=")[2]).read_text()

    def apt(self) -> _os_packages.AptUpgrade:
        return _os_packages.AptUpgrade(60, self, str(self.root))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    return Host(tmp_path)


@pytest.fixture
def module(host: Host, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The whole module on such a host."""
    monkeypatch.setattr(_os_packages, "manager", lambda _timeout: host.apt())
    monkeypatch.setattr(_record, "locked", lambda _deadline: contextlib.nullcontext())

    def run(check: bool = False, **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = run_module("os_packages", options, check=check)
        return result

    return run


def test_dnf_leaves_out_kubernetes(host: Host) -> None:
    assert _os_packages.DnfUpgrade(60, host).upgradable() == ["kernel", "openssl-libs"]
    assert any(word.startswith("--exclude=kubeadm,kubelet,kubectl") for word in host.ran[0])


def test_dnf_asks_the_repositories_anew_and_is_asked_nothing(host: Host) -> None:
    """Within metadata_expire, two days, it would not hear of an update; and nobody is there to accept a key."""
    _os_packages.DnfUpgrade(60, host).refresh()
    assert host.ran == [["dnf", "-qy", "--refresh", "makecache"]]


def test_apt_keeps_kubernetes_at_what_is_installed_and_the_hosts_own_preferences_too(host: Host) -> None:
    own = host.root / "etc/apt/preferences"
    own.parent.mkdir(parents=True)
    own.write_text("Package: nginx\nPin: version 1.2\nPin-Priority: 900\n")
    apt = host.apt()
    assert apt.upgradable() == ["libssl3", "old-thing"]
    apt.upgrade()
    for argv in (argv for argv in host.ran if argv[-1] == "dist-upgrade"):
        pins = host.pinned(argv)
        assert "Package: kubectl\nPin: version 1.34.4-1.1\nPin-Priority: 30000" in pins and "Package: kubelet" in pins
        assert pins.endswith(own.read_text()) and "Package: bash" not in pins
    assert "--force-confold" in " ".join(host.ran[-1])


def test_all_is_upgraded_and_told(host: Host, module: Any) -> None:
    result = module()
    assert result["changed"] and result["packages"] == ["libssl3", "old-thing"], result
    assert len(host.lines("update")) == 1
    again = module()
    assert not again["changed"] and again["packages"] == []


@pytest.mark.parametrize("how", [{"state": "available"}, {"check": True}], ids=str)
def test_looking_changes_nothing(host: Host, module: Any, how: dict[str, Any]) -> None:
    result = module(**how)
    assert result["packages"] == ["libssl3", "old-thing"] and result["changed"] == ("check" in how)
    assert all("-s" in argv for argv in host.ran if argv[-1] == "dist-upgrade") and not host.lines("dpkg")


def test_what_an_interrupted_dpkg_left_is_work_and_is_finished(host: Host, module: Any) -> None:
    host.dpkg, host.after = DPKG + "iF |demo-os|2.0\n", DPKG + "ii |demo-os|2.0\n"
    host.simulated = [""]
    assert module(state="available")["packages"] == ["demo-os"]
    result = module()
    assert result["changed"] and result["packages"] == ["demo-os"], result
    assert host.lines("--configure") and module()["packages"] == []


def test_an_upgrade_that_failed_before_it_changed_anything_is_no_change(host: Host, module: Any) -> None:
    host.fails = "--force-confold dist-upgrade"
    result = module()
    assert result["failed"] and "Upgrading the packages failed" in result["msg"] and "it went wrong" in result["msg"]
    assert not result["changed"] and result["packages"] == ["libssl3", "old-thing"]


def test_what_could_still_be_upgraded_is_told(host: Host, module: Any) -> None:
    host.simulated = [SIMULATED, "Inst old-thing [1.0] (2.0)\n"]
    result = module()
    assert result["failed"] and result["changed"] and "after the upgrade: old-thing." in result["msg"]
