# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Get the programs: from the user's folder, the cache, a release download, or a build from Go modules."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import components, paths
from .artifact import Artifact, digest, load, remove, write
from .components import Component
from .downloads import Downloads, NotThere
from .errors import LabError
from .progress import Progress, step
from .shell import run

GIGABYTE = 1 << 30


@dataclass(frozen=True)
class Programs:
    """A component's programs in one folder.

    :param origin: in words, where they came from.
    :param content: a name for their bytes; what is made from them is made again when it changes.
    """

    component: Component
    folder: Path
    origin: str
    content: str

    def path(self, program: str) -> Path:
        return self.folder / program


class Binaries:
    """Gets each component once per run."""

    def __init__(self, progress: Progress, downloads: Downloads | None = None) -> None:
        self.progress = progress
        self.downloads = downloads or Downloads()

    def find(self, component: Component) -> Programs | None:
        """What is there already, without making anything."""
        return _given(component) or _cached(component)

    def get(self, component: Component) -> Programs:
        found = self.find(component)
        if found is None:
            self._make(component)
            found = _cached(component)
            assert found is not None, "what was just made is there"
        self.progress(f"{component.name} {component.version}: {found.origin}")
        return found

    def _make(self, component: Component) -> None:
        artifact = _artifact(component)
        if load(artifact.path) is not None:
            self.progress(f"{component.name} {component.version} in the cache is damaged or outdated: getting it again")

        def build(folder: Path) -> dict[str, Any]:
            try:
                origin = self.downloads.fetch(component, folder)
            except NotThere as why:
                self.progress(f"{component.name} {component.version} is not downloaded: {why}")
                _go_build(component, artifact, folder, self.progress)
                origin = "built from Go modules"
            prove(component, folder)
            return {"origin": origin}

        artifact.make(build, resume=True)
        remove(_go_cache())


def _artifact(component: Component) -> Artifact:
    return Artifact(paths.binaries(component.name, component.version), component.recipe)


def _given(component: Component) -> Programs | None:
    """From the user's own folder: <LAB_BIN_DIR>/<name>/<version>/<program>."""
    given = os.environ.get("LAB_BIN_DIR")
    if not given:
        return None
    folder = Path(given).resolve() / component.name / component.version
    if not folder.is_dir():
        return None
    missing = [program for program in component.files if not os.access(folder / program, os.X_OK)]
    if missing:
        raise LabError(
            f"LAB_BIN_DIR has {folder}, but no executable {', '.join(missing)} in it.",
            f"add them, or remove {folder} to have the lab get {component.name} itself",
        )
    prove(component, folder)
    stats = [(folder / program).stat() for program in component.files]
    content = digest([str(folder), *((stat.st_size, stat.st_mtime_ns) for stat in stats)])
    return Programs(component, folder, f"LAB_BIN_DIR ({folder})", content)


def _cached(component: Component) -> Programs | None:
    artifact = _artifact(component)
    found = artifact.manifest()
    if found is None or not set(component.files) <= set(found["files"]):
        return None
    content = digest([found["files"][program]["sha256"] for program in component.files])
    return Programs(component, artifact.path, f"cache ({found.get('origin', 'unknown')})", content)


def prove(component: Component, folder: Path) -> None:
    """A program that says another version, or nothing, would be found out much later."""
    if component.name != "kubernetes":
        return
    said = run([folder / "kubeadm", "version", "-o", "short"], check=False).stdout.strip()
    if said != f"v{component.version}":
        raise LabError(
            f"{folder}/kubeadm says that it is {said or 'nothing'}, not v{component.version}.", f"rm -r {folder}"
        )


def _go_cache() -> Path:
    # The lab's own: it grows by gigabytes, and nobody misses it when a component is complete.
    return paths.cache() / "work" / "go-build"


def go_command() -> str:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if not found:
        raise LabError(
            "The release downloads cannot be reached, and Go is not there to build the programs from Go modules.",
            "install Go 1.21 or newer (Debian 12's own is too old), or point LAB_BIN_DIR at a folder with the programs",
        )
    return found


def check_space(component: Component, free: int) -> None:
    if free < component.gigabytes * GIGABYTE:
        raise LabError(
            f"Building {component.name} {component.version} takes {component.gigabytes} GB of disk for a while;"
            f" {paths.cache()} has {free / GIGABYTE:.1f} GB free.",
            "free some space, or set LAB_CACHE to a folder on a bigger disk",
        )


def _go_build(component: Component, artifact: Artifact, folder: Path, progress: Progress) -> None:
    go = go_command()
    check_space(component, shutil.disk_usage(folder).free)
    work = paths.cache() / "work" / f"{component.name}-{component.version}"
    work.mkdir(parents=True, exist_ok=True)
    env = {
        "CGO_ENABLED": "0",
        "GOCACHE": str(_go_cache()),
        "GOFLAGS": "-mod=mod",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "GOOS": "linux",
        "GOARCH": components.architecture(),
    }
    with step(progress, f"{component.name} {component.version}: Go modules"):
        module, version = component.modules[0]
        # Outside of any module, so that no other go.mod has a say.
        said = run([go, "mod", "download", "-json", f"{module}@{version}"], cwd=Path("/"), env=env)
        upstream = Path(json.loads(said.stdout)["GoMod"]).read_text()
        write(work / "go.mod", components.go_mod(component, upstream))
    done = artifact.finished(folder)
    for program, package in component.programs.items():
        if program in done:
            progress(f"{program} {component.version}: built before")
            continue
        with step(progress, f"building {program} {component.version}"):
            # By process: a build that a killed prepare left behind may still be writing.
            draft = work / f"{program}.{os.getpid()}"
            words = [go, "build", "-trimpath", "-ldflags", component.linker_flags, "-tags", component.tags]
            run([*words, "-o", draft, package], cwd=work, env=env)
            draft.replace(folder / program)
            done.append(program)
            artifact.adopt(folder, done)
    remove(work)


def get_pause() -> Programs:
    """The first process of every pod, the lab's own."""
    source = paths.SOURCES / "pause.c"
    recipe = digest("pause 1", source.read_text(), components.architecture())
    component = Component("pause", recipe, (), {"pause": ""})
    artifact = Artifact(paths.binaries("pause", recipe), recipe)

    def build(folder: Path) -> dict[str, Any]:
        run(["gcc", "-Wall", "-Os", "-static", "-s", "-o", folder / "pause", source])
        run([folder / "pause", "-v"])
        return {"origin": "compiled"}

    if artifact.manifest() is None:
        artifact.make(build)
    return Programs(component, artifact.path, "compiled", artifact.content())
