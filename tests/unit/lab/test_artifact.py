# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a folder of the cache counts, and when it is made again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lab.artifact import Artifact, write


def build(folder: Path) -> dict[str, Any]:
    (folder / "kubelet").write_text("the program")
    return {"origin": "a test"}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    found = Artifact(tmp_path / "kubernetes" / "1.35.4", "recipe-a")
    found.make(build)
    return found


def test_a_complete_one_counts(artifact: Artifact) -> None:
    found = artifact.manifest()

    assert found is not None
    assert found["origin"] == "a test"
    assert list(found["files"]) == ["kubelet"]
    assert not artifact.draft.exists()


def test_a_lost_file_is_noticed(artifact: Artifact) -> None:
    (artifact.path / "kubelet").unlink()

    assert artifact.manifest() is None


def test_a_cut_file_is_noticed(artifact: Artifact) -> None:
    (artifact.path / "kubelet").write_text("the prog")

    assert artifact.manifest() is None


def test_a_changed_file_of_equal_size_is_noticed(artifact: Artifact) -> None:
    program = artifact.path / "kubelet"
    program.write_text("THE PROGRAM")
    os.utime(program, (1, 1))

    assert artifact.manifest() is None


def test_a_copied_cache_still_counts(artifact: Artifact) -> None:
    os.utime(artifact.path / "kubelet", (1, 1))

    assert artifact.manifest() is not None


def test_another_recipe_makes_it_stale(artifact: Artifact) -> None:
    assert Artifact(artifact.path, "recipe-b").manifest() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"recipe": "recipe-a"}'])
def test_a_broken_manifest_makes_it_stale(artifact: Artifact, text: str) -> None:
    (artifact.path / "manifest.json").write_text(text)

    assert artifact.manifest() is None


def test_an_interrupted_one_never_counts(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path / "it", "recipe-a")

    def interrupted(folder: Path) -> dict[str, Any]:
        build(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifact.make(interrupted)

    assert artifact.manifest() is None
    assert not artifact.path.exists()


def test_the_next_try_goes_on_with_what_was_finished(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path / "it", "recipe-a")

    def interrupted(folder: Path) -> dict[str, Any]:
        (folder / "one").write_text("whole")
        artifact.adopt(folder, ["one"])
        (folder / "two").write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifact.make(interrupted, resume=True)
    seen: list[str] = []

    def rest(folder: Path) -> dict[str, Any]:
        seen.extend(artifact.finished(folder))
        (folder / "two").write_text("half and the rest")
        return {}

    artifact.make(rest, resume=True)

    assert seen == ["one"]
    found = artifact.manifest()
    assert found is not None and sorted(found["files"]) == ["one", "two"]


def test_a_try_of_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    old = Artifact(tmp_path / "it", "recipe-a")

    def interrupted(folder: Path) -> dict[str, Any]:
        (folder / "one").write_text("old")
        old.adopt(folder, ["one"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        old.make(interrupted, resume=True)
    new = Artifact(tmp_path / "it", "recipe-b")
    new.make(build, resume=True)

    found = new.manifest()
    assert found is not None and list(found["files"]) == ["kubelet"]


def test_equal_content_has_an_equal_name(tmp_path: Path, artifact: Artifact) -> None:
    other = Artifact(tmp_path / "elsewhere", "recipe-b")
    other.make(build)

    assert other.content() == artifact.content()


def test_what_is_private_is_so_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    write(tmp_path / "new" / "secret", "token", 0o600)
    assert (tmp_path / "new" / "secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_file_gets_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(tmp_path / "program", "text", 0o755)
    finally:
        os.umask(before)
    assert (tmp_path / "program").stat().st_mode & 0o777 == 0o755
