# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""etcdctl and etcdutl, which an etcd image has beside etcd: found in the running container, on the host, in an image.

They are static programs, so the container's own runs on the host as it lies there: nothing is copied or installed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, environment, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import is_roots
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version

_PLACES = ("/usr/local/bin", "/usr/bin", "/bin")
_ETCD_IMAGE = re.compile(r"^\S*/etcd:\S+$")
_VERSION = re.compile(r"version: (\d+\.\d+\.\d+)")
_UPSTREAM = "registry.k8s.io/etcd"
_CTR = ("ctr", "--namespace", "k8s.io", "images")


def find_tool(name: str, pid: Optional[int], proc: str = "/proc") -> Optional[str]:
    """The program beside the running etcd, which has its very version; else the host's own; else None."""
    if pid:
        root = f"{proc}/{pid}/root"
        try:
            beside = [os.path.dirname(os.readlink(f"{proc}/{pid}/exe"))]
        except OSError:
            beside = []
        for place in (*beside, *_PLACES):
            path = f"{root}{place}/{name}"
            if os.path.isfile(path) and os.access(path, os.X_OK) and is_roots(path):
                return path
    return shutil.which(name, path=environment()["PATH"])


def _tag(image: str) -> list[int]:
    """The numbers of an image's tag, so that 3.6.10-0 comes after 3.6.5-0."""
    return [int(number) for number in re.findall(r"\d+", image.rpartition(":")[2])]


def repository(image: str) -> str:
    """The image's name without tag and digest."""
    return re.sub(r"(?::[^:/]*)?(?:@.*)?$", "", image)


def trusted(images: list[str], ours: Iterable[str]) -> list[str]:
    """The etcd images that may be run as root: whoever may start a pod here brings images of any name.

    :param ours: images of this control plane; etcd's has one's repository, or lies beside it. Where that tells nothing,
        the images of the one repository that there is are meant.
    """
    beside = {f"{os.path.dirname(repository(image))}/etcd" for image in ours if "/" in image}
    wanted = {_UPSTREAM, *beside, *map(repository, ours)}
    return [image for image in images if repository(image) in wanted] or (
        images if len(set(map(repository, images))) == 1 else []
    )


@contextmanager
def tool_of_image(
    name: str, minor: Optional[Version], runner: Runner = run, ours: Iterable[str] = ()
) -> Iterator[Optional[str]]:
    """The program out of an etcd image that containerd holds, mounted read-only meanwhile; None without one.

    :param ours: the images of this host's control plane, by which etcd's is known.
    :param minor: the newest image of this minor is taken, where there is one: an upgrade may have brought the next
        one's already. Else the newest of all.
    """

    def rank(image: str) -> tuple[bool, list[int]]:
        tag = _tag(image)
        return minor is not None and tuple(tag[:2]) == minor.series, tag

    try:
        listed = runner([*_CTR, "list", "--quiet"])
    except CareError:
        yield None
        return
    found_there = [line for line in listed.out.split() if _ETCD_IMAGE.match(line)]
    images = sorted(trusted(found_there, list(ours)), key=rank)
    directory = tempfile.mkdtemp(prefix="clustercare-etcd-", dir="/run" if os.path.isdir("/run") else None)
    mounted = False
    try:
        mounted = bool(images) and runner([*_CTR, "mount", images[-1], directory]).rc == 0
        found = [path for place in _PLACES for path in [f"{directory}{place}/{name}"] if os.path.isfile(path)]
        yield found[0] if mounted and found else None
    finally:
        if mounted:
            runner([*_CTR, "unmount", "--rm", directory])
        # What is still mounted goes with the next start of the host; the work is done.
        with suppress(OSError):
            os.rmdir(directory)


def tool_version(path: str, runner: Runner = run) -> str:
    """The version that the program says it has.

    :raises CareError: when it does not say.
    """
    done = runner([path, "version"], env={"ETCDCTL_API": "3"})
    found = _VERSION.search(done.out)
    if done.rc or not found:
        raise CareError(f"{path} does not say its version: {done.last_words}.")
    return found.group(1)


def ctl_environment(access: Access) -> dict[str, str]:
    """How etcdctl reaches the member. It refuses to start when a flag and such a variable say two things."""
    named = {"CACERT": access.ca, "CERT": access.cert, "KEY": access.key}
    return {
        "ETCDCTL_API": "3",
        "ETCDCTL_ENDPOINTS": access.endpoint,
        **{f"ETCDCTL_{name}": value for name, value in named.items() if value},
    }


def ctl_status(answer: Any) -> dict[str, Any]:
    """A member's status out of ``etcdctl endpoint status -w json``, in the gateway's words."""
    status: dict[str, Any] = answer[0]["Status"]
    return {**status, "leader": status.get("leader") or 0}
