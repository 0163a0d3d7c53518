# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on a master, as root: writes to etcd every 50 ms until SIGTERM. Each one's milliseconds go to a file."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import ssl
import sys
import time
from pathlib import Path

PKI = "/etc/kubernetes/pki/etcd/"
EVERY = 0.05


def main() -> None:
    tls = ssl.create_default_context(cafile=PKI + "ca.crt")
    tls.load_cert_chain(PKI + "healthcheck-client.crt", PKI + "healthcheck-client.key")
    etcd = http.client.HTTPSConnection("127.0.0.1", 2379, context=tls, timeout=60)
    body = json.dumps({"key": base64.b64encode(b"probe").decode(), "value": "eA=="})
    took: list[float] = []
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    while not stopped:
        began = time.monotonic()
        etcd.request("POST", "/v3/kv/put", body)
        etcd.getresponse().read()
        took.append(1000 * (time.monotonic() - began))
        time.sleep(max(0.0, EVERY - (time.monotonic() - began)))
    Path(sys.argv[1]).write_text(json.dumps(took))


main()
