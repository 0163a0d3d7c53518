# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Kubernetes packages by apt and dpkg."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done, Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._repository import Source
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

KUBERNETES_PACKAGES = ("kubeadm", "kubelet", "kubectl", "cri-tools", "kubernetes-cni")
_JOURNAL = "/var/lib/dpkg/updates"
_FRONTEND_LOCK = "/var/lib/dpkg/lock-frontend"
_DATABASE_LOCK = "/var/lib/dpkg/lock"
_ARCHIVES = "/var/cache/apt/archives"
_PREFERENCES = "/etc/apt/preferences"
# Stronger than any pin that a person would write.
_PIN = "Package: {name}\nPin: version {version}\nPin-Priority: 30000\n\n"
_UNFINISHED = set("HUFWt")  # half-installed, unpacked, half-configured, triggers awaited, triggers pending
_FORMAT = "${db:Status-Abbrev}|${Package}|${Version}\\n"
# needrestart would restart services in the phase that disrupts nothing; nobody is there to answer a question
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "APT_LISTCHANGES_FRONTEND": "none"}
# hooks of other programs run after every refresh: they change the host, and some take seconds
_LEFT_OUT = ("apt::update::", "dpkg::", "commandline")


class DpkgTable(NamedTuple):
    """What dpkg knows: versions and holds of the Kubernetes packages, and what is unfinished of all packages."""

    installed: dict[str, str]
    held: list[str]
    unfinished: list[str]


def parse_dpkg(table: str) -> DpkgTable:
    """Read ``dpkg-query`` in our format; the three letters are wanted, status, error."""
    installed, held, unfinished = {}, [], []
    for line in table.splitlines():
        state, _bar, rest = line.partition("|")
        name, _bar, version = rest.partition("|")
        if len(state) < 2:
            continue
        if state[1] in _UNFINISHED or state[2:3] == "R":
            unfinished.append(name)
        if name in KUBERNETES_PACKAGES and state[1] not in "nc":
            installed[name] = version
            if state[0] == "h":
                held.append(name)
    return DpkgTable(installed, sorted(held), sorted(set(unfinished)))


def parse_madison(said: str) -> dict[str, list[str]]:
    """Versions of packages out of ``apt-cache madison``; the dpkg status itself is no source."""
    versions: dict[str, list[str]] = {}
    for line in said.splitlines():
        columns = [column.strip() for column in line.split("|")]
        if len(columns) == 3 and columns[2].endswith("Packages"):
            found = versions.setdefault(columns[0], [])
            if columns[1] not in found:
                found.append(columns[1])
    return versions


def parse_policy(said: str) -> list[str]:
    """URIs of the version table of ``apt-cache policy``."""
    return list(dict.fromkeys(re.findall(r"^\s+-?\d+ (\S+://\S+|\w+:/\S+) ", said, re.MULTILINE)))


def parse_simulation(said: str) -> list[str]:
    """Packages that a simulated ``apt-get`` would install, upgrade or remove."""
    return re.findall(r"^(?:Inst|Remv) (\S+)", said, re.MULTILINE)


def private_config(dump: str, settings: dict[str, str]) -> str:
    """The host's apt configuration (proxies, certificates, credentials) without hooks, then ours, which win."""
    kept = [line for line in dump.splitlines() if line and not line.lower().startswith(_LEFT_OUT)]
    return "\n".join([*kept, *(f'{name} "{value}";' for name, value in settings.items())]) + "\n"


def _format(source: Source) -> str:
    """The ending by which apt knows how to read the file that an entry comes from."""
    return ".sources" if source.path.endswith(".sources") else ".list"


def archive_pattern(name: str, version: str) -> str:
    """The file name of a package in the cache; apt writes the colon of an epoch as %3a."""
    return f"{glob.escape(name)}_{glob.escape(version.replace(':', '%3a'))}_*.deb"


