# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Talking to the Kubernetes API through everything that a cluster under maintenance does to a connection.

Plain paths and dicts over the official client's configuration and connection pool: its typed classes
take over a second to load, and discovery asks the API server for what is known beforehand.
"""

from __future__ import annotations

import copy
import json
import os
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Callable, NamedTuple
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import (
    AUTH_ARG_SPEC,
    AUTH_PROXY_HEADERS_SPEC,
)

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

# Under this name the API server notes which fields were last set by us.
FIELD_MANAGER = "clustercare.kubeadm"

_CONNECT_TIMEOUT = 5.0
_READ_TIMEOUT = 10.0
_LONGEST_READ_TIMEOUT = 60.0
_LONGEST_PAUSE = 2.0
_LONGEST_RETRY_AFTER = 15.0
# A restarting API server says 401 or 403 for a moment, until it knows its roles.
_FORBIDDEN_AFTER_TROUBLE = 30.0
_PAGE = 500
_MERGE_PATCH = "application/merge-patch+json"
# Of a kubeconfig's users: everything but these may be a secret.
_USER_NOT_SECRET = {"client-certificate", "client-certificate-data", "client-key", "tokenFile", "username", "as"}
_SHORTEST_SECRET = 4


class Answer(NamedTuple):
    """What the API server said, whatever it was."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]
    text: str

    @property
    def message(self) -> str:
        """The server's own words."""
        said = self.body.get("message") if self.body.get("kind") == "Status" else None
        return str(said or self.text.strip()[:300] or f"HTTP {self.status}")

    @property
    def causes(self) -> list[dict[str, Any]]:
        """The machine-readable causes of a refusal."""
        details = self.body.get("details") or {}
        return list(details.get("causes") or [])

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks us to wait."""
        try:
            return float(self.headers.get("Retry-After", ""))
        except ValueError:
            return None

    @property
    def clock(self) -> float | None:
        """The server's own clock when it answered, in seconds since 1970."""
        try:
            return parsedate_to_datetime(self.headers.get("Date") or "").timestamp()
        except (TypeError, ValueError):
            return None


class Unreachable(Exception):
    """No answer to one request; the next may have one."""


class Refused(CareError):
    """The API server's final no."""

    def __init__(self, message: str, answer: Answer, **results: Any) -> None:
        super().__init__(message, **results)
        self.answer = answer


def passes_by_itself(answer: Answer) -> bool:
    """Whether the same request may succeed a little later without anybody doing anything."""
    if answer.status == 429:
        return all(cause.get("reason") != "DisruptionBudget" for cause in answer.causes)
    return answer.status >= 500 or answer.status == 408


