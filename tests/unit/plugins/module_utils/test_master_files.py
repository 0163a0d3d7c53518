# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _master_files as files
from ansible_collections.clustercare.kubeadm.plugins.module_utils import _master_save as saving
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_archive import BrokenArchive, digest, prove
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost, manifest

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nBBBB\n-----END RSA PRIVATE KEY-----\n"
CONFIG = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
NAME = socket.gethostname()


@pytest.mark.parametrize(
    ("content", "plain", "private"),
    [
        (CERTIFICATE, False, False),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n", False, False),
        (KEY, False, True),
        (CERTIFICATE + KEY, False, True),
        ("nobody knows what this is", False, True),
        ("", False, True),
        ("kind: KubeletConfiguration\ntlsPrivateKeyFile: /a/b.key\n", True, False),
        ("- --etcd-keyfile=/pki/etcd.key\n- --enable-bootstrap-token-auth=true", True, False),
        ("ExecStart=/usr/local/bin/etcd --initial-cluster-token=one", True, False),
        ("ETCD_INITIAL_CLUSTER_TOKEN=one", True, False),
        ("ETCD_PASSWORD=one", True, True),
        ("  token: abcdef.0123456789abcdef", True, True),
        ('{"secret": "AAAA"}', True, True),
        ("    env:\n    - name: OIDC_CLIENT_SECRET\n      value: AAAA\n", True, True),
        ('{"name": "DB_PASSWORD", "value": "AAAA"}', True, True),
        ("Environment=AWS_SECRET_ACCESS_KEY=AAAA", True, True),
        ("- --controllers=*,bootstrapsigner,tokencleaner\n- --use-service-account-credentials=true\n", True, False),
        ("HTTPS_PROXY=http://me:word@proxy.example.org:3128", True, True),
        ("HTTPS_PROXY=http://proxy.example.org:3128", True, False),
        ("users: [{user: {client-key-data: AAAA}}]", True, True),
    ],
)
def test_what_may_not_leave_the_host(content: str, plain: bool, private: bool) -> None:
    assert files.is_private(content.encode(), plain) is private


class Master:
    """A master made of files, below a directory of the test."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root / "master"
        self.etc = self.root / "etc" / "kubernetes"
        self.kubelet = self.root / "var" / "lib" / "kubelet"
        self.fake = FakeHost(root / "host")
        self.backups = root / "backups"
        self.config: tuple[Any, Any] = (files.Entry(saving.KUBEADM_CONFIG, "file", content=CONFIG.encode()), None)
        monkeypatch.setattr(files, "TREES", (str(self.etc), str(self.kubelet / "pki")))
        monkeypatch.setattr(files, "SKIPPED", (str(self.etc / "tmp"),))
        monkeypatch.setattr(files, "KUBELET_FILES", (str(self.kubelet / "config.yaml"),))
        monkeypatch.setattr(saving, "kubeadm_config", lambda _host: self.config)
        self.put("etc/kubernetes/pki/ca.crt", CERTIFICATE, 0o644)
        self.put("etc/kubernetes/pki/ca.key", KEY)
        self.put("etc/kubernetes/pki/etcd/ca.key", KEY)
        self.put("etc/kubernetes/admin.conf", "kind: Config\n")
        self.put("etc/kubernetes/tmp/kubeadm-backup-etcd/db", "x" * 100)
        self.put("var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\n", 0o644)
        self.put("var/lib/kubelet/pki/kubelet-client-2026.pem", CERTIFICATE + KEY)
        (self.kubelet / "pki" / "kubelet-client-current.pem").symlink_to("kubelet-client-2026.pem")
        self.fake.write("etcd", "--data-dir=/var/lib/etcd")

    def put(self, place: str, text: str, mode: int = 0o600) -> Path:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def save(self, check_mode: bool = False, paths: Optional[list[str]] = None, keep_last: int = 5) -> dict[str, Any]:
        asked = saving.Saving(str(self.backups), paths or [], keep_last)
        return saving.save(asked, check_mode, self.fake.host)

    def held(self, result: dict[str, Any]) -> dict[bool, set[str]]:
        """What the archives hold by whether they are private, told from the root of the test."""
        root = str(self.root)
        return {
            one["private"]: {path[len(root) + 1 :] if path.startswith(root) else path for path in one["files"]}
            for one in result["files"]["archives"]
        }

    def left(self) -> list[str]:
        return sorted(os.listdir(self.backups)) if self.backups.exists() else []


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Master:
    return Master(tmp_path, monkeypatch)


def tree(root: Path) -> dict[str, Any]:
    """All that is below a directory: mode and content, or where a link points."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.stat().st_mode & 0o777, path.read_bytes())
        else:
            found[name] = path.stat().st_mode & 0o777
    return found


