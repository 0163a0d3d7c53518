# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - URL of the host's own etcd member, for example V(https://127.0.0.1:2379).
      - Found out from the running etcd when it is not given. Plain HTTP is used only where etcd offers nothing else.
    type: str
  ca_cert:
    description: File on the host with the CA that etcd's certificate is checked against. Found out when not given.
    type: path
  client_cert:
    description:
      - File on the host with the client certificate.
      - When not given, kubeadm's C(healthcheck-client.crt) beside the CA, else the one by which the host's API server
        reaches etcd, else etcd's own certificate.
    type: path
  client_key:
    description: File on the host with the key of O(client_cert).
    type: path
"""
