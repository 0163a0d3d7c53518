# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Official release downloads, checked against their published sums; soon given up where there is no way out."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from .components import Component, architecture

REACH_SECONDS = 5
# Each can be pointed at a mirror with the same layout.
SITES = {
    "kubernetes": ("LAB_RELEASE_URL", "https://dl.k8s.io"),
    "etcd": ("LAB_ETCD_RELEASE_URL", "https://github.com/etcd-io/etcd/releases/download"),
    "coredns": ("LAB_COREDNS_RELEASE_URL", "https://github.com/coredns/coredns/releases/download"),
}


class NotThere(Exception):
    """This component cannot be downloaded; the text says why."""


class Downloads:
    """The releases' sites, for one run: one that did not answer is not asked again."""

    def __init__(self, sites: dict[str, str] | None = None) -> None:
        self.sites = sites or {name: os.environ.get(variable) or url for name, (variable, url) in SITES.items()}
        self._silent: dict[str, str] = {}

    def fetch(self, component: Component, folder: Path) -> str:
        """Put the component's programs into a folder; returns where they came from."""
        site = self.sites.get(component.name, "").rstrip("/")
        if not site:
            raise NotThere("no release download is known for it")
        host = site.split("/")[2] if "//" in site else site
        if host in self._silent:
            raise NotThere(self._silent[host])
        try:
            _within(REACH_SECONDS, lambda: _reach(site))
            _FETCHERS[component.name](site, component, folder)
        except TimeoutError:
            self._silent[host] = f"{host} does not answer within {REACH_SECONDS} s"
        except urllib.error.HTTPError as error:
            raise NotThere(f"{error.url} answers {error.code} {error.reason}") from error
        except (OSError, tarfile.TarError) as error:
            self._silent[host] = f"{host} cannot be reached ({getattr(error, 'reason', error)})"
        else:
            return f"release download from {host}"
        raise NotThere(self._silent[host])


def _within(seconds: float, ask: Callable[[], None]) -> None:
    """Also names that never resolve end here: the resolver knows no deadline."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            ask()
        except Exception as error:  # noqa: BLE001 (handed to the caller below)
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if failure:
        raise failure[0]


def _reach(site: str) -> None:
    # What it answers does not matter, only that it does.
    try:
        urllib.request.urlopen(urllib.request.Request(site, method="HEAD"), timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()


def _get(url: str, target: Path, expected: str) -> None:
    draft = target.with_name(f".{target.name}.download")
    with urllib.request.urlopen(url, timeout=30) as source, draft.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    with draft.open("rb") as whole:
        found = hashlib.file_digest(whole, "sha256").hexdigest()
    if found != expected:
        draft.unlink()
        raise NotThere(f"{url} has the sha256 {found}, not the published {expected}")
    draft.chmod(0o755)
    draft.replace(target)


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as source:
        return str(source.read(1 << 20).decode())


def _kubernetes(site: str, component: Component, folder: Path) -> None:
    for program in component.files:
        url = f"{site}/v{component.version}/bin/linux/{architecture()}/{program}"
        _get(url, folder / program, _text(f"{url}.sha256").split()[0])


def _etcd(site: str, component: Component, folder: Path) -> None:
    name = f"etcd-v{component.version}-linux-{architecture()}.tar.gz"
    base = f"{site}/v{component.version}"
    sums = {line.split()[1]: line.split()[0] for line in _text(f"{base}/SHA256SUMS").splitlines() if line.strip()}
    if name not in sums:
        raise NotThere(f"{base}/SHA256SUMS does not name {name}")
    _unpack(f"{base}/{name}", sums[name], component, folder)


def _coredns(site: str, component: Component, folder: Path) -> None:
    name = f"coredns_{component.version}_linux_{architecture()}.tgz"
    url = f"{site}/v{component.version}/{name}"
    _unpack(url, _text(f"{url}.sha256").split()[0], component, folder)


def _unpack(url: str, expected: str, component: Component, folder: Path) -> None:
    """Only the wanted programs, by their bare names, whatever else the archive holds."""
    archive = folder / ".archive"
    _get(url, archive, expected)
    with tarfile.open(archive) as tar:
        for member in tar:
            program = Path(member.name).name
            content = tar.extractfile(member) if program in component.programs else None
            if content:
                with content, (folder / program).open("wb") as sink:
                    shutil.copyfileobj(content, sink)
                (folder / program).chmod(0o755)
    archive.unlink()


_FETCHERS: dict[str, Callable[[str, Component, Path], None]] = {
    "kubernetes": _kubernetes,
    "etcd": _etcd,
    "coredns": _coredns,
}
