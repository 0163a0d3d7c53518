# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tests for module_utils._trust."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._trust import trusting


def test_certificates_that_only_newer_pythons_refuse_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    make = ssl.create_default_context

    def as_in_python_3_13(*arguments: Any, **more: Any) -> ssl.SSLContext:
        context = make(*arguments, **more)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_in_python_3_13)
    context = trusting()
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
