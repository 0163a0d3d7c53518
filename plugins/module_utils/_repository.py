# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Texts of package sources: where the Kubernetes repository of a minor stands, and another minor put in its place.

Upstream has one repository per minor, told by ``/v1.34/`` in the path; mirrors keep that. Only that one word is
changed: mirror, ``signed-by``, options, comments and every other repository in the same file stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Optional

_MINOR = re.compile(r"(?<=/)v(\d+)\.(\d+)(?=/|$)")
# one repository per minor as well, but of other projects
_OTHERS = ("cri-o", "crio", "addons:")
_URI_KEYS = ("baseurl", "mirrorlist", "metalink", "gpgkey")  # of a .repo section


class Source(NamedTuple):
    """One URI of an enabled entry of a package source, and the minor that its path names."""

    path: str
    uri: str
    minor: Optional[tuple[int, int]]
    entry: str  # the text of this entry alone, as it stands in the file
    repo_id: str = ""  # the section's name in a .repo file

    @property
    def base(self) -> str:
        """The URI with the minor left out: equal for two minors of one mirror."""
        return _MINOR.sub("v*", self.uri)


def _suffix(path: str) -> str:
    return "." + path.rsplit(".", 1)[-1]


def _blocks(path: str, text: str) -> list[str]:
    """The file cut into what one entry is: a line, a stanza, a section. Joined they are the file again."""
    if _suffix(path) == ".sources":
        return re.split(r"(?<=\n)(?=[ \t]*\n)", text)
    if _suffix(path) == ".repo":
        return re.split(r"(?m)^(?=\[)", text)
    return text.splitlines(keepends=True)


def _fields(block: str, separator: str) -> dict[str, str]:
    """Keys and values of a deb822 stanza or an ini section, continued lines joined, comments left out."""
    fields: dict[str, str] = {}
    last = ""
    for line in block.splitlines():
        if line.startswith(("#", ";", "[")) or not line.strip():
            continue
        if line[0] in " \t":
            fields[last] = f"{fields.get(last, '')} {line.strip()}"
            continue
        key, _separator, value = line.partition(separator)
        last = key.strip().lower()
        fields[last] = value.strip()
    return fields


def _uris(path: str, block: str) -> tuple[list[str], str]:
    """The URIs of an enabled entry, and its section's name."""
    kind = _suffix(path)
    if kind == ".repo":
        section = re.match(r"\[([^\]]+)\]", block)
        fields = _fields(block, "=")
        if not section or fields.get("enabled", "1").lower() in ("0", "false", "no"):
            return [], ""
        address = fields.get("baseurl") or fields.get("mirrorlist") or fields.get("metalink") or ""
        return address.split(), section.group(1)
    if kind == ".sources":
        fields = _fields(block, ":")
        off = fields.get("enabled", "yes").lower() in ("no", "false", "off", "0")
        if off or "deb" not in fields.get("types", "").split():
            return [], ""
        return fields.get("uris", "").split(), ""
    found = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)", block)
    return ([found.group(1)] if found else []), ""


def entries(texts: dict[str, str]) -> list[Source]:
    """All enabled entries of the given files."""
    found = []
    for path, text in texts.items():
        for block in _blocks(path, text):
            uris, repo_id = _uris(path, block)
            for uri in uris:
                minor = _MINOR.search(uri)
                series = (int(minor.group(1)), int(minor.group(2))) if minor else None
                found.append(Source(path, uri, series, block, repo_id))
    return found


def by_minor(sources: Sequence[Source]) -> list[Source]:
    """Those that name a minor and are not known to be another project's."""
    return [s for s in sources if s.minor and not any(other in s.uri.lower() for other in _OTHERS)]


def provided_by(sources: Sequence[Source], providers: Sequence[str]) -> list[Source]:
    """Those from which the package manager says that kubeadm comes."""
    return [s for s in sources if any(s.uri.rstrip("/").startswith(p.rstrip("/")) for p in providers)]


def choose(sources: Sequence[Source], current: Optional[tuple[int, int]]) -> list[Source]:
    """The entries of the one Kubernetes repository, when it can be told.

    :param current: the minor of the installed packages; decides between repositories of different projects.
    :returns: entries with one common base; several bases when it cannot be told which is right.
    """
    bases = {source.base for source in sources}
    if len(bases) > 1:
        bases = {source.base for source in sources if source.minor == current} or bases
    return [source for source in sources if source.base in bases]


def newest(sources: Sequence[Source], target: tuple[int, int]) -> list[Source]:
    """Of several minors of one repository the one to use: the target's, else the highest."""
    minors = {source.minor for source in sources if source.minor}
    if not minors:
        return list(sources)
    use = target if target in minors else max(minors)
    return [source for source in sources if source.minor == use]


def switch_uri(uri: str, minor: tuple[int, int]) -> str:
    """The same place in the repository of another minor."""
    return _MINOR.sub(f"v{minor[0]}.{minor[1]}", uri)


def switch_entry(path: str, entry: str, uris: Sequence[str], minor: tuple[int, int]) -> str:
    """One entry with the given URIs at another minor; in a .repo section the key's address moves with it."""
    lines, key = [], ""
    for line in entry.splitlines(keepends=True):
        if line.lstrip().startswith(("#", ";")):
            lines.append(line)
            continue
        if _suffix(path) == ".repo":
            key = key if line[:1] in " \t" else line.split("=", 1)[0].strip().lower()
            if key in _URI_KEYS:
                line = re.sub(r"[^\s=]+/\S+", lambda word: switch_uri(word.group(0), minor), line)
        else:
            for uri in uris:
                line = re.sub(rf"(?<![^\s:]){re.escape(uri)}(?!\S)", switch_uri(uri, minor), line)
        lines.append(line)
    return "".join(lines)


def switch(path: str, text: str, sources: Sequence[Source], minor: tuple[int, int]) -> str:
    """The file's text with the given entries at another minor; a second time it changes nothing."""
    switched = []
    for block in _blocks(path, text):
        uris = [source.uri for source in sources if source.path == path and source.entry == block]
        switched.append(switch_entry(path, block, uris, minor) if uris else block)
    return "".join(switched)
