# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the lab keeps its things: one cache that is dear, and run-time state that is cheap.

The cache (``$LAB_CACHE``, else ``~/.cache/clustercare-lab``)::

    <name>/<version>/           binaries, with manifest.json beside them
    repository/                 the signed apt repository, laid out like upstream's
    images/                     docker-archives
    keys/                       the SSH key of the lab's user, the GPG key of the repository
    pool.btrfs, pool/           a btrfs file system in a loop file, and where it is mounted
    pool/templates/<version>-<recipe>/   read-only root file systems of machines
    pool/labs/<lab>/<machine>/           machines of a lab
    pool/saves/<save>/                   saved labs

Run-time state (processes, addresses, logs) is in ``/run/clustercare-lab/<lab>``; what must outlive a
reboot to be cleaned after it is in ``/var/lib/clustercare-lab/<lab>``.
"""

from __future__ import annotations

import os
from pathlib import Path

RUN = Path("/run/clustercare-lab")
STATE = Path("/var/lib/clustercare-lab")
SOURCES = Path(__file__).resolve().parent / "sources"


def cache() -> Path:
    chosen = os.environ.get("LAB_CACHE")
    return Path(chosen).resolve() if chosen else Path.home() / ".cache" / "clustercare-lab"


def binaries(name: str, version: str) -> Path:
    return cache() / name / version


def repository() -> Path:
    return cache() / "repository"


def images() -> Path:
    return cache() / "images"


def keys() -> Path:
    return cache() / "keys"


def ssh_key() -> Path:
    """The private key of the lab's user; the public one has .pub added."""
    return keys() / "ssh"


def repository_key() -> Path:
    """The public key that the apt repository is signed with (binary, for signed-by)."""
    return keys() / "repository.gpg"


def pool_file() -> Path:
    return cache() / "pool.btrfs"


def pool() -> Path:
    return cache() / "pool"


def templates() -> Path:
    return pool() / "templates"


def labs() -> Path:
    return pool() / "labs"


def saves() -> Path:
    return pool() / "saves"


def run_dir(lab: str) -> Path:
    return RUN / lab


def state_dir(lab: str) -> Path:
    return STATE / lab