class Api:
    """One API endpoint: counts its calls, and outlives restarts of the server until a deadline."""

    def __init__(self, pool: Any, host: str, headers: Callable[[], Any]) -> None:
        self.host = host.rstrip("/")
        self._pool = pool
        self._headers = headers
        self._counted: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._answered = False
        self._trouble: float | None = None
        self._clock: float | None = None
        self._direct: Callable[[str], Api] = lambda server: self

    @property
    def calls(self) -> dict[str, int]:
        """How many requests were sent, by verb (get, list, patch, create, delete)."""
        with self._lock:
            return dict(self._counted)

    @property
    def now(self) -> float:
        """The API server's clock at its last answer, in seconds since 1970; our own when it does not tell."""
        return time.time() if self._clock is None else self._clock

    def direct(self, server: str) -> Api:
        """The same credentials and CA at one API server (``address:port``), past any load balancer."""
        return self._direct(server)

    def ask(
        self,
        verb: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float = _READ_TIMEOUT,
    ) -> Answer:
        """Send one request and return whatever is answered.

        :raises Unreachable: when there was no answer that one can read.
        :raises CareError: when the server cannot be trusted or its name is unknown: waiting does not help.
        """
        import urllib3

        method, content_type = _METHODS[verb]
        headers = self._headers()
        headers["Accept"] = "application/json"
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body)
        url = self.host + path + (f"?{urlencode(query)}" if query else "")
        with self._lock:
            self._counted[verb] += 1
        try:
            response = self._pool.request(
                method,
                url,
                body=data,
                headers=headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=min(_CONNECT_TIMEOUT, timeout), read=timeout),
            )
            text = response.data.decode("utf-8", "replace")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._note_trouble()
            self._refuse_hopeless(error)
            raise Unreachable(_in_words(error)) from error
        if response.status >= 500:
            self._note_trouble()
        self._answered = True
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        answer = Answer(response.status, parsed if isinstance(parsed, dict) else {}, response.headers, text)
        self._clock = answer.clock
        return answer

    def call(
        self,
        verb: str,
        path: str,
        deadline: Deadline,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        allow: tuple[int, ...] = (),
    ) -> Answer:
        """Send a request until it has an answer that will not change by itself.

        :param allow: statuses beside 2xx that the caller wants to see, such as 404.
        :raises Refused: for any other answer.
        :raises TimedOut: when the deadline passes first.
        """
        tries = 0
        while True:
            tries += 1
            timeout = max(1.0, min(_READ_TIMEOUT * tries, _LONGEST_READ_TIMEOUT, deadline.left))
            pause = min(0.1 * 2 ** min(tries - 1, 6), _LONGEST_PAUSE)
            try:
                answer = self.ask(verb, path, query, body, timeout)
            except Unreachable as error:
                seen = str(error)
                # A kept connection that the server closed is no news: the first second try goes out at once.
                pause = 0.0 if tries == 1 else pause
            else:
                if 200 <= answer.status < 300 or answer.status in allow:
                    return answer
                seen = f"{answer.status} {answer.message}"
                if not passes_by_itself(answer) and not self.starting_up(answer):
                    raise Refused(f"{_WORDS[verb]} {path} at {self.host} was refused: {seen}", answer)
                if answer.retry_after is not None:
                    pause = max(pause, min(answer.retry_after, _LONGEST_RETRY_AFTER))
            if deadline.passed:
                raise TimedOut(
                    f"{_WORDS[verb]} {path} at {self.host}: no good answer within {deadline.seconds:g} s "
                    f"(option {deadline.option}), tried {tries} times; seen last: {seen}.",
                    timed_out=True,
                )
            deadline.sleep(pause)

    def get(self, path: str, deadline: Deadline) -> dict[str, Any]:
        """One object. :raises Refused: also when there is none."""
        return self.call("get", path, deadline).body

    def find(self, path: str, deadline: Deadline) -> dict[str, Any] | None:
        """One object, or None when there is none."""
        answer = self.call("get", path, deadline, allow=(404,))
        return None if answer.status == 404 else answer.body

    def list(self, path: str, deadline: Deadline, **query: Any) -> list[dict[str, Any]]:
        """All objects of a collection, read in pages."""
        found: list[dict[str, Any]] = []
        wanted = {**query, "limit": _PAGE}
        while True:
            answer = self.call("list", path, deadline, wanted, allow=(410,))
            if answer.status == 410:
                # The pages' snapshot is gone from the server: begin again, in one piece.
                found, wanted = [], dict(query)
                continue
            found.extend(answer.body.get("items") or [])
            following = (answer.body.get("metadata") or {}).get("continue")
            if not following:
                return found
            wanted = {**query, "limit": _PAGE, "continue": following}

    def patch(self, path: str, body: Any, deadline: Deadline) -> dict[str, Any] | None:
        """Merge ``body`` into an object (null removes a key).

        :returns: the object as it is then; None when it changed since ``body``'s own resourceVersion.
        """
        answer = self.call("patch", path, deadline, {"fieldManager": FIELD_MANAGER}, body, allow=(409,))
        return None if answer.status == 409 else answer.body

    def _note_trouble(self) -> None:
        self._trouble = time.monotonic()

    def starting_up(self, answer: Answer) -> bool:
        """Whether a refusal may only mean that the server does not know its roles yet."""
        recently = self._trouble is not None and time.monotonic() - self._trouble < _FORBIDDEN_AFTER_TROUBLE
        return answer.status in (401, 403) and recently

    def _refuse_hopeless(self, error: BaseException) -> None:
        for cause in _chain(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise CareError(
                    f"The API server at {self.host} cannot be trusted: {cause.verify_message or cause}. "
                    "Check that the kubeconfig (option kubeconfig, or ca_cert) is the one of this cluster."
                ) from error
        # urllib3 has an error of its own for this only since 2.0.
        if any(isinstance(cause, socket.gaierror) for cause in _chain(error)) and not self._answered:
            raise CareError(
                f"The name of the API server {self.host} cannot be resolved here; "
                "check the server address in the kubeconfig (option kubeconfig or host)."
            ) from error


_METHODS = {
    "get": ("GET", ""),
    "list": ("GET", ""),
    "create": ("POST", "application/json"),
    "delete": ("DELETE", "application/json"),
    "patch": ("PATCH", _MERGE_PATCH),
}
_WORDS = {"get": "Reading", "list": "Listing", "create": "Creating", "delete": "Deleting", "patch": "Changing"}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything it was made from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        wrapped = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        error = wrapped or error.__cause__ or error.__context__


def _in_words(error: BaseException) -> str:
    """The innermost reason, without object addresses."""
    innermost = list(_chain(error))[-1]
    return f"{innermost.strerror}" if isinstance(innermost, OSError) and innermost.strerror else str(innermost)


# --- connecting -------------------------------------------------------------------------------------------------


def auth_argument_spec() -> dict[str, Any]:
    """The connection options of kubernetes.core, as it defines them itself."""
    return copy.deepcopy(AUTH_ARG_SPEC)


def connect(module: AnsibleModule, connections: int = 10) -> Api:
    """An Api for the module's connection options (or their environment variables), never without TLS verification.

    :param connections: how many requests may be under way at once.
    :raises CareError: when the client is missing, the configuration unusable or the connection could not be trusted.
    """
    keep_secrets(module)
    try:
        import kubernetes.client  # pylint: disable=import-outside-toplevel
        import urllib3  # noqa: F401
        from kubernetes.config import kube_config
        from kubernetes.config.config_exception import ConfigException
        from kubernetes.config.incluster_config import load_incluster_config
    except ImportError as error:
        raise CareError(missing_required_lib("kubernetes") + f" ({error})") from error

    auth = auth_parameters(module.params, os.environ)
    configuration = kubernetes.client.Configuration()
    try:
        _load(auth, configuration, module.tmpdir, kube_config, load_incluster_config, ConfigException)
    except (ConfigException, OSError, ValueError, TypeError) as error:
        raise CareError(
            f"No usable Kubernetes configuration: {error} "
            "Set option kubeconfig, or host with api_key or with client_cert and client_key."
        ) from error
    _override(configuration, auth)
    refuse_unverified(configuration.host, bool(configuration.verify_ssl))
    configuration.connection_pool_maxsize = connections + 2
    module.no_log_values.update(_loaded_secrets(configuration))
    return _build(kubernetes.client.ApiClient, configuration, auth)


def refuse_unverified(host: str, verified: bool) -> None:
    """Refuse a connection on which anybody could answer in the cluster's name."""
    address = urlsplit(host)
    if not verified:
        raise CareError(
            f"TLS verification of {host} is switched off (insecure-skip-tls-verify in the kubeconfig, or "
            "option validate_certs); put the cluster's CA into the kubeconfig (certificate-authority-data) instead."
        )
    if address.scheme != "https" and address.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise CareError(f"The API server address {host} has no TLS; use its https:// address (option kubeconfig).")


def auth_parameters(params: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The options, each completed by its environment variable as kubernetes.core does."""
    found: dict[str, Any] = {}
    for name, spec in AUTH_ARG_SPEC.items():
        if params.get(name) is not None:
            found[name] = params[name]
            continue
        if name == "proxy_headers":
            headers = {key: environ.get(f"K8S_AUTH_PROXY_HEADERS_{key.upper()}") for key in AUTH_PROXY_HEADERS_SPEC}
            given = {key: value for key, value in headers.items() if value is not None}
            if given:
                found[name] = given
            continue
        names = [name, *spec.get("aliases", [])]
        value = next((v for v in (environ.get(f"K8S_AUTH_{n.upper()}") for n in names) if v is not None), None)
        if value is None:
            continue
        if spec.get("type") == "bool":
            found[name] = boolean(value, strict=False)
        elif spec.get("type") == "list":
            found[name] = [item for item in value.split(",") if item]
        else:
            found[name] = value
    return found


def _load(
    auth: dict[str, Any], configuration: Any, tmpdir: str, kube_config: Any, load_incluster_config: Any, missing: Any
) -> None:
    """Fill the configuration from the kubeconfig, the pod's service account or ~/.kube/config."""
    pairs = (("username", "password"), ("api_key",), ("client_cert", "client_key"))
    if auth.get("host") and any(all(auth.get(name) for name in names) for names in pairs):
        return
    options = {
        "context": auth.get("context"),
        "client_configuration": configuration,
        "persist_config": bool(auth.get("persist_config")),
        "temp_file_path": tmpdir,
    }
    kubeconfig = auth.get("kubeconfig")
    if isinstance(kubeconfig, dict):
        kube_config.load_kube_config_from_dict(kubeconfig, **options)
        return
    if not kubeconfig and not auth.get("context"):
        try:
            load_incluster_config(client_configuration=configuration)
            return
        except missing:
            pass
    if kubeconfig:
        kubeconfig = os.path.expanduser(str(kubeconfig))
        if not any(os.path.exists(path) for path in kubeconfig.split(os.pathsep)):
            raise CareError(f"The kubeconfig {kubeconfig} does not exist (option kubeconfig).")
    kube_config.load_kube_config(config_file=kubeconfig or None, **options)


def _override(configuration: Any, auth: Mapping[str, Any]) -> None:
    """Single options win over the kubeconfig."""
    names = {
        "host": "host",
        "username": "username",
        "password": "password",
        "validate_certs": "verify_ssl",
        "ca_cert": "ssl_ca_cert",
        "client_cert": "cert_file",
        "client_key": "key_file",
        "proxy": "proxy",
        "no_proxy": "no_proxy",
    }
    for option, attribute in names.items():
        if auth.get(option) is not None:
            setattr(configuration, attribute, auth[option])
    if auth.get("api_key"):
        configuration.api_key = {"authorization": f"Bearer {auth['api_key']}"}
        configuration.refresh_api_key_hook = None
    if auth.get("proxy_headers"):
        import urllib3

        configuration.proxy_headers = urllib3.util.make_headers(**auth["proxy_headers"])


def _build(api_client: Any, configuration: Any, auth: Mapping[str, Any]) -> Api:
    from urllib3._collections import HTTPHeaderDict  # where urllib3 1.26 and 2 both have it

    def headers() -> Any:
        made = HTTPHeaderDict({"User-Agent": FIELD_MANAGER})
        if configuration.username and configuration.password:
            made["Authorization"] = configuration.get_basic_auth_token()
        # Asked each time: this is where the client refreshes a token that ends.
        for setting in configuration.auth_settings().values():
            if setting.get("in") == "header" and setting.get("value"):
                made[setting["key"]] = setting["value"]
        if auth.get("impersonate_user"):
            made["Impersonate-User"] = auth["impersonate_user"]
        for group in auth.get("impersonate_groups") or []:
            made.add("Impersonate-Group", group)
        return made

    def direct(server: str) -> Api:
        other = copy.copy(configuration)
        other.host = server if "://" in server else f"https://{server}"
        # An API server's certificate names its own address; the load balancer's name may not be in it.
        other.tls_server_name = None
        refuse_unverified(other.host, bool(other.verify_ssl))
        return Api(api_client(other).rest_client.pool_manager, other.host, headers)

    api = Api(api_client(configuration).rest_client.pool_manager, configuration.host, headers)
    api._direct = direct
    return api


# --- secrets ----------------------------------------------------------------------------------------------------


def keep_secrets(module: AnsibleModule) -> None:
    """Hide exactly the secrets of a kubeconfig.

    The option is ``no_log`` as a whole, which keeps it out of the log of the module's start, but would also
    blot out harmless words of it (``v1``, the cluster's name, the file's path) everywhere in the result.
    """
    kubeconfig = module.params.get("kubeconfig")
    if kubeconfig is None:
        return
    elsewhere = {
        str(module.params[name])
        for name, spec in AUTH_ARG_SPEC.items()
        if spec.get("no_log") and name != "kubeconfig" and module.params.get(name)
    }
    module.no_log_values -= set(_leaves(kubeconfig)) - elsewhere
    if isinstance(kubeconfig, dict):
        module.no_log_values |= set(kubeconfig_secrets(kubeconfig))


def kubeconfig_secrets(kubeconfig: Mapping[str, Any]) -> Iterator[str]:
    """Every string of the users of a kubeconfig that could let somebody in."""
    for entry in kubeconfig.get("users") or []:
        user = entry.get("user") or {}
        for key, value in user.items():
            if key == "exec":
                for variable in value.get("env") or []:
                    yield from _long_enough(variable.get("value"))
            elif key == "auth-provider":
                for name, setting in (value.get("config") or {}).items():
                    if "token" in name or "secret" in name:
                        yield from _long_enough(setting)
            elif key not in _USER_NOT_SECRET:
                yield from _long_enough(value)


def _long_enough(value: Any) -> Iterator[str]:
    for leaf in _leaves(value):
        if len(leaf) >= _SHORTEST_SECRET:
            yield leaf


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _loaded_secrets(configuration: Any) -> Iterator[str]:
    """The credentials that the client read from files, in the form in which an error might show them."""
    for value in [*configuration.api_key.values(), configuration.password]:
        if value and len(value) >= _SHORTEST_SECRET:
            yield value
            yield value.split(" ", 1)[-1]
