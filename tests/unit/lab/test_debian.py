# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Machines are installed from the host's own package sources."""

from __future__ import annotations

from pathlib import Path

from lab import debian
from lab.debian import Source

DEB822 = """\
# The archive
Types: deb deb-src
URIs: http://packages.example.org/debian
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://packages.example.org/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://packages.example.org/off
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://packages.example.org/inline
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


def test_paragraphs_are_understood() -> None:
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    components = ("main", "non-free-firmware")
    assert debian.parse_sources(DEB822) == [
        Source("http://packages.example.org/debian", "bookworm", components, key),
        Source("http://packages.example.org/debian", "bookworm-updates", components, key),
        Source("http://packages.example.org/debian-security", "bookworm-security", ("main",)),
        Source("http://packages.example.org/inline", "bookworm", ("main",)),
    ]


def test_lines_are_understood() -> None:
    text = """
# deb http://packages.example.org/commented bookworm main
deb http://packages.example.org/debian bookworm main contrib # ours
deb [arch=amd64 signed-by=/etc/apt/keyrings/own.gpg] http://packages.example.org/own stable main
deb-src http://packages.example.org/debian bookworm main
"""
    assert debian.parse_list(text) == [
        Source("http://packages.example.org/debian", "bookworm", ("main", "contrib")),
        Source("http://packages.example.org/own", "stable", ("main",), "/etc/apt/keyrings/own.gpg"),
    ]


def test_only_debians_own_are_wanted() -> None:
    sources = [
        Source("http://packages.example.org/debian", "bookworm", ("main", "contrib")),
        Source("http://packages.example.org/debian", "bookworm-updates", ("main",)),
        Source("http://packages.example.org/debian", "bookworm-backports", ("main",)),
        Source("http://packages.example.org/docker", "bookworm", ("stable",)),
        Source("http://packages.example.org/node", "nodistro", ("main",)),
    ]
    assert [source.suite for source in debian.wanted(sources, "bookworm")] == ["bookworm", "bookworm-updates"]


def test_a_newer_host_asks_its_mirror_for_the_machines_release() -> None:
    sources = [
        Source("http://packages.example.org/debian", "trixie", ("main",)),
        Source("http://packages.example.org/debian-security", "trixie-security", ("main",)),
    ]
    found = debian.wanted(sources, "trixie")

    assert [source.line for source in found] == [
        "deb http://packages.example.org/debian bookworm main",
        "deb http://packages.example.org/debian-security bookworm-security main",
    ]


def test_every_file_of_the_host_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (tmp_path / "sources.list").write_text("deb http://packages.example.org/one bookworm main\n")
    (folder / "two.list").write_text("deb http://packages.example.org/two bookworm main\n")
    (folder / "three.sources").write_text(DEB822)
    (folder / "old.list.save").write_text("deb http://packages.example.org/saved bookworm main\n")

    uris = {source.uri.rpartition("/")[2] for source in debian.host_sources(tmp_path)}
    assert uris == {"one", "two", "debian", "debian-security", "inline"}