def test_a_master_is_made_again_from_its_two_archives_by_tar(master: Master, tmp_path: Path) -> None:
    result = master.save()
    private = {"etc/kubernetes/pki/ca.key", "etc/kubernetes/pki/etcd/ca.key", "etc/kubernetes/admin.conf"}
    private.add("var/lib/kubelet/pki/kubelet-client-2026.pem")
    plain = {"etc/kubernetes/pki/ca.crt", "var/lib/kubelet/config.yaml", "cluster/kubeadm-config.yaml"}
    plain.add(str(master.fake.manifests / "etcd.yaml"))
    assert result["changed"] and master.held(result) == {False: plain, True: private}
    new = tmp_path / "new"
    new.mkdir()
    for archive in result["files"]["archives"]:
        assert os.stat(archive["path"]).st_mode & 0o777 == 0o600
        subprocess.run(["tar", "-xpf", archive["path"], "-C", new, "--strip-components=1", "host"], check=True)
    there = tree(new / str(master.root).lstrip("/"))
    was = {
        name: value for name, value in tree(master.root).items() if "/tmp" not in name and name not in ("etc", "var")
    }
    # Directories above the saved ones are nobody's, so tar makes them as it likes.
    for parent in ("etc", "var", "var/lib", "var/lib/kubelet"):
        was.pop(parent, None)
        there.pop(parent)
    assert there == was
    config = subprocess.run(
        ["tar", "-xOf", result["files"]["archives"][0]["path"], "cluster/kubeadm-config.yaml"],
        capture_output=True,
        check=True,
    )
    assert config.stdout.decode() == CONFIG


def test_the_same_files_are_saved_once(master: Master) -> None:
    first = master.save()
    os.utime(master.etc / "pki" / "ca.crt")
    again = master.save()
    assert (again["changed"], again["files"]) == (False, first["files"])
    (master.etc / "pki" / "ca.crt").chmod(0o600)
    assert master.save()["changed"] and len(master.left()) == 4


def put_key(master: Master) -> None:
    master.put("etc/kubernetes/pki/ca.key", KEY + "\n")


def remove_certificate(master: Master) -> None:
    (master.etc / "pki" / "ca.crt").unlink()


def turn_link(master: Master) -> None:
    link = master.kubelet / "pki" / "kubelet-client-current.pem"
    link.unlink()
    link.symlink_to("/nowhere")


def remove_private_archive(master: Master) -> None:
    next(master.backups.glob("*-private.tar")).unlink()


def damage_archive(master: Master) -> None:
    path = next(path for path in master.backups.iterdir() if "private" not in path.name)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"AAAA", b"AABA"))


@pytest.mark.parametrize("change", [put_key, remove_certificate, turn_link, remove_private_archive, damage_archive])
def test_whatever_changed_is_saved_anew(master: Master, change: Callable[[Master], None]) -> None:
    master.save()
    change(master)
    result = master.save()
    assert result["changed"] and not master.save()["changed"]
    assert all(prove(archive["path"]) for archive in result["files"]["archives"])


def test_an_api_that_is_away_makes_no_difference(master: Master) -> None:
    first = master.save()
    told, master.config = master.config, (None, "It does not answer.")
    again = master.save()
    assert (again["changed"], again["files"], again["warnings"]) == (False, first["files"], ["It does not answer."])
    master.config = told
    assert not master.save()["changed"]
    master.config = (told[0]._replace(content=b"another"), None)
    assert master.save()["changed"]


def test_check_mode_writes_nothing_and_tells_the_same(master: Master) -> None:
    would = master.save(check_mode=True)
    assert would["changed"] and master.left() == []
    did = master.save()
    assert master.held(would) == master.held(did)
    again = master.save(check_mode=True)
    assert not again["changed"] and again["files"] == did["files"]


def test_old_ones_go_and_those_of_other_hosts_stay(master: Master) -> None:
    master.backups.mkdir(mode=0o700)
    others = ["control-plane-other-20200101T000000Z.tar", "etcd-cp1-20200101T000000Z.db", f"control-plane-{NAME}.tar"]
    for name in [*others, f"control-plane-{NAME}-20200101T000000Z.tar.part"]:
        (master.backups / name).write_text("x")
    kept = []
    for number in range(4):
        master.put("etc/kubernetes/pki/ca.crt", CERTIFICATE * (number + 1))
        would = master.save(check_mode=True, keep_last=2)
        result = master.save(keep_last=2)
        assert would["removed"] == result["removed"]
        kept.append([archive["name"] for archive in result["files"]["archives"]])
    assert sorted(result["removed"]) == sorted(kept[1])
    assert master.left() == sorted([*others, *kept[2], *kept[3]])


