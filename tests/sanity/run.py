# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Builds the collection and tests the artifact: ansible-test sanity, ansible-test units, Galaxy's importer.

The checkout itself cannot be tested so: its link in collections/ is refused, and it is not what users install.
Arguments name the parts to run (``sanity``, ``units``, ``importer``); none means all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import ansible_collections.kubernetes.core as kubernetes_core
from ansible_test._internal.python_requirements import get_venv_packages

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
INSTALLED = BUILD / "ansible_collections" / "clustercare" / "kubeadm"
TOOLS = Path(sys.executable).parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    print("+", *command, flush=True)
    # ansible-test and the importer look for their tools in PATH and go wrong over another checkout's collections.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment["PATH"] = f"{TOOLS}:{environment['PATH']}"
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(BUILD)
    finished = subprocess.run(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, check=False)
    if finished.returncode:
        sys.exit(f"sanity: failed with {finished.returncode}: {' '.join(map(str, command))}")


def build() -> Path:
    """The artifact, installed beside its dependency, as a Git repository: so ansible-test wants it."""
    shutil.rmtree(BUILD, ignore_errors=True)
    run("ansible-galaxy", "collection", "build", "--output-path", BUILD / "dist")
    (artifact,) = (BUILD / "dist").glob("*.tar.gz")
    run("ansible-galaxy", "collection", "install", artifact, "--no-deps", "--collections-path", BUILD, cwd=BUILD)
    dependency = BUILD / "ansible_collections" / "kubernetes" / "core"
    dependency.parent.mkdir()
    dependency.symlink_to(next(iter(kubernetes_core.__path__)))
    run("git", "init", "--quiet", ".", cwd=INSTALLED)
    run("git", "add", "--all", cwd=INSTALLED)
    return artifact


def stand_in_for_get_pip() -> None:
    """Put our get-pip where ansible-test would put the one that it downloads."""
    version = get_venv_packages(SimpleNamespace(version=PYTHON))["pip"]
    cached = Path.home() / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(__file__).with_name("get_pip.py"), cached)


def main(parts: list[str]) -> None:
    began = time.monotonic()
    artifact = build()
    stand_in_for_get_pip()
    if "sanity" in parts:
        run("ansible-test", "sanity", "--python", PYTHON, cwd=INSTALLED)
    if "units" in parts:
        run("ansible-test", "units", "--venv", "--python", PYTHON, cwd=INSTALLED)
    if "importer" in parts:
        run(sys.executable, "-m", "galaxy_importer.main", artifact, cwd=BUILD)
    print(f"sanity: {' '.join(parts)} passed on {artifact.name} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:] or ["sanity", "units", "importer"])
