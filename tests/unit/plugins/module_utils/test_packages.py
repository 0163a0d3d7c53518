# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Package versions and the order of the work, with a package manager that only remembers."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _packages
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages import Packages
from ansible_collections.clustercare.kubeadm.plugins.module_utils._repository import Source

ALL = ["kubeadm", "kubelet", "kubectl"]
OLD = "deb http://packages.example.org/v1.34/deb/ /\n"
NEW = "deb http://packages.example.org/v1.35/deb/ /\n"


@pytest.mark.parametrize(
    ("wanted", "versions", "candidate"),
    [
        ("1.35.4", ["1.35.3-1.1", "1.35.4-1.1"], "1.35.4-1.1"),
        ("v1.35.4", ["1.35.4-1.1"], "1.35.4-1.1"),
        ("1.35.4", ["1.35.4-1.1", "1.35.4-2.1", "1.35.4-10.1"], "1.35.4-10.1"),
        ("1.35", ["1.35.4-1.1", "1.35.9-1.1", "1.35.10-1.1"], "1.35.10-1.1"),
        ("1.35", ["1.35.0~rc.1-1.1", "1.35.0-1.1"], "1.35.0-1.1"),
        ("1.35", ["1.35.4-150500.1.1"], "1.35.4-150500.1.1"),
        ("1.35.4-1.1", ["1.35.4-1.1", "1.35.4-2.1"], "1.35.4-1.1"),
        ("1.35.4-3.1", ["1.35.4-1.1"], None),
        ("1.35.5", ["1.35.4-1.1", "1.35.50-1.1"], None),
        ("1.35", [], None),
    ],
)
def test_what_a_person_wrote_becomes_a_package_version(
    wanted: str, versions: list[str], candidate: Optional[str]
) -> None:
    assert _packages.resolve(wanted, {"kubeadm": versions}).get("kubeadm") == candidate


def test_the_newest_patch_is_one_that_all_packages_have() -> None:
    versions = {"kubeadm": ["1.35.4-1.1", "1.35.5-1.1"], "kubelet": ["1.35.4-1.1"]}
    assert _packages.resolve("1.35", versions) == {"kubeadm": "1.35.4-1.1", "kubelet": "1.35.4-1.1"}


@pytest.mark.parametrize(
    ("wanted", "installed", "there"),
    [
        ("1.35.4", "1.35.4-1.1", True),
        ("1.35.4-1.1", "1.35.4-2.1", False),
        ("1.35", "1.35.4-1.1", False),
        ("1.35.4", None, False),
        ("1.35.4", "1.34.4-1.1", False),
    ],
)
def test_only_an_exact_version_can_be_there_already(wanted: str, installed: Optional[str], there: bool) -> None:
    assert _packages.satisfied(wanted, installed) is there


