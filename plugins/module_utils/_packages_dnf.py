# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Kubernetes packages by dnf and rpm."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done, Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._repository import Source, entries
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

KUBERNETES_PACKAGES = ("kubeadm", "kubelet", "kubectl", "cri-tools", "kubernetes-cni")
_LOCK_LISTS = ("/etc/dnf/plugins/versionlock.list", "/etc/dnf/versionlock.toml")
_CACHES = ("/var/cache/dnf/*/packages", "/var/cache/libdnf5/*/packages")
# how lines begin that say what is wrong, in both versions
_ERRORS = ("Error", "No match", "All matches", "Argument ", "Failed ", "Problem", "- ", "Transaction failed", "RPM:")
_QUERY = "%{name}|%{version}-%{release}\\n"


def parse_pairs(said: str) -> dict[str, list[str]]:
    """``name|version`` lines of rpm and repoquery; sentences about missing packages are left out."""
    versions: dict[str, list[str]] = {}
    for line in said.splitlines():
        name, separator, version = line.strip().partition("|")
        if separator and name in KUBERNETES_PACKAGES:
            versions.setdefault(name, []).append(version)
    return versions


def parse_locks(text: str) -> list[str]:
    """Kubernetes packages in a versionlock list: ``kubelet-0:1.34.4-150500.1.1.*`` or ``name = "kubelet"``."""
    names = re.findall(r"(?m)^(?!\s*[#!])(\S+?)-\d+:", text) + re.findall(r'(?m)^\s*name\s*=\s*"([^"]+)"', text)
    return sorted({name for name in names if name in KUBERNETES_PACKAGES})


