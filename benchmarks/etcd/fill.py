# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on a master, as root: fills etcd with about so many megabytes of noise and small objects. fill.py MEGABYTES"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import sys

PKI = "/etc/kubernetes/pki/etcd/"
NOISE = 1_468_006  # 1.4 MiB, about as large as etcd takes a value
SMALL = 1_400  # such as Kubernetes has them


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def main() -> None:
    size = int(sys.argv[1])
    tls = ssl.create_default_context(cafile=PKI + "ca.crt")
    tls.load_cert_chain(PKI + "healthcheck-client.crt", PKI + "healthcheck-client.key")
    etcd = http.client.HTTPSConnection("127.0.0.1", 2379, context=tls, timeout=60)

    def put(pairs: list[tuple[str, bytes]]) -> None:
        puts = [{"request_put": {"key": text(key.encode()), "value": text(value)}} for key, value in pairs]
        etcd.request("POST", "/v3/kv/txn", json.dumps({"success": puts}))
        answer = etcd.getresponse()
        said = answer.read()
        if answer.status != 200:
            sys.exit(f"etcd took no more: {said.decode()}")

    for number in range(size * 55 // 100):
        put([(f"noise/{number}", os.urandom(NOISE))])
    small = os.urandom(SMALL)
    for number in range(size):
        put([(f"small/{number}/{each}", small) for each in range(100)])


main()