class Remembering:
    """A package manager whose repositories are a dictionary, and which notes what it is asked to do."""

    name = "apt"
    places = "/etc/apt"

    def __init__(self, source: str, interrupted: bool = False, fails: str = "", stray: Sequence[str] = ()) -> None:
        self.source = source
        self.installed = dict.fromkeys(ALL, "1.34.4-1.1")
        self.held = list(ALL)
        self.interrupted = interrupted
        self.fails = fails
        self.stray = list(stray)
        self.cache: set[str] = set()
        self.system_knows = "1.34.4-1.1"
        self.did: list[str] = []

    def _do(self, what: str) -> None:
        self.did.append(what)
        if self.fails and what.startswith(self.fails):
            raise CareError(f"{what} fails")

    def overview(self) -> dict[str, Any]:
        return {
            "manager": "apt",
            "installed": dict(self.installed),
            "held": list(self.held),
            "interrupted": self.interrupted,
        }

    def texts(self) -> dict[str, str]:
        with open(self.source, encoding="utf-8") as file:
            return {self.source: file.read()}

    def providers(self) -> list[str]:
        return []

    def use(self, sources: Sequence[Source]) -> None:
        pass

    def look_aside(self, sources: Sequence[Source], names: Sequence[str]) -> dict[str, list[str]]:
        minor = sources[0].minor
        there = {(1, 34): ["1.34.4-1.1", "1.34.5-1.1"], (1, 35): ["1.35.3-1.1", "1.35.4-1.1"]}.get(minor or (0, 0))
        if there is None:
            raise CareError("404 not found")
        return dict.fromkeys(names, there)

    def known(self, names: Sequence[str]) -> dict[str, list[str]]:
        return {name: [self.system_knows] for name in names}

    def refresh(self, sources: Sequence[Source]) -> None:
        self._do(f"refresh {sources[0].uri}")
        self.system_knows = "1.35.4-1.1"

    def missing_downloads(self, versions: dict[str, str]) -> list[str]:
        return [name for name in versions if name not in self.cache]

    def download(self, versions: dict[str, str]) -> None:
        self._do(f"download {' '.join(versions)}")
        self.cache.update(versions)

    def also_changed(self, versions: dict[str, str]) -> list[str]:
        return self.stray

    def install(self, versions: dict[str, str]) -> None:
        self.held = [name for name in self.held if name not in versions]
        self._do(f"install {' '.join(versions)}")
        self.installed.update(versions)

    def mend(self) -> None:
        self._do("mend")
        self.interrupted = False

    def release_holds(self, names: Sequence[str]) -> None:
        pass

    def restore_holds(self, names: Sequence[str]) -> None:
        self.held = sorted({*self.held, *names}, key=ALL.index)


