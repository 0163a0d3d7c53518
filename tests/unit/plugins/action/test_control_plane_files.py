# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.clustercare.kubeadm.plugins.action import control_plane_files as action
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_archive import digest, write
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_files import Entry
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import WholeFile

STEM = "control-plane-cp1-20260101T020304Z"


class Controller:
    """A controller whose connection leads to this machine, and the module's answer."""

    def __init__(self, root: Path) -> None:
        self.home = root / "controller"
        self.on_host = root / "host"
        self.on_host.mkdir(exist_ok=True)
        self.commands: list[str] = []
        self.answer: dict[str, Any] = {"changed": True, "files": {"archives": []}, "removed": []}
        for suffix, private in ((".tar", False), ("-private.tar", True)):
            self.answer["files"]["archives"].append(self.archive(STEM + suffix, private))

    def archive(self, name: str, private: bool) -> dict[str, Any]:
        path = self.on_host / name
        with WholeFile(str(path)) as file:
            write(file, {"schema": 1}, [Entry("host/x", "file", content=name.encode())])
            file.commit()
        about = {"path": str(path), "name": name, "private": private, "files": [f"/{name}"]}
        return {**about, "size": path.stat().st_size, "sha256": digest(str(path))}

    def execute(self, asked: str, in_data: Any = None) -> dict[str, Any]:
        self.commands.append(asked)
        done = subprocess.run(["sh", "-c", asked], capture_output=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}

    def run(self, monkeypatch: pytest.MonkeyPatch, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        module = object.__new__(action.ActionModule)
        module._task = SimpleNamespace(check_mode=check_mode, args=arguments, get_name=lambda: "Save the files")
        module._connection = SimpleNamespace(is_pipelining_enabled=lambda: True)
        module._play_context = SimpleNamespace(remote_addr="cp1")
        module._loader = SimpleNamespace(path_dwim=str)
        module._low_level_execute_command = self.execute
        monkeypatch.setattr(module, "_execute_module", lambda task_vars: {**self.answer}, raising=False)
        monkeypatch.setattr(ActionBase, "run", lambda _self, _tmp, _task_vars: {})
        return module.run()

    def left(self) -> list[str]:
        return sorted(os.listdir(self.home)) if self.home.exists() else []


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def test_only_what_may_travel_travels(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    result = controller.run(monkeypatch, fetch_to=str(controller.home))
    assert controller.left() == [f"{STEM}.tar"]
    assert result["fetched"] == {
        "paths": [str(controller.home / f"{STEM}.tar")],
        "host_paths": [str(controller.on_host / f"{STEM}{suffix}") for suffix in (".tar", "-private.tar")],
        "travelled": [],
        "stayed": [f"/{STEM}-private.tar"],
        "changed": True,
    }
    assert not any("private" in asked for asked in controller.commands)


@pytest.mark.parametrize("said", [True, "yes", "true"])
def test_all_of_it_travels_when_asked_for(controller: Controller, monkeypatch: pytest.MonkeyPatch, said: Any) -> None:
    fetched = controller.run(monkeypatch, fetch_to=str(controller.home), private_keys=said)["fetched"]
    assert (fetched["travelled"], fetched["stayed"]) == ([f"/{STEM}-private.tar"], [])
    for name in (f"{STEM}.tar", f"{STEM}-private.tar"):
        copy = controller.home / name
        assert copy.read_bytes() == (controller.on_host / name).read_bytes()
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(controller.home.stat().st_mode) == 0o700
    # Later the host has nothing new.
    controller.answer["changed"] = False
    controller.commands.clear()
    again = controller.run(monkeypatch, fetch_to=str(controller.home), private_keys=said)
    assert (again["changed"], controller.commands) == (False, [])


def test_the_keys_can_be_fetched_later(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.run(monkeypatch, fetch_to=str(controller.home))
    controller.answer["changed"] = False
    result = controller.run(monkeypatch, fetch_to=str(controller.home), private_keys=True)
    assert result["changed"] and len(controller.left()) == 2


def test_check_mode_fetches_nothing(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    for archive in controller.answer["files"]["archives"]:
        del archive["sha256"]
    result = controller.run(monkeypatch, check_mode=True, fetch_to=str(controller.home), private_keys=True)
    assert result["changed"] and len(result["fetched"]["paths"]) == 2
    assert (controller.left(), controller.commands) == ([], [])


def test_an_archive_that_changed_on_the_host_is_thrown_away(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.answer["files"]["archives"][0]["sha256"] = "0" * 64
    result = controller.run(monkeypatch, fetch_to=str(controller.home))
    assert result["failed"] and "thrown away" in result["msg"] and "safe on the host" in result["msg"]
    assert controller.left() == []


def test_a_copy_that_is_not_the_same_is_not_overwritten(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.run(monkeypatch, fetch_to=str(controller.home))
    copy = controller.home / f"{STEM}.tar"
    whole = copy.read_bytes()
    (controller.home / f"{STEM}.tar").write_bytes((controller.on_host / f"{STEM}-private.tar").read_bytes())
    result = controller.run(monkeypatch, fetch_to=str(controller.home))
    assert result["failed"] and "move it away" in result["msg"] and copy.read_bytes() != whole


def test_a_host_cannot_choose_where_it_is_written(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.answer["files"]["archives"][0]["name"] = "../../evil.tar"
    result = controller.run(monkeypatch, fetch_to=str(controller.home))
    assert controller.left() == ["evil.tar"] and result["fetched"]["paths"][0] == str(controller.home / "evil.tar")


@pytest.mark.parametrize("arguments", [{}, {"fetch_to": "/x", "state": "verified"}])
def test_nothing_travels_unasked(
    controller: Controller, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    assert "fetched" not in controller.run(monkeypatch, **arguments) and controller.commands == []
