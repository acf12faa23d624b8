"""kopf's connections to the API server, with the Kubernetes client's configuration."""

import asyncio

import aiohttp
import kopf
from kubernetes import client as kubernetes_client

from detection_operator.kube.rest import authorization, proxy_of


async def connection(config: kubernetes_client.Configuration) -> kopf.AiohttpSession:
    """Return a session with fresh credentials; kopf closes it, and logs in again after a 401.

    Must be called in the event loop in which the session is used.
    """
    # A kubeconfig's exec plug-in runs a process.
    value = await asyncio.to_thread(authorization, config)
    scheme, _, token = (value or "").partition(" ")
    info = kopf.ConnectionInfo(
        server=config.host,
        ca_path=config.ssl_ca_cert,
        insecure=not config.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=config.cert_file,
        private_key_path=config.key_file,
    )
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=proxy_of(config),
        middlewares=(_as_configured(config.tls_server_name),),
    )
    return kopf.AiohttpSession(server=config.host, aiohttp_session=session)


def _as_configured(server_name: str | None) -> aiohttp.ClientMiddlewareType:
    async def send(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.server_hostname = server_name
        try:
            return await handler(request)
        except aiohttp.ClientHttpProxyError as exc:
            # kopf takes any answer for the API server's and ends at an unknown one. An error of
            # the proxy is a failed connection, which kopf retries.
            raise aiohttp.ClientConnectionError(f"proxy: {exc.status} {exc.message}") from exc

    return send
