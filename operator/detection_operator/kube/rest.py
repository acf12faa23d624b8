"""HTTP to the API server: credentials, errors, JSON."""

import json
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import urllib3
from kubernetes import client as kubernetes_client
from kubernetes.client.rest import RESTClientObject, should_bypass_proxies
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from detection_operator.errors import Garbled, InvalidSettings, cluster_error

TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=15.0)
CONNECTIONS: Final = 16
PROXY_SCHEMES: Final = ("http", "https")
MESSAGE_MAX: Final = 300
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
TOKEN_CHECK_S: Final = 60.0
"""How often the token is read again: those of service accounts rotate on disk."""

# The package has no types.
_load_in_cluster: Callable[..., None] = load_incluster_config
_load_file: Callable[..., None] = load_kube_config

Observer = Callable[[str, int], None]
"""Called with verb and status of each request; status 0: no answer."""


def configuration(kubeconfig: Path | None, context: str | None) -> kubernetes_client.Configuration:
    """Return how to reach the API server.

    Through the kubeconfig's ``proxy-url``, else through the proxy in ``HTTPS_PROXY``; directly if
    ``NO_PROXY`` names the server.

    Args:
        kubeconfig: None means the pod's service account, and outside a pod the default file.
        context: Context of the kubeconfig; None means its current one.

    Raises:
        InvalidSettings: The configuration is missing or invalid.
    """
    found = kubernetes_client.Configuration()
    try:
        if kubeconfig is None and context is None:
            try:
                _load_in_cluster(client_configuration=found)
            except ConfigException:
                _load_file(client_configuration=found)
        else:
            _load_file(
                config_file=str(kubeconfig) if kubeconfig else None,
                context=context,
                client_configuration=found,
            )
    except (ConfigException, OSError) as exc:
        raise InvalidSettings(f"cannot reach the Kubernetes API: {exc}") from exc
    found.connection_pool_maxsize = CONNECTIONS
    _know_proxy(found)
    return found


def proxy_of(config: kubernetes_client.Configuration) -> str | None:
    """Return the URL of the proxy to the API server; None: it is reached directly."""
    if not config.proxy or should_bypass_proxies(config.host, config.no_proxy or ""):
        return None
    return str(config.proxy)


def _know_proxy(config: kubernetes_client.Configuration) -> None:
    """Check the proxy's URL, and set its user and password as headers."""
    proxy = proxy_of(config)
    if proxy is None:
        return
    url = urlsplit(proxy)
    if url.scheme not in PROXY_SCHEMES or not url.hostname:
        # The URL may hold a password.
        raise InvalidSettings(
            "cannot reach the Kubernetes API: the URL of its proxy must begin with http:// or"
            f" https:// and name a host; it begins with {url.scheme!r}"
        )
    if url.username is not None:
        credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
        config.proxy_headers = urllib3.make_headers(proxy_basic_auth=credentials)


def authorization(config: kubernetes_client.Configuration) -> str | None:
    """Return the value of the Authorization header; a token about to expire is renewed first."""
    setting = config.auth_settings().get("BearerToken", {})
    value: str | None = setting.get("value")
    return value


class Rest:
    """Requests to one API server. Safe to use from several threads.

    Args:
        config: Address and credentials.
        observer: Called after each request.
    """

    def __init__(
        self, config: kubernetes_client.Configuration, observer: Observer = lambda *_: None
    ) -> None:
        self._config = config
        self._observer = observer
        self._authorization: tuple[float, str | None] = (float("-inf"), None)
        # The client's transport: TLS, proxies and keep-alive follow its configuration.
        self._pool: urllib3.PoolManager = RESTClientObject(config).pool_manager

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def call(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        timeout: urllib3.Timeout = TIMEOUT,
    ) -> Any:
        """Return the decoded answer.

        Raises:
            ClusterError: The server refused or did not answer.
        """
        url = f"{self._config.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            response = self._pool.request(
                verb,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=self._headers(content_type),
                timeout=timeout,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as exc:
            self._observer(verb, 0)
            reason = type(exc).__name__
            if isinstance(exc, urllib3.exceptions.ProxyError):
                reason += f": {exc.original_error}"
            raise cluster_error(0, f"{verb} {path}: no answer ({reason})") from exc
        self._observer(verb, response.status)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            text = f"{verb} {path}: {response.status} {_message(response.data)}"
            wait_s = _seconds(response.headers.get("Retry-After"))
            raise cluster_error(response.status, text, retry_after_s=wait_s)
        try:
            return json.loads(response.data)
        except ValueError as exc:
            text = f"{verb} {path}: {response.status}, but not JSON: {_message(response.data)}"
            raise Garbled(text) from exc

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Accept": JSON, "Content-Type": content_type}
        now_s = time.monotonic()
        if now_s - self._authorization[0] >= TOKEN_CHECK_S:
            self._authorization = (now_s, authorization(self._config))
        if self._authorization[1]:
            headers["Authorization"] = self._authorization[1]
        return headers


def namespaced(group: str, namespace: str | None, plural: str, *rest: str) -> str:
    """Return the path of objects of ``group`` (``v1`` or ``apps/v1``); None: of all namespaces."""
    root = "/api/v1" if group == "v1" else f"/apis/{group}"
    scope = [] if namespace is None else ["namespaces", namespace]
    return "/".join([root, *(quote(part, safe="") for part in (*scope, plural, *rest))])


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])[:MESSAGE_MAX]
    except (ValueError, KeyError, TypeError):
        return data[:MESSAGE_MAX].decode("utf-8", "replace")


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None