class Apt:
    """The package manager of the Debian family."""

    name = "apt"
    places = "/etc/apt/sources.list or /etc/apt/sources.list.d"

    def __init__(self, runner: Runner = run, lock_timeout: int = 120, timeout: int = 1200, root: str = "/") -> None:
        """Work with apt.

        :param lock_timeout: seconds to wait for another package manager.
        :param timeout: seconds for one download or installation.
        :param root: where the host's files begin; tests have their own.
        """
        self.runner = runner
        self.lock_timeout = lock_timeout
        self.timeout = timeout
        self.root = root

    def _path(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))

    def _own(self, *below: str) -> str:
        return _record.private_directory("apt", *below, directory=self._path(_record.DIRECTORY))

    # --- looking

    def table(self) -> DpkgTable:
        done = self.runner(["dpkg-query", "--show", f"--showformat={_FORMAT}"])
        if done.rc != 0:
            raise CareError(f"dpkg does not tell what is installed: {done.last_words}")
        return parse_dpkg(done.out)

    def overview(self) -> dict[str, Any]:
        """Installed and held Kubernetes packages, and whether dpkg was interrupted."""
        table = self.table()
        interrupted = bool(self.unfinished(table))
        return {"manager": self.name, "installed": table.installed, "held": table.held, "interrupted": interrupted}

    def unfinished(self, table: DpkgTable) -> list[str]:
        """What an interrupted dpkg has left: packages, or its journal."""
        journal = self._path(_JOURNAL)
        return table.unfinished or (["dpkg"] if os.path.isdir(journal) and os.listdir(journal) else [])

    def texts(self) -> dict[str, str]:
        """The one-line and deb822 source files."""
        paths = [self._path("/etc/apt/sources.list")]
        paths += sorted(glob.glob(self._path("/etc/apt/sources.list.d/*.list")))
        paths += sorted(glob.glob(self._path("/etc/apt/sources.list.d/*.sources")))
        texts = {}
        for path in paths:
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    texts[path] = file.read()
        return texts

    def providers(self) -> list[str]:
        return parse_policy(self.runner(["apt-cache", "policy", "kubeadm"]).out)

    def known(self, names: Sequence[str]) -> dict[str, list[str]]:
        return parse_madison(self.runner(["apt-cache", "madison", *names]).out)

    def look_aside(self, sources: Sequence[Source], names: Sequence[str]) -> dict[str, list[str]]:
        """Versions in ``sources`` through an apt state of our own."""
        config = self._config(
            sources,
            {
                "Dir::State": self._own("state"),
                "Dir::State::lists": os.path.dirname(self._own("state", "lists", "partial")),
                "Dir::State::status": self._path("/var/lib/dpkg/status"),
                "Dir::Cache": os.path.dirname(os.path.dirname(self._own("cache", "archives", "partial"))),
                "Acquire::Languages": "none",
            },
        )
        self._update(["apt-get", "update"], {"APT_CONFIG": config})
        return parse_madison(self.runner(["apt-cache", "madison", *names], env={"APT_CONFIG": config}).out)

    def missing_downloads(self, versions: dict[str, str]) -> list[str]:
        archives = self._path(_ARCHIVES)
        return [n for n, v in versions.items() if not glob.glob(os.path.join(archives, archive_pattern(n, v)))]

    def also_changed(self, versions: dict[str, str]) -> list[str]:
        done = self.runner([*self._install_argv(), "--simulate", *self._words(versions)], env=ENVIRONMENT)
        if done.rc != 0:
            raise CareError(f"apt-get cannot install {', '.join(self._words(versions))}: {self._why(done)}")
        return [name for name in parse_simulation(done.out) if name in KUBERNETES_PACKAGES[:3] and name not in versions]

    def use(self, sources: Sequence[Source]) -> None:
        """Nothing to remember: a package has one version wherever it comes from."""

    def patiently(self, argv: list[str], env: dict[str, str], timeout: Optional[float] = None) -> Done:
        """Run; wait for the locks of lists and archives too, for which apt itself does not wait."""
        deadline = Deadline(self.lock_timeout, "lock_timeout")
        while True:
            done = self.runner(argv, timeout=timeout or self.timeout + self.lock_timeout, env=env)
            if done.rc == 0 or "Could not get lock" not in done.err or deadline.passed:
                return done
            deadline.sleep(2)

    # --- changing

    def refresh(self, sources: Sequence[Source]) -> None:
        """Read the index of these sources alone: another mirror that is away would cost minutes."""
        config = self._config(sources, {})
        argv = ["apt-get", "update", "-o", f"Dir::Etc::sourcelist={self._source_file(sources, 'refresh')}"]
        argv += ["-o", "Dir::Etc::sourceparts=-", "-o", "APT::Get::List-Cleanup=0"]
        self._update([*argv, "-o", f"DPkg::Lock::Timeout={self.lock_timeout}"], {"APT_CONFIG": config})

    def download(self, versions: dict[str, str]) -> None:
        self._run([*self._install_argv(), "--download-only", *self._words(versions)], "download")

    def install(self, versions: dict[str, str]) -> None:
        self._run([*self._install_argv(), *self._words(versions)], "install")

    def release_holds(self, names: Sequence[str]) -> None:
        """Nothing to do: ``--allow-change-held-packages`` goes over holds."""

    def restore_holds(self, names: Sequence[str]) -> None:
        lost = sorted(set(names) - set(self.table().held))
        if lost:
            done = self.runner(["apt-mark", "hold", *lost])
            if done.rc != 0:
                raise CareError(f"apt-mark cannot hold {', '.join(lost)} again: {done.last_words}")

    def mend(self) -> None:
        """Finish an interrupted dpkg; under the frontend's lock, for dpkg itself does not wait."""
        path = self._path(_FRONTEND_LOCK)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

        def taken() -> Optional[str]:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return f"another package manager holds {path}"
            # A dpkg may outlive the program that started it.
            return self._busy(_DATABASE_LOCK)

        try:
            deadline = Deadline(self.lock_timeout, "lock_timeout")
            wait_until(taken, deadline, "Mending the interrupted dpkg")
            argv = ["dpkg", "--force-confold", "--configure", "--pending"]
            done = self.runner(argv, timeout=self.timeout, env={**ENVIRONMENT, "DPKG_FRONTEND_LOCKED": "1"})
        finally:
            os.close(descriptor)
        if done.rc != 0:
            raise CareError(f"dpkg was interrupted earlier and cannot be mended: {self._why(done)}")

    def pins(self, installed: dict[str, str]) -> list[str]:
        """Options by which apt keeps these packages at their versions, in our own file: nothing to undo later."""
        hosts = b""
        with contextlib.suppress(FileNotFoundError), open(self._path(_PREFERENCES), "rb") as file:
            hosts = file.read()
        pinned = "".join(_PIN.format(name=name, version=version) for name, version in sorted(installed.items()))
        path = os.path.join(self._own(), "preferences")
        _record.write_private(path, pinned.encode() + hosts)
        return ["-o", f"Dir::Etc::Preferences={path}"]

    # --- pieces

    def _busy(self, lock: str) -> Optional[str]:
        """Whether somebody holds this lock now, in words."""
        descriptor = os.open(self._path(lock), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return f"a dpkg that was started earlier still runs, and holds {self._path(lock)}"
        finally:
            os.close(descriptor)
        return None

    def _install_argv(self) -> list[str]:
        argv = ["apt-get", "install", "--yes", "--no-install-recommends", "--no-remove", "--allow-change-held-packages"]
        argv += ["-o", f"DPkg::Lock::Timeout={self.lock_timeout}"]
        return [*argv, "-o", "Dpkg::Options::=--force-confold"]

    @staticmethod
    def _words(versions: dict[str, str]) -> list[str]:
        return [f"{name}={version}" for name, version in versions.items()]

    def _source_file(self, sources: Sequence[Source], purpose: str) -> str:
        """Our own file with these entries alone; its ending tells apt how to read it."""
        return os.path.join(self._own("sources"), f"{purpose}{_format(sources[0])}")

    def _config(self, sources: Sequence[Source], settings: dict[str, str]) -> str:
        """Write our source file and a configuration that names it, and return the configuration's path."""
        purpose = "look-aside" if settings else "refresh"
        source_file = self._source_file(sources, purpose)
        # One file has one format; the same repository in the other format has nothing more to say.
        alike = [source for source in sources if _format(source) == _format(sources[0])]
        text = "\n".join(source.entry.strip("\n") + "\n" for source in alike)
        _record.write_private(source_file, text.encode(errors="surrogateescape"))
        ours = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": self._own("empty"),
            "Dir::Etc::sourcelist": source_file,
            "Dir::Etc::sourceparts": self._own("empty"),
            "APT::Sandbox::User": "root",  # _apt cannot enter our directory
            "APT::Update::Error-Mode": "any",
            "Acquire::Retries": "2",
            **settings,
        }
        dump = self.runner(["apt-config", "dump"]).out
        config = os.path.join(self._own(), f"{purpose}.conf")
        _record.write_private(config, private_config(dump, ours).encode(errors="surrogateescape"))
        return config

    def _update(self, argv: list[str], env: dict[str, str]) -> None:
        done = self.patiently(argv, {**ENVIRONMENT, **env})
        if done.rc != 0:
            raise CareError(f"apt-get update fails: {self._why(done)}")

    def _run(self, argv: list[str], what: str) -> None:
        done = self.patiently(argv, ENVIRONMENT)
        if done.rc != 0:
            raise CareError(f"apt-get cannot {what}: {self._why(done)}", stdout=done.out, stderr=done.err)

    @staticmethod
    def _why(done: Done) -> str:
        """apt's own error lines, without its prefixes."""
        lines = [line.strip() for line in (done.err + "\n" + done.out).splitlines()]
        errors = [line[3:] for line in lines if line.startswith("E: ")] or [done.last_words]
        return " ".join(dict.fromkeys(errors))[:600]
