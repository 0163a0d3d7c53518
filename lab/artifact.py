# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A folder in the cache that is complete or does not count.

It is made beside its place and renamed into it, with a manifest of its files. A file that was changed,
cut short or lost, or another recipe than today's, makes the folder count as not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


def digest(*parts: object) -> str:
    """A short name for a recipe: equal parts give an equal name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def describe(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(path)}


def unchanged(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a file is still as described; it is read again only when its time stamp differs."""
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != entry["size"]:
        return False
    return stat.st_mtime_ns == entry["mtime_ns"] or sha256(path) == entry["sha256"]


@dataclass(frozen=True)
class Artifact:
    """:param recipe: what decides about the content, as made by digest()."""

    path: Path
    recipe: str

    @property
    def draft(self) -> Path:
        """Where it is being made; what an interrupted try left there may be used by the next."""
        return self.path.with_name(f".{self.path.name}.partial")

    def manifest(self) -> dict[str, Any] | None:
        """What is recorded about it; None unless it is whole and of this recipe."""
        found = load(self.path)
        if found is None or found.get("recipe") != self.recipe:
            return None
        whole = all(unchanged(self.path / name, entry) for name, entry in found["files"].items())
        return found if whole else None

    def content(self) -> str:
        """A name for the very bytes that it holds."""
        found = self.manifest() or {"files": {}}
        return digest(sorted((name, entry["sha256"]) for name, entry in found["files"].items()))

    def make(self, build: Callable[[Path], dict[str, Any]], *, resume: bool = False) -> None:
        """Have it built in its draft folder, then put it in its place.

        :param build: fills the folder, and returns what else is worth recording.
        :param resume: keep what an interrupted try of the same recipe left.
        """
        left = load(self.draft)
        if not (resume and left and left.get("recipe") == self.recipe):
            remove(self.draft)
            self.draft.mkdir(parents=True)
            _save(self.draft, {"recipe": self.recipe, "files": {}})
        facts = build(self.draft)
        self.adopt(self.draft, _files(self.draft), facts)
        remove(self.path)
        self.draft.rename(self.path)

    @staticmethod
    def finished(folder: Path) -> list[str]:
        """The files of an interrupted try that are whole."""
        known = (load(folder) or {"files": {}})["files"]
        return [name for name, entry in known.items() if unchanged(folder / name, entry)]

    def adopt(self, folder: Path, names: Iterable[str], facts: dict[str, Any] | None = None) -> None:
        """Record these files of the folder; a builder does it for each part that need not be made again."""
        known = (load(folder) or {"files": {}})["files"]
        files = {
            name: known[name] if name in known and unchanged(folder / name, known[name]) else describe(folder / name)
            for name in names
        }
        _save(folder, {**(facts or {}), "recipe": self.recipe, "files": files})


def load(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else None


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, with its folder, whole or not at all, and what is private for nobody else's eyes at any time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o777 if mode & 0o077 else 0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as sink:
        draft.chmod(mode)  # past the umask
        sink.write(text)
    draft.replace(path)


def _save(folder: Path, found: dict[str, Any]) -> None:
    write(folder / MANIFEST, json.dumps(found, indent=1, sort_keys=True) + "\n")


def _files(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name != MANIFEST and not path.name.startswith(".")
    )