def test_links_are_not_followed_and_what_they_lead_to_is_named(master: Master) -> None:
    outside = master.put("srv/pki/secret.key", KEY)
    (master.etc / "more").symlink_to(outside.parent)
    result = master.save()
    assert "srv/pki/secret.key" not in master.held(result)[True]
    assert result["warnings"] == [
        f"{master.etc}/more is a link to {outside.parent}, which is not saved: name that with option paths."
    ]
    named = master.save(paths=[str(outside.parent)])
    assert "srv/pki/secret.key" in master.held(named)[True] and not named["warnings"]


@pytest.mark.parametrize("path", ["relative", "/there/is/no/such/file"])
def test_what_the_user_names_must_be_there(master: Master, path: str) -> None:
    with pytest.raises(CareError, match=f"no {path} on this host"):
        master.save(paths=[path])
    assert master.left() == []


def test_what_is_no_configuration_is_left_out_and_named(master: Master) -> None:
    os.mkfifo(master.etc / "pipe")
    with (master.etc / "big").open("wb") as big:
        big.truncate(files.BIGGEST + 1)
    result = master.save()
    assert [warning.partition(" is no file")[0] for warning in result["warnings"]] == [
        f"{master.etc}/big",
        f"{master.etc}/pipe",
    ]
    assert len(result["files"]["archives"]) == 2


def test_more_than_a_configuration_is_not_taken_for_one(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 1000)
    master.put("etc/kubernetes/some.yaml", "x" * 1000)
    with pytest.raises(CareError, match=r"some.yaml, which is more than a configuration.*option paths"):
        master.save()
    assert master.left() == []


def test_a_container_s_file_is_found_on_the_host(master: Master) -> None:
    outside = master.put("srv/encryption/enc.yaml", "kind: EncryptionConfiguration\n")
    pod = manifest("kube-apiserver", "--encryption-provider-config=/enc/enc.yaml", "--audit-log-path=/enc/enc.yaml")
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "enc", "mountPath": "/enc"}]
    pod["spec"]["volumes"] = [{"name": "enc", "hostPath": {"path": str(outside.parent)}}]
    (master.fake.manifests / "kube-apiserver.yaml").write_text(json.dumps(pod))
    assert "srv/encryption/enc.yaml" in master.held(master.save())[True]


def test_a_flag_may_be_there_more_than_once(master: Master) -> None:
    # The API server takes several keys while they are exchanged.
    names = ["srv/keys/sa-1.pub", "srv/keys/sa-2.pub"]
    flags = [f"--service-account-key-file={master.put(name, CERTIFICATE)}" for name in names]
    master.fake.start_unit("kube-apiserver.service", "/usr/local/bin/kube-apiserver", *flags)
    assert set(names) <= master.held(master.save())[False]


