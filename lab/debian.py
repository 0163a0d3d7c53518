# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Root file systems of Debian, from the same package sources as this host's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import paths
from .artifact import Artifact, digest
from .errors import LabError
from .progress import Progress, step
from .shell import CommandFailed, output, run

# Its systemd 252 starts on cgroup v1 and v2; from 256 on it refuses v1.
SUITE = "bookworm"


@dataclass(frozen=True)
class Source:
    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    @property
    def line(self) -> str:
        option = f" [signed-by={self.signed_by}]" if self.signed_by else ""
        return f"deb{option} {self.uri} {self.suite} {' '.join(self.components)}"


def parse_list(text: str) -> list[Source]:
    """The one-line style: ``deb [signed-by=...] URI SUITE COMPONENT...``."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"\s*deb(?:\s+\[([^\]]*)\])?\s+(\S+)\s+(\S+)\s+([^#]+?)\s*(?:#.*)?", line)
        if match:
            options, uri, suite, components = match.groups()
            signed_by = re.search(r"signed-by=(\S+)", options or "")
            found.append(Source(uri, suite, tuple(components.split()), signed_by[1] if signed_by else ""))
    return found


def parse_sources(text: str) -> list[Source]:
    """The deb822 style: paragraphs with Types, URIs, Suites, Components."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        # A key that is written into the field itself begins with this.
        key = "" if "BEGIN PGP" in fields.get("signed-by", "") else fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                found.append(Source(uri, suite, tuple(fields.get("components", "").split()), key))  # noqa: PERF401
    return found


def host_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    found = []
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if path.is_file() and path.suffix == ".list":
            found += parse_list(path.read_text(errors="replace"))
        elif path.is_file() and path.suffix == ".sources":
            found += parse_sources(path.read_text(errors="replace"))
    return found


def wanted(sources: Iterable[Source], host_suite: str, suite: str = SUITE) -> list[Source]:
    """Those of the host's sources that are Debian's, for the wanted suite.

    :param host_suite: the codename of the host's own release; its mirror has the other suites too.
    """
    found = []
    for source in sources:
        name = re.fullmatch(
            rf"({re.escape(suite)}|{re.escape(host_suite)})((?:[-/](?:updates|security))?)", source.suite
        )
        if name and "main" in source.components:
            found.append(Source(source.uri, suite + name[2], ("main",), source.signed_by))
    return list(dict.fromkeys(found))


def mirror_lines() -> list[str]:
    """What mmdebstrap shall install from; empty on a host that is not Debian: mmdebstrap then has its own default."""
    release = Path("/etc/os-release").read_text()
    fields = dict(line.replace('"', "").split("=", 1) for line in release.splitlines() if "=" in line)
    if fields.get("ID") != "debian":
        return []
    found = wanted(host_sources(), fields.get("VERSION_CODENAME", SUITE))
    if not any(source.suite == SUITE for source in found):
        raise LabError(
            f"None of this host's package sources in /etc/apt has Debian {SUITE} or"
            f" {fields.get('VERSION_CODENAME', 'its own release')} with the component main.",
            "add the line that Debian's installer would have written to /etc/apt/sources.list",
        )
    return [source.line for source in found]


def _proxy() -> list[str]:
    said = output(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"])
    match = re.search(r"PROXY='([^']+)'", said)
    return [f'--aptopt=Acquire::http::Proxy "{match[1]}"'] if match else []


def file_system(name: str, variant: str, include: Iterable[str]) -> Artifact:
    """The artifact that holds ``root.tar`` with these packages."""
    return Artifact(paths.cache() / "debian" / name, digest("debian 1", SUITE, variant, sorted(include)))


def make_file_system(name: str, variant: str, include: Iterable[str], progress: Progress) -> Path:
    """A tar archive of a root file system; made once."""
    names = sorted(include)
    artifact = file_system(name, variant, names)

    def build(folder: Path) -> dict[str, Any]:
        words = ["mmdebstrap", "--quiet", f"--variant={variant}", f"--include={','.join(names)}", *_proxy()]
        words.append("--dpkgopt=force-unsafe-io")
        try:
            run([*words, SUITE, folder / "root.tar", *mirror_lines()], timeout=1800)
        except CommandFailed as error:
            raise LabError(
                f"Debian {SUITE} cannot be fetched for the {name} file system. {error.message}",
                "apt-get update (the lab installs from the same sources as this host)",
            ) from error
        return {"packages": names}

    if artifact.manifest() is None:
        with step(progress, f"root file system of Debian {SUITE} for {name}"):
            artifact.make(build)
    return artifact.path / "root.tar"
