# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Kubernetes packages at a version: which repository, which package versions, and the order of the work."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Optional, Protocol

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record, _repository
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._repository import Source
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse, parse_or_none
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_OWN_WAY = "or manage the packages yourself (upgrade_manage_packages=false)"


class Manager(Protocol):
    """What a package manager has to be able to do."""

    name: str
    places: str  # where its sources stand, for a sentence

    def overview(self) -> dict[str, Any]:
        """Installed and held Kubernetes packages, and whether it was interrupted."""

    def texts(self) -> dict[str, str]:
        """Its source files."""

    def providers(self) -> list[str]:
        """URIs from which kubeadm comes, as far as it knows."""

    def use(self, sources: Sequence[Source]) -> None:
        """Be told which sources the Kubernetes repository is."""

    def look_aside(self, sources: Sequence[Source], names: Sequence[str]) -> dict[str, list[str]]:
        """Versions in the given sources, by a private state that leaves the system's alone."""

    def known(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Versions that the system's own state knows."""

    def refresh(self, sources: Sequence[Source]) -> None:
        """Let the system's state know the given sources, and only them."""

    def missing_downloads(self, versions: dict[str, str]) -> list[str]:
        """Packages that are not in the cache yet."""

    def download(self, versions: dict[str, str]) -> None:
        """Fetch and keep."""

    def also_changed(self, versions: dict[str, str]) -> list[str]:
        """Kubernetes packages that installing these would change besides."""

    def install(self, versions: dict[str, str]) -> None:
        """Install exactly these, also held ones."""

    def mend(self) -> None:
        """Finish what was interrupted."""

    def release_holds(self, names: Sequence[str]) -> None:
        """Make room for a change, where the package manager needs that."""

    def restore_holds(self, names: Sequence[str]) -> None:
        """Hold again what was held."""


class Found(NamedTuple):
    """What the repository of the target has."""

    sources: list[Source]  # entries to use, as they stand now
    target: tuple[int, int]
    versions: dict[str, list[str]]  # of each package, oldest first
    candidates: dict[str, str]  # the version of each package to use; empty when there is none
    error: Optional[str]
    known: bool = False  # to the system's own state, so that it needs no refresh

    @property
    def to_switch(self) -> list[Source]:
        """Entries that stand at another minor."""
        return [source for source in self.sources if source.minor and source.minor != self.target]

    @property
    def switched(self) -> list[Source]:
        """The entries as they will stand, each once."""
        by_entry: dict[str, Source] = {}
        for source in self.sources:
            uris = [other.uri for other in self.sources if other.entry == source.entry]
            entry = _repository.switch_entry(source.path, source.entry, uris, self.target)
            uri = _repository.switch_uri(source.uri, self.target)
            by_entry.setdefault(entry, source._replace(entry=entry, uri=uri, minor=source.minor and self.target))
        return list(by_entry.values())


def upstream(package_version: str) -> Optional[Version]:
    """``1:1.35.4-1.1`` -> 1.35.4; None for a pre-release or what is no Kubernetes version."""
    bare = package_version.split(":", 1)[-1]
    return None if re.search(r"~|alpha|beta|rc", bare) else parse_or_none(bare)


def order(package_version: str) -> list[int]:
    """A sort key: package versions of Kubernetes differ in numbers only."""
    return [int(number) for number in re.findall(r"\d+", package_version)]


def resolve(wanted: str, versions: dict[str, list[str]]) -> dict[str, str]:
    """The package version of each package for what a person wrote; empty when one of them is missing.

    :param wanted: ``1.35`` (newest patch that all packages have), ``1.35.4``, or ``1.35.4-1.1`` exactly.
    """
    if "-" in wanted:
        return dict.fromkeys(versions, wanted) if all(wanted in found for found in versions.values()) else {}
    aim = parse(wanted)

    def fits(version: str) -> bool:
        found = upstream(version)
        return found is not None and (found == aim if aim.patch >= 0 else found.series == aim.series)

    fitting = {name: [version for version in found if fits(version)] for name, found in versions.items()}
    common = set.intersection(*({upstream(v) for v in found} for found in fitting.values())) if fitting else set()
    newest = max((version for version in common if version is not None), default=None)
    if newest is None:
        return {}
    return {name: max((v for v in found if upstream(v) == newest), key=order) for name, found in fitting.items()}


def satisfied(wanted: str, installed: Optional[str]) -> bool:
    """Whether an installed package is what a person wrote, when that names one exact version."""
    if installed is None:
        return False
    if "-" in wanted:
        return installed == wanted
    aim = parse(wanted)
    return aim.patch >= 0 and upstream(installed) == aim


class HoldMemory:
    """Holds that a killed run could not restore, on the host's disk."""

    def __init__(self, directory: str = _record.DIRECTORY) -> None:
        self._directory = directory
        self._path = os.path.join(directory, "holds.json")

    def read(self) -> list[str]:
        try:
            with open(self._path, encoding="utf-8") as file:
                return [str(name) for name in json.load(file)]
        except (FileNotFoundError, ValueError):
            return []

    def write(self, held: Sequence[str]) -> None:
        _record.private_directory(directory=self._directory)
        _record.write_private(self._path, json.dumps(list(held)).encode())

    def forget(self) -> None:
        if os.path.exists(self._path):
            os.unlink(self._path)


class Packages:
    """What one host has and could have."""

    def __init__(
        self,
        manager: Manager,
        wanted: str,
        names: Sequence[str],
        patience: float = 120.0,
        directory: str = _record.DIRECTORY,
    ) -> None:
        """Look at the host.

        :param patience: seconds to wait for another question to the repository on this host.
        """
        self.manager = manager
        self.memory = HoldMemory(directory)
        self._asking = lambda: _record.locked(Deadline(patience, "lock_timeout"), directory, "packages.lock")
        self.wanted = wanted
        self.names = list(names)
        self.aim = parse(wanted)
        self.overview: dict[str, Any] = {}
        self.texts: dict[str, str] = {}
        self.look()

    def look(self) -> None:
        """Read what there is now."""
        self.overview = self.manager.overview()
        self.texts = self.manager.texts()

    @property
    def versions(self) -> dict[str, Optional[str]]:
        """Installed versions of the packages in question."""
        return {name: self.overview["installed"].get(name) for name in self.names}

    def sources(self) -> list[Source]:
        """The entries of the Kubernetes repository.

        :raises CareError: there is none, or it cannot be told which.
        """
        every = _repository.entries(self.texts)
        installed = self.overview["installed"]
        current = parse_or_none(installed.get("kubeadm") or installed.get("kubelet"))
        chosen = _repository.choose(_repository.by_minor(every), current.series if current else None)
        if len({source.base for source in chosen}) != 1:
            chosen = _repository.provided_by(chosen or every, self.manager.providers()) or chosen
        if not chosen:
            raise CareError(
                f"No package source for Kubernetes is enabled in {self.manager.places}; "
                f"add the repository of v{self.aim.major}.{self.aim.minor}, {_OWN_WAY}."
            )
        bases = sorted({source.base for source in chosen if source.minor})
        if len(bases) > 1:
            raise CareError(
                f"Several package sources could be the Kubernetes repository: {', '.join(bases)}; "
                f"disable all but one, {_OWN_WAY}."
            )
        chosen = _repository.newest(chosen, self.aim.series)
        self.manager.use(chosen)
        return chosen

    def find(self) -> Found:
        """Ask the target's repository, without a change to the system's package state."""
        target = self.aim.series
        try:
            found = Found(self.sources(), target, {}, {}, None)
        except CareError as error:
            return Found([], target, {}, {}, error.message)
        where = ", ".join(source.uri for source in found.switched)
        try:
            with self._asking():
                versions = self.manager.look_aside(found.switched, self.names)
        except CareError as error:
            return found._replace(error=f"The package repository {where} cannot be used: {error.message}")
        return self.judged(found._replace(versions=versions), where)

    def judged(self, found: Found, where: str) -> Found:
        """The candidates, or the sentence that says which versions there are."""
        versions = {name: sorted(found.versions.get(name, []), key=order) for name in self.names}
        candidates = resolve(self.wanted, versions)
        if candidates:
            return found._replace(versions=versions, candidates=candidates)
        lacking = [name for name, there in versions.items() if not resolve(self.wanted, {name: there})] or self.names
        there = versions[lacking[0]]
        has = f"it has {', '.join(there[-8:])}" if there else "it has none at all"
        error = f"{where} has no {self.wanted} of {', '.join(lacking)}: {has}. Choose one of its versions."
        return found._replace(versions=versions, error=error)

    def find_quickly(self) -> Found:
        """What the system's state already knows, when that is enough; else :meth:`find`."""
        if self.aim.patch >= 0:
            known = Found(self.sources(), self.aim.series, self.manager.known(self.names), {}, None, True)
            judged = self.judged(known, "")
            if judged.candidates and not judged.to_switch:
                return judged
        return self.find()

    def new_texts(self, found: Found) -> dict[str, str]:
        """Source files whose text has to change."""
        paths = dict.fromkeys(source.path for source in found.to_switch)
        return {path: _repository.switch(path, self.texts[path], found.to_switch, found.target) for path in paths}


def repository(found: Found) -> dict[str, Any]:
    """The repository for the result."""
    minors = sorted(source.minor for source in found.sources if source.minor)
    return {
        "files": list(dict.fromkeys(source.path for source in found.sources)),
        "current_minor": "{}.{}".format(*minors[-1]) if minors else None,
        "target_minor": "{}.{}".format(*found.target),
        "uri": found.switched[0].uri if found.sources else None,
    }


def answer(work: Packages) -> dict[str, Any]:
    """What can be had, as data: a plan lists the refusals of all hosts together.

    A host that has exactly what is wanted need not ask anybody.
    """
    first = work.names[0]
    there = {name: str(version) for name, version in work.versions.items() if satisfied(work.wanted, version)}
    if len(there) == len(work.names):
        return {"available": [there[first]], "candidate": there[first], "candidates": there, "error": None}
    found = work.find()
    return {
        "repository": repository(found),
        "available": found.versions.get(first, []),
        "candidate": found.candidates.get(first),
        "candidates": found.candidates,
        "error": found.error,
    }


def switch_sources(work: Packages, found: Found) -> None:
    """Write the switched files and let the package manager read them; put the old ones back when it cannot."""
    new = work.new_texts(found)
    try:
        for path, text in new.items():
            _rewrite(path, text)
        work.manager.refresh(found.switched)
    except BaseException:
        for path in new:
            _rewrite(path, work.texts[path])
        raise


def _rewrite(path: str, text: str) -> None:
    """The same file with another text: mode and owner as they were."""
    was = os.stat(path)
    _record.write_private(path, text.encode(), mode=was.st_mode & 0o7777)
    os.chown(path, was.st_uid, was.st_gid)


@contextlib.contextmanager
def holds_as_found(work: Packages, names: Iterable[str]) -> Iterator[None]:
    """Room for a change of ``names``; afterwards every hold is as it was found, also after a failure.

    The holds are written down first: apt drops one before it installs, and we may be killed in between.
    """
    held = work.overview["held"]
    work.memory.write(held)
    try:
        work.manager.release_holds([name for name in held if name in names])
        yield
    finally:
        work.manager.restore_holds(held)
        work.memory.forget()


def download(work: Packages, versions: dict[str, str]) -> None:
    """Have these in the package manager's cache."""
    if work.manager.missing_downloads(versions):
        with holds_as_found(work, versions):
            work.manager.download(versions)


def install(work: Packages, versions: dict[str, str]) -> None:
    """Install, and read back that it is so."""
    with holds_as_found(work, versions):
        work.manager.install(versions)
    after = work.manager.overview()["installed"]
    wrong = [f"{name} is {after.get(name) or 'missing'}" for name in versions if after.get(name) != versions[name]]
    if wrong:
        raise CareError(f"{work.manager.name} said that all went well, yet {', '.join(wrong)}.")


def bring(work: Packages, results: dict[str, Any], staged: bool, to_install: Sequence[str], check_mode: bool) -> None:
    """Bring ``to_install`` to the version, and with ``staged`` have all of ``work.names`` downloaded.

    :param results: filled while the work goes on, so that a failed task tells what was done.
    """
    manager = work.manager
    if work.overview["interrupted"]:
        results.update(changed=True, mended=True)
        if not check_mode:
            manager.mend()
            work.overview = manager.overview()
    lost = sorted(set(work.memory.read()) - set(work.overview["held"]))
    if lost:
        results.update(changed=True)
        work.overview["held"] = sorted({*work.overview["held"], *lost})
        if not check_mode:
            manager.restore_holds(lost)
            work.memory.forget()
    results["held"] = work.overview["held"]
    before = work.versions
    results.update(before=before, after=before)
    if not staged and all(satisfied(work.wanted, before[name]) for name in to_install):
        return
    found = work.find_quickly()
    results.update(repository=repository(found), candidates=found.candidates)
    if found.error:
        raise CareError(found.error)
    wanted = found.candidates
    refuse_downgrade(before, {name: wanted[name] for name in to_install})
    texts = work.new_texts(found)
    changing = {name: wanted[name] for name in to_install if before.get(name) != wanted[name]}
    fetch = {name: version for name, version in wanted.items() if staged and before.get(name) != version}
    missing = manager.missing_downloads(fetch)
    results.update(diff=[*_text_diff(work.texts, texts), *_version_diff(before, changing)])
    if check_mode:
        results.update(repository_changed=bool(texts), downloaded=missing, after={**before, **changing})
        results["changed"] = results["changed"] or bool(texts or missing or changing)
        return
    if texts or not found.known:
        switch_sources(work, found)
        results.update(repository_changed=bool(texts), changed=results["changed"] or bool(texts))
    if missing:
        download(work, fetch)
        results.update(downloaded=missing, changed=True)
    if changing:
        stray = manager.also_changed(changing) if staged else []
        if stray:
            raise CareError(
                f"Installing {', '.join(changing)} now would change {', '.join(stray)} as well, before their turn; "
                "it was not installed. Look at the packages' dependencies."
            )
        results["changed"] = True
        try:
            install(work, changing)
        finally:
            work.overview = manager.overview()
            results["after"] = work.versions
    # some hosts empty the cache after every installation
    download(work, {name: version for name, version in fetch.items() if name not in changing})


def refuse_downgrade(before: dict[str, Optional[str]], wanted: dict[str, str]) -> None:
    """An older version is never installed over a newer one."""
    for name, version in wanted.items():
        installed = before.get(name)
        if installed and order(installed.split(":", 1)[-1]) > order(version.split(":", 1)[-1]):
            raise CareError(f"{name} is {installed} here, newer than {version}: a downgrade is not done.")


def _text_diff(old: dict[str, str], new: dict[str, str]) -> list[dict[str, str]]:
    return [{"before_header": p, "after_header": p, "before": old[p], "after": text} for p, text in new.items()]


def _version_diff(before: dict[str, Optional[str]], changing: dict[str, str]) -> list[dict[str, str]]:
    if not changing:
        return []
    old = "".join(f"{name} {before.get(name) or 'absent'}\n" for name in changing)
    new = "".join(f"{name} {version}\n" for name, version in changing.items())
    return [{"before_header": "packages", "after_header": "packages", "before": old, "after": new}]