@pytest.fixture
def source(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "kubernetes.list"
    path.write_text(OLD)
    path.chmod(0o644)
    return str(path)


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def on(manager: Remembering, wanted: str = "1.35.4", names: Sequence[str] = tuple(ALL)) -> Packages:
    """The work on a host whose own directory stands beside its source file."""
    return Packages(manager, wanted, list(names), directory=os.path.join(os.path.dirname(manager.source), "care"))


def bring(
    manager: Remembering, staged: bool, names: Sequence[str] = tuple(ALL), check: bool = False, wanted: str = "1.35.4"
) -> dict[str, Any]:
    results: dict[str, Any] = {"changed": False}
    work = on(manager, wanted, names)
    try:
        _packages.bring(work, results, staged, ["kubeadm"] if staged else list(names), check)
    except CareError as error:
        results["error"] = error.message
    return results


def test_staging_downloads_all_and_installs_kubeadm_alone(source: str) -> None:
    manager = Remembering(source)
    results = bring(manager, staged=True)
    assert manager.did == [
        "refresh http://packages.example.org/v1.35/deb/",
        "download kubeadm kubelet kubectl",
        "install kubeadm",
    ]
    assert results["before"]["kubeadm"] == "1.34.4-1.1"
    assert results["after"] == {"kubeadm": "1.35.4-1.1", "kubelet": "1.34.4-1.1", "kubectl": "1.34.4-1.1"}
    assert (results["changed"], results["repository_changed"], results["downloaded"]) == (True, True, ALL)
    assert read(source) == NEW
    assert os.stat(source).st_mode & 0o777 == 0o644
    assert manager.held == ALL


def test_a_second_time_nothing_is_done(source: str) -> None:
    manager = Remembering(source)
    bring(manager, staged=True)
    manager.did.clear()
    results = bring(manager, staged=True)
    assert (manager.did, results["changed"]) == ([], False)
    assert bring(manager, staged=False, names=["kubelet", "kubectl"])["changed"] is True
    assert manager.did == ["install kubelet kubectl"]
    assert bring(manager, staged=False)["changed"] is False
    assert manager.held == ALL


def test_check_mode_tells_the_same_and_does_nothing(source: str) -> None:
    told = bring(Remembering(source), staged=True, check=True)
    manager = Remembering(source)
    assert manager.did == [] and read(source) == OLD
    done = bring(manager, staged=True)
    for key in ("changed", "before", "after", "downloaded", "repository_changed", "diff", "candidates"):
        assert told[key] == done[key], key
    assert told["diff"][0]["after"] == NEW


def test_a_repository_that_cannot_be_read_is_switched_back(source: str) -> None:
    results = bring(Remembering(source, fails="refresh"), staged=True)
    assert "refresh" in results["error"] and results["changed"] is False
    assert read(source) == OLD


def test_holds_are_as_found_also_after_a_failed_installation(source: str) -> None:
    manager = Remembering(source, fails="install")
    results = bring(manager, staged=True)
    assert "install kubeadm fails" in results["error"]
    assert results["changed"] is True and results["after"]["kubeadm"] == "1.34.4-1.1"
    assert manager.held == ALL


def test_holds_that_a_killed_run_left_released_are_restored_by_the_next_one(source: str) -> None:
    class Killed(BaseException):
        pass

    class PowerCut(Remembering):
        cut = False

        def install(self, versions: dict[str, str]) -> None:
            self.held.remove("kubeadm")
            self.cut = True

        def restore_holds(self, names: Sequence[str]) -> None:
            if self.cut:
                raise Killed
            super().restore_holds(names)

    manager = PowerCut(source)
    with pytest.raises(Killed):
        bring(manager, staged=True)
    assert manager.held == ["kubelet", "kubectl"]
    after = Remembering(source)
    after.held = manager.held
    assert bring(after, staged=True)["held"] == sorted(ALL)
    assert after.held == ALL
    after.held = ["kubelet"]
    assert bring(after, staged=True)["changed"] is False, "a hold that somebody else released is not ours to restore"


def test_an_interrupted_dpkg_is_mended_first(source: str) -> None:
    manager = Remembering(source, interrupted=True)
    results = bring(manager, staged=True)
    assert manager.did[0] == "mend" and results["mended"] is True


def test_the_kubelet_is_never_changed_before_its_turn(source: str) -> None:
    manager = Remembering(source, stray=["kubelet"])
    assert "would change kubelet as well" in bring(manager, staged=True)["error"]
    assert not [what for what in manager.did if what.startswith("install")]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("1.35.9", "has no 1.35.9 of kubeadm, kubelet, kubectl: it has 1.35.3-1.1, 1.35.4-1.1"),
        ("1.36.1", "v1.36/deb/ cannot be used: 404 not found"),
        ("1.34.3", "has no 1.34.3"),
    ],
)
def test_an_unknown_version_is_refused_with_what_there_is(source: str, wanted: str, words: str) -> None:
    manager = Remembering(source)
    assert words in bring(manager, staged=True, wanted=wanted)["error"]
    answer = _packages.answer(on(manager, wanted))
    assert words in answer["error"] and answer["candidate"] is None
    assert manager.did == [] and read(source) == OLD


def test_a_host_that_is_there_asks_nobody(source: str) -> None:
    class Deaf(Remembering):
        def look_aside(self, sources: Any, names: Any) -> Any:
            raise AssertionError("the repository was asked")

    manager = Deaf(source)
    manager.installed.update(dict.fromkeys(("kubeadm", "kubelet", "kubectl"), "1.35.4-1.1"))
    answer = _packages.answer(on(manager, "1.35.4"))
    assert (answer["candidate"], answer["available"], answer["error"]) == ("1.35.4-1.1", ["1.35.4-1.1"], None)
    with pytest.raises(AssertionError, match="was asked"):
        _packages.answer(on(manager, "1.35"))


def test_a_downgrade_is_refused(source: str) -> None:
    manager = Remembering(source)
    manager.installed["kubeadm"] = "1.35.10-1.1"
    assert "kubeadm is 1.35.10-1.1 here, newer than 1.35.4-1.1" in bring(manager, staged=True)["error"]
    assert manager.did == []


def test_without_any_source_the_way_out_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "debian.list"
    path.write_text("deb http://packages.example.org/debian bookworm main\n")
    error = _packages.answer(on(Remembering(str(path))))["error"]
    assert "No package source for Kubernetes is enabled in /etc/apt" in error
    assert "upgrade_manage_packages=false" in error