def test_units_come_with_all_that_they_read(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = master.put("srv/etcd/server.crt", CERTIFICATE)
    link = master.root / "srv" / "etcd" / "current.key"
    link.symlink_to(master.put("srv/keys/1.key", KEY))
    log = master.put("srv/etcd/etcd.log", "words")
    unit = master.put("srv/units/etcd.service", "[Service]\n")
    drop_in = master.put("srv/units/etcd.service.d/more.conf", "[Service]\n")
    hold = master.put("srv/units/etcd.service.d/zz-clustercare-restore.conf", "[Unit]\n")
    environment = master.put("srv/units/etcd.env", f"ETCD_CERT_FILE={certificate}\n")
    (master.fake.manifests / "etcd.yaml").unlink()
    master.fake.start_unit("etcd.service", "/usr/local/bin/etcd", f"--key-file={link}", f"--log-outputs={log}")
    shown = master.fake.shown

    def with_files(name: str) -> str:
        told = shown(name)
        if name == "etcd.service":
            told += f"FragmentPath={unit}\nDropInPaths={drop_in} {hold}\n"
            told += f"EnvironmentFiles={environment} (ignore_errors=no)\n"
        return told

    monkeypatch.setattr(master.fake, "shown", with_files)
    result = master.save()
    held = master.held(result)
    names = {"etcd.service", "etcd.service.d/more.conf", "etcd.env"}
    assert {f"srv/units/{name}" for name in names} <= held[False]
    assert "srv/etcd/server.crt" in held[False] and "srv/keys/1.key" in held[True]
    every = held[False] | held[True]
    assert not {"srv/etcd/etcd.log", "srv/units/etcd.service.d/zz-clustercare-restore.conf"} & every
    rows = prove(result["files"]["archives"][0]["path"])["files"]
    assert [row["target"] for row in rows if row["name"] == f"host{link}"] == [str(master.root / "srv/keys/1.key")]


def test_a_stopped_components_manifest_is_not_forgotten(master: Master) -> None:
    parked = Path(master.fake.host.parking("kube-scheduler"))
    parked.mkdir(parents=True)
    (parked / "kube-scheduler.yaml").write_text(json.dumps(manifest("kube-scheduler")))
    assert str(parked / "kube-scheduler.yaml") in master.held(master.save())[False]


def test_a_host_that_is_no_master_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    master = Master(tmp_path, monkeypatch)
    monkeypatch.setattr(files, "TREES", ())
    monkeypatch.setattr(files, "KUBELET_FILES", ())
    (master.fake.manifests / "etcd.yaml").unlink()
    master.config = (None, None)
    with pytest.raises(CareError, match="no file of a control plane"):
        master.save()
    assert master.left() == []


def test_no_flipped_bit_is_taken_for_good(master: Master) -> None:
    result = master.save()
    random.seed(20261124)
    for archive in result["files"]["archives"]:
        path = Path(archive["path"])
        whole = path.read_bytes()
        for at in random.sample(range(len(whole) * 8), 300):
            data = bytearray(whole)
            data[at // 8] ^= 1 << at % 8
            path.write_bytes(bytes(data))
            with pytest.raises(BrokenArchive):
                prove(str(path))
        path.write_bytes(whole)
        assert prove(str(path)) and digest(str(path)) == archive["sha256"]


def test_files_that_are_not_those_of_the_manifest_are_noticed(master: Master, tmp_path: Path) -> None:
    archive = master.save()["files"]["archives"][0]
    subprocess.run(["tar", "-xf", archive["path"], "-C", tmp_path], check=True)
    (tmp_path / "cluster" / "kubeadm-config.yaml").write_text("swapped")
    forged = tmp_path / "forged.tar"
    names = ["MANIFEST.json", "cluster", "host"]
    subprocess.run(["tar", "-cf", forged, "-C", tmp_path, "--no-recursion", *names], check=True)
    forged.write_bytes(forged.read_bytes() + hashlib.sha256(forged.read_bytes()).digest())
    with pytest.raises(BrokenArchive, match="not those of its manifest"):
        prove(str(forged))


@pytest.mark.parametrize("cut", [0, 1, 512, 1000, 5000, -5000, -33, -32, -1])
def test_a_cut_archive_is_noticed_and_named(master: Master, cut: int) -> None:
    archive = master.save()["files"]["archives"][0]
    assert [one["good"] for one in saving.verify(str(master.backups), None)["archives"]] == [True, True]
    path = Path(archive["path"])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CareError, match=rf"1 of 2 archives not good: {path} is ") as failure:
        saving.verify(str(master.backups), None)
    assert sorted(one["good"] for one in failure.value.results["archives"]) == [False, True]
    with pytest.raises(BrokenArchive):
        prove(archive["path"])


def test_a_directory_that_may_not_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(CareError, match="cannot be read: Permission denied"):
        saving.verify(str(tmp_path), None)


@pytest.mark.parametrize(
    ("name", "words"), [("../x.tar", "option name"), (None, "no archive"), ("etcd.db", "option name")]
)
def test_verify_says_what_it_cannot_do(tmp_path: Path, name: Optional[str], words: str) -> None:
    with pytest.raises(CareError, match=words):
        saving.verify(str(tmp_path / "nothing"), name)


KUBECONFIG = {"current-context": "a", "contexts": [], "clusters": [], "users": []}


@pytest.mark.parametrize(
    ("answer", "text", "why"),
    [
        ({"items": [{"data": {"ClusterConfiguration": CONFIG}}]}, CONFIG, False),
        ({"items": []}, None, False),
        ({"items": [{"data": {}}]}, None, False),
        (CareError("The API server does not answer."), None, True),
        (ValueError("no JSON"), None, True),
    ],
)
def test_kubeadms_configuration_is_asked_of_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, text: Optional[str], why: bool
) -> None:
    closed: list[bool] = []

    class Server:
        def __init__(self, _access: Any) -> None:
            pass

        def get(self, path: str) -> Any:
            assert path.endswith("metadata.name%3Dkubeadm-config")
            if isinstance(answer, Exception):
                raise answer
            return answer

        def close(self) -> None:
            closed.append(True)

    config = tmp_path / "admin.conf"
    config.write_text("kind: Config")
    monkeypatch.setattr(saving, "_KUBECONFIGS", (str(tmp_path / "gone"), str(config)))
    monkeypatch.setattr(saving, "ApiServer", Server)
    monkeypatch.setattr(saving, "access_of", lambda _loaded, path: path)
    fake = FakeHost(tmp_path / "host")
    monkeypatch.setattr(fake.host, "runner", lambda argv: Done(argv, 0, json.dumps(KUBECONFIG), ""))
    entry, said = saving.kubeadm_config(fake.host)
    assert (entry.content.decode() if entry else None) == text
    assert bool(said) is why
    assert closed == [True]
