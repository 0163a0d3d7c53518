# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything expensive, once: programs, packages, images and machine templates of the wanted versions."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence

from . import binaries, components, images, packages, paths, pool, requirements, template, versions
from .errors import LabError
from .progress import Progress, printer


def prepare(wanted: Sequence[str], progress: Progress | None = None) -> None:
    """Make ready what labs of these versions are made from; what is there already stays.

    An interrupted call is gone on with by the next one, and two at once take turns.
    ``$LAB_CONTAINERD``: a version of containerd to use instead of Debian's, which Kubernetes 1.36 has outgrown.
    """
    say = progress or printer()
    if not wanted:
        raise LabError("No version of Kubernetes is given.", "lab/lab prepare --kubernetes 1.35.4")
    names = sorted({versions.plain(version) for version in wanted}, key=versions.parse)
    requirements.check()
    with _alone(say):
        paths.keys().mkdir(parents=True, exist_ok=True, mode=0o700)
        packages.make_key()
        template.make_ssh_key()
        getter = binaries.Binaries(say)
        for version in names:
            _ready_version(version, getter, say)
        newer = os.environ.get("LAB_CONTAINERD")
        containerd = getter.get(components.containerd(newer)) if newer else None
        missing = [version for version in names if not template.is_made(version, containerd)]
        if missing:
            with pool.held():
                for version in missing:
                    template.make(version, say, containerd)
        elif pool.mounted():
            # Perhaps by a prepare that was killed; labs keep it all the same.
            pool.release("nobody")
    say(f"prepared: Kubernetes {', '.join(names)}")


def _ready_version(version: str, getter: binaries.Binaries, say: Progress) -> None:
    kubernetes = getter.get(components.kubernetes(version))
    if packages.artifact(kubernetes).manifest() is None:
        say(f"packages of {version}")
        packages.build(kubernetes)
    minor = versions.minor(version)
    if packages.repository(minor).manifest() is None:
        say(f"package repository of {minor}")
        packages.build_repository(minor)
    image_names = images.names(kubernetes)
    programs = [
        kubernetes,
        getter.get(components.etcd(images.etcd_version(image_names))),
        getter.get(components.coredns(images.coredns_version(image_names))),
        binaries.get_pause(),
    ]
    if images.artifact(version, image_names, programs).manifest() is None:
        say(f"images of {version}")
        images.build(version, image_names, programs, say)


@contextlib.contextmanager
def _alone(say: Progress) -> Iterator[None]:
    """One prepare at a time; the second waits, and then finds everything there."""
    paths.cache().mkdir(parents=True, exist_ok=True)
    with (paths.cache() / "prepare.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            say(f"another prepare (process {lock.read().strip() or 'unknown'}) is at work: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
