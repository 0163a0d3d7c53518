# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the programs are taken from, and what is said about it."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import binaries, components
from lab.binaries import Binaries
from lab.components import Component
from lab.downloads import Downloads, NotThere
from lab.errors import LabError

KUBERNETES = components.kubernetes("1.35.4")
COREDNS = components.coredns("1.13.1")


class Site:
    """A web server for release files; ``asked`` has every path that was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                asked.append(self.path)

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, name: str, content: bytes, published: bytes | None = None) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        summed = hashlib.sha256(content if published is None else published).hexdigest()
        path.with_name(f"{path.name}.sha256").write_text(f"{summed}  {path.name}\n")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    found = Site(tmp_path / "site")
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAB_BIN_DIR", raising=False)
    return tmp_path / "cache"


def offer(site: Site, *, spoilt: str = "") -> None:
    for program in KUBERNETES.files:
        says = f"#!/bin/sh\necho v{KUBERNETES.version}\n".encode()
        site.put(
            f"v1.35.4/bin/linux/{components.architecture()}/{program}",
            says + (b"x" if program == spoilt else b""),
            says,
        )


def offer_coredns(site: Site) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("README.md", "./coredns"):
            member = tarfile.TarInfo(name)
            member.size = 7
            tar.addfile(member, io.BytesIO(b"content"))
    site.put(f"v1.13.1/coredns_1.13.1_linux_{components.architecture()}.tgz", packed.getvalue())


def test_a_release_is_downloaded_once_and_then_comes_from_the_cache(site: Site, cache: Path) -> None:
    offer(site)
    said: list[str] = []
    getter = Binaries(said.append, Downloads({"kubernetes": site.url}))
    first = getter.get(KUBERNETES)
    count = len(site.asked)
    second = getter.get(KUBERNETES)

    assert first.folder == cache / "kubernetes" / "1.35.4"
    assert (first.path("kubectl").stat().st_mode & 0o777) == 0o755
    assert len(site.asked) == count, "nothing is asked for twice"
    assert second.content == first.content
    assert "release download from 127.0.0.1" in said[-1]


def test_a_damaged_program_is_got_again(site: Site, cache: Path) -> None:
    offer(site)
    said: list[str] = []
    getter = Binaries(said.append, Downloads({"kubernetes": site.url}))
    kubelet = getter.get(KUBERNETES).path("kubelet")
    whole = kubelet.read_bytes()
    kubelet.write_bytes(whole[:5])
    getter.get(KUBERNETES)

    assert kubelet.read_bytes() == whole
    assert any("damaged" in line for line in said)


def test_a_file_that_is_not_the_published_one_is_refused(site: Site, cache: Path, tmp_path: Path) -> None:
    offer(site, spoilt="kubelet")
    with pytest.raises(NotThere, match=r"kubelet has the sha256 .*, not the published"):
        Downloads({"kubernetes": site.url}).fetch(KUBERNETES, tmp_path)

    assert not (tmp_path / "kubelet").exists()


def test_only_the_programs_are_taken_from_an_archive(site: Site, tmp_path: Path) -> None:
    offer_coredns(site)
    target = tmp_path / "got"
    target.mkdir()
    Downloads({"coredns": site.url}).fetch(COREDNS, target)

    assert [path.name for path in target.iterdir()] == ["coredns"]
    assert (target / "coredns").read_bytes() == b"content"


def test_a_missing_release_is_said_with_its_address(site: Site, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"v1\.35\.4/bin/linux/.* answers 404"):
        Downloads({"kubernetes": site.url}).fetch(KUBERNETES, tmp_path)


def test_a_site_that_is_not_there_is_asked_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    downloads = Downloads({"kubernetes": url, "coredns": url})
    with pytest.raises(NotThere, match="cannot be reached"):
        downloads.fetch(KUBERNETES, tmp_path)
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))) as late:
        with pytest.raises(NotThere, match="cannot be reached"):
            downloads.fetch(COREDNS, tmp_path)
        late.settimeout(0)
        with pytest.raises(BlockingIOError):
            late.accept()


def test_a_silent_site_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.downloads.REACH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(NotThere, match=r"does not answer|cannot be reached"):
            Downloads({"kubernetes": f"http://127.0.0.1:{silent.getsockname()[1]}"}).fetch(KUBERNETES, tmp_path)

    assert time.monotonic() - begin < 3


def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, component: Component, says: str) -> Path:
    folder = tmp_path / "given" / component.name / component.version
    folder.mkdir(parents=True)
    for program in component.files:
        (folder / program).write_text(f"#!/bin/sh\necho {says}\n")
        (folder / program).chmod(0o755)
    monkeypatch.setenv("LAB_BIN_DIR", str(tmp_path / "given"))
    return folder


def test_the_users_own_folder_comes_first(
    site: Site, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = given(tmp_path, monkeypatch, KUBERNETES, "v1.35.4")
    said: list[str] = []
    found = Binaries(said.append, Downloads({"kubernetes": site.url})).get(KUBERNETES)

    assert found.folder == folder
    assert said == [f"kubernetes 1.35.4: LAB_BIN_DIR ({folder})"]
    assert site.asked == []


def test_programs_of_another_version_are_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(tmp_path, monkeypatch, KUBERNETES, "v1.35.3")
    with pytest.raises(LabError, match=r"kubeadm says that it is v1\.35\.3, not v1\.35\.4"):
        Binaries(lambda _: None).find(KUBERNETES)


def test_an_incomplete_folder_of_the_user_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = given(tmp_path, monkeypatch, KUBERNETES, "v1.35.4")
    (folder / "kubelet").unlink()
    (folder / "kube-proxy").chmod(0o644)
    with pytest.raises(LabError, match="no executable kube-proxy, kubelet"):
        Binaries(lambda _: None).find(KUBERNETES)


def test_a_build_asks_for_its_space_first() -> None:
    binaries.check_space(KUBERNETES, 8 << 30)
    with pytest.raises(LabError, match=r"takes 7 GB of disk for a while.* 2\.0 GB free"):
        binaries.check_space(KUBERNETES, 2 << 30)


def test_a_program_that_was_built_before_an_interruption_is_not_built_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mod = tmp_path / "go.mod.upstream"
    mod.write_text("module go.etcd.io/etcd/server/v3\n\ngo 1.24.0\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    log = tmp_path / "log"
    # A go that fails at its third program, once.
    (tools / "go").write_text(f"""#!/bin/sh
case $1 in
mod) echo '{{"GoMod": "{mod}"}}' ;;
build)
    while [ "$1" != -o ]; do shift; done
    echo "$3" >> {log}
    [ "$(wc -l < {log})" != 3 ] || exit 1
    echo program > "$2"; chmod 755 "$2" ;;
esac
""")
    (tools / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    etcd = components.etcd("3.6.6")
    said: list[str] = []
    with pytest.raises(LabError):
        Binaries(said.append, Downloads({"none": ""})).get(etcd)
    assert Binaries(said.append).find(etcd) is None, "a half-built one does not count"
    Binaries(said.append, Downloads({"none": ""})).get(etcd)

    built = [line.split("/")[2] for line in log.read_text().split()]
    assert built == ["server", "etcdctl", "etcdutl", "etcdutl"]
    assert "built from Go modules" in said[-1]
    assert not (cache / "work" / "go-build").exists()