class Dnf:
    """The package manager of the Red Hat family."""

    name = "dnf"
    places = "/etc/yum.repos.d"

    def __init__(self, runner: Runner = run, lock_timeout: int = 120, timeout: int = 1200, root: str = "/") -> None:
        """Work with dnf, which waits for most of its locks; ``lock_timeout`` is added to ``timeout`` for that."""
        self.runner = runner
        self.lock_timeout = lock_timeout
        self.timeout = timeout + lock_timeout
        self.root = root
        self.repo_ids: list[str] = []
        self.dnf5 = os.path.basename(os.path.realpath(self._path("/usr/bin/dnf"))) == "dnf5"

    def _path(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))

    def _own(self, *below: str) -> str:
        return _record.private_directory("dnf", *below, directory=self._path(_record.DIRECTORY))

    # --- looking

    def installed(self) -> dict[str, str]:
        query = _QUERY.replace("name", "NAME").replace("version", "VERSION").replace("release", "RELEASE")
        found = parse_pairs(self.runner(["rpm", "--query", f"--queryformat={query}", *KUBERNETES_PACKAGES]).out)
        return {name: versions[-1] for name, versions in found.items()}

    def held(self) -> list[str]:
        """Packages under versionlock; upstream's ``exclude=`` in the repository is gone over by an option."""
        names: set[str] = set()
        for path in map(self._path, _LOCK_LISTS):
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as file:
                    names.update(parse_locks(file.read()))
        return sorted(names)

    def overview(self) -> dict[str, Any]:
        """Installed and held Kubernetes packages; an interrupted rpm transaction leaves nothing to finish."""
        return {"manager": self.name, "installed": self.installed(), "held": self.held(), "interrupted": False}

    def texts(self) -> dict[str, str]:
        texts = {}
        for path in sorted(glob.glob(self._path("/etc/yum.repos.d/*.repo"))):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                texts[path] = file.read()
        return texts

    def providers(self) -> list[str]:
        """The addresses of the repositories that have kubeadm; none when dnf cannot tell."""
        argv = ["dnf", "--quiet", *self._no_excludes(), "repoquery", "--available"]
        done = self.runner([*argv, "--queryformat=%{repoid}\\n", "kubeadm"], timeout=self.timeout)
        having = done.out.split() if done.rc == 0 else []
        return [source.uri for source in entries(self.texts()) if source.repo_id in having]

    def look_aside(self, sources: Sequence[Source], names: Sequence[str]) -> dict[str, list[str]]:
        """Versions in ``sources`` through repository files and a cache of our own."""
        repos = self._own("repos.d")
        text = "\n".join(source.entry for source in sources)
        _record.write_private(os.path.join(repos, "kubernetes.repo"), text.encode(errors="surrogateescape"))
        argv = [
            "dnf",
            "--quiet",
            "--assumeyes",
            f"--setopt=reposdir={repos}",
            f"--setopt=cachedir={self._own('cache')}",
        ]
        argv += [*self._no_excludes(), *self._needed(source.repo_id for source in sources), "--refresh"]
        argv += ["repoquery", "--available", f"--queryformat={_QUERY}", *names]
        done = self.runner(argv, timeout=self.timeout)
        if done.rc != 0:
            raise CareError(f"dnf repoquery fails: {self._why(done)}")
        return parse_pairs(done.out)

    def known(self, names: Sequence[str]) -> dict[str, list[str]]:
        argv = ["dnf", "--quiet", "--cacheonly", *self._no_excludes(), "repoquery", "--available"]
        return parse_pairs(self.runner([*argv, f"--queryformat={_QUERY}", *names], timeout=self.timeout).out)

    def missing_downloads(self, versions: dict[str, str]) -> list[str]:
        def there(name: str, version: str) -> bool:
            return any(glob.glob(self._path(f"{cache}/{name}-{version}.*.rpm")) for cache in _CACHES)

        return [name for name, version in versions.items() if not there(name, version)]

    def also_changed(self, versions: dict[str, str]) -> list[str]:
        """Nothing: :meth:`install` excludes the other packages, so dnf fails rather than change them."""
        return []

    def use(self, sources: Sequence[Source]) -> None:
        """Remember the repositories whose ``exclude=`` is to be gone over."""
        self.repo_ids = list(dict.fromkeys(source.repo_id for source in sources if source.repo_id))

    # --- changing

    def refresh(self, sources: Sequence[Source]) -> None:
        argv = ["dnf", "--quiet", "--assumeyes", "--refresh", *(f"--repo={repo}" for repo in self.repo_ids)]
        self._run([*argv, *self._needed(self.repo_ids), "makecache"], "read the repository")

    def download(self, versions: dict[str, str]) -> None:
        self._run([*self._install_argv(), "--downloadonly", *self._words(versions)], "download")

    def install(self, versions: dict[str, str]) -> None:
        others = [name for name in KUBERNETES_PACKAGES[:3] if name not in versions]
        excluded = [f"--exclude={','.join(others)}"] if others else []
        self._run([*self._install_argv(), *excluded, *self._words(versions)], "install")

    def release_holds(self, names: Sequence[str]) -> None:
        if names:
            self._run(["dnf", "--quiet", "versionlock", "delete", *names], "release the versionlock")

    def restore_holds(self, names: Sequence[str]) -> None:
        lost = sorted(set(names) - set(self.held()))
        if lost:
            self._run(["dnf", "--quiet", "versionlock", "add", *lost], "restore the versionlock")

    def mend(self) -> None:
        """Nothing to mend, see :meth:`overview`."""

    # --- pieces

    @staticmethod
    def _needed(repo_ids: Iterable[str]) -> list[str]:
        """With ``skip_if_unavailable`` dnf is content with a repository that it cannot read."""
        return [f"--setopt={repo}.skip_if_unavailable=False" for repo in dict.fromkeys(repo_ids)]

    def _no_excludes(self, repo_ids: Sequence[str] = ()) -> list[str]:
        """Go over ``exclude=`` of the repositories, by which upstream holds its packages; of all without names."""
        if self.dnf5:  # of several options the last one counts
            return [f"--setopt=disable_excludes={','.join(repo_ids) or '*'}"]
        return [f"--disableexcludes={repo}" for repo in repo_ids or ["all"]]

    def _install_argv(self) -> list[str]:
        # keepcache: dnf empties its cache after a transaction, and with it what was downloaded for later
        argv = ["dnf", "--assumeyes", "install", "--setopt=keepcache=True"]
        return [*argv, *self._no_excludes(self.repo_ids)]

    @staticmethod
    def _words(versions: dict[str, str]) -> list[str]:
        return [f"{name}-{version}" for name, version in versions.items()]

    def patiently(self, argv: list[str], timeout: Optional[float] = None, env: Optional[dict[str, str]] = None) -> Done:
        """Run; wait for the lock of a transaction too, where dnf gives up at once: dnf5's own, and that of rpm."""
        deadline = Deadline(self.lock_timeout, "lock_timeout")
        while True:
            done = self.runner(argv, timeout=timeout or self.timeout, env=env)
            if done.rc == 0 or "transaction lock" not in done.err or deadline.passed:
                return done
            deadline.sleep(2)

    def _run(self, argv: list[str], what: str) -> None:
        done = self.patiently(argv)
        if done.rc != 0:
            raise CareError(f"dnf cannot {what}: {self._why(done)}", stdout=done.out, stderr=done.err)

    @staticmethod
    def _why(done: Done) -> str:
        lines = [line.strip() for line in (done.err + "\n" + done.out).splitlines()]
        errors = [line for line in lines if line.startswith(_ERRORS)] or [done.last_words]
        return " ".join(dict.fromkeys(errors))[:600]
