"""From a kubeconfig, or from inside a pod, to an authenticated client.

Reading kubeconfigs, client certificates, exec plugins, OIDC and the refresh of tokens are the `kubernetes`
package's; this module chooses the source and sees that no secret ends in an error message.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

import urllib3

from canaryd.cluster.errors import Misconfigured

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

_SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def client_for(kubeconfig: str | None, context: str | None, *, user_agent: str, pool: int) -> ApiClient:
    """The client for a kubeconfig and context, or for the cluster this process runs in.

    Looked for in this order, as controllers do: the argument, $KUBECONFIG, the pod's service account,
    ~/.kube/config. A context rules out the service account. pool is the number of idle connections kept.
    Raises Misconfigured with the file and what is wrong in it.
    """
    from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415 - slow to import

    configuration = Configuration(host="", retries=False)
    source = kubeconfig or os.environ.get("KUBECONFIG")
    if not source and not context and in_cluster():
        source = "the pod's service account"
        _load_service_account(configuration)
    else:
        source = source or "~/.kube/config"
        _load_kubeconfig(configuration, source, context)
    if not configuration.host:
        raise Misconfigured(0, "Misconfigured", "the cluster has no server address", "load", source)
    configuration.connection_pool_maxsize = pool
    configuration.keep_alive = True
    _spare_loopback_the_proxy(configuration)
    if not configuration.verify_ssl:  # the kubeconfig asks for it; kubectl does not warn either
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    client = _client(ApiClient, configuration, source)
    client.user_agent = user_agent
    return client


def in_cluster() -> bool:
    """Whether this process runs in a pod with a service account."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and _SERVICE_ACCOUNT_TOKEN.is_file()


def without_secrets(error: BaseException) -> str:
    """The error's text less every {...}: the kubernetes package quotes whole entries of a kubeconfig."""
    return re.sub(r"\{.*\}", "{...}", f"{type(error).__name__}: {error}", flags=re.DOTALL)


def _load_service_account(configuration: Configuration) -> None:
    from kubernetes.config import ConfigException, load_incluster_config  # noqa: PLC0415 - slow to import

    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise _misconfigured("the pod's service account", error) from None


def _load_kubeconfig(configuration: Configuration, source: str, context: str | None) -> None:
    import yaml  # noqa: PLC0415 - with kubernetes, which brings it
    from kubernetes.config import load_kube_config  # noqa: PLC0415 - slow to import

    if not any(Path(path).expanduser().is_file() for path in source.split(os.pathsep) if path):
        raise Misconfigured(0, "Misconfigured", "no such file, and this is not a pod", "load", source)
    try:
        load_kube_config(  # type: ignore[no-untyped-call]
            config_file=source, context=context, client_configuration=configuration
        )
    except yaml.MarkedYAMLError as error:
        where = f" near line {error.problem_mark.line + 1}" if error.problem_mark else ""
        # No more than the line: the parser quotes what it stumbles over.
        raise Misconfigured(0, "Misconfigured", f"not YAML{where}", "load", source) from None
    except Exception as error:  # noqa: BLE001 - a malformed file fails in it in any way
        raise _misconfigured(source, error) from None


def _client(api_client: type[ApiClient], configuration: Configuration, source: str) -> ApiClient:
    try:
        _load_certificates(configuration)
        return api_client(configuration)
    except Exception as error:  # noqa: BLE001 - unreadable certificates, an unsupported proxy
        raise _misconfigured(source, error) from None


def _load_certificates(configuration: Configuration) -> None:
    """Load them once now: else the first call would fail, and look like trouble with the network."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if configuration.ssl_ca_cert:
        context.load_verify_locations(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        # An empty password instead of a question on the terminal.
        context.load_cert_chain(configuration.cert_file, configuration.key_file, password="")


def _misconfigured(source: str, error: BaseException) -> Misconfigured:
    return Misconfigured(0, "Misconfigured", f"not usable: {without_secrets(error)}", "load", source)


def _spare_loopback_the_proxy(configuration: Configuration) -> None:
    """As kubectl does, never send loopback addresses to a proxy named by the environment."""
    if configuration.proxy in getproxies().values() and _is_loopback(
        urlsplit(configuration.host).hostname or ""
    ):
        configuration.proxy = None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
