"""Where objects live in the API."""

from __future__ import annotations

import subprocess
import sys

import pytest

from canaryd.cluster import resources as r


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (r.PODS.path(), "/api/v1/pods"),
        (r.PODS.path(""), "/api/v1/pods"),
        (r.PODS.path("shop"), "/api/v1/namespaces/shop/pods"),
        (r.PODS.path("shop", "web", "log"), "/api/v1/namespaces/shop/pods/web/log"),
        (r.DEPLOYMENTS.path("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web"),
        (r.NAMESPACES.path(), "/api/v1/namespaces"),
        (r.NAMESPACES.path(None, "shop"), "/api/v1/namespaces/shop"),
        (r.NAMESPACES.path("", "shop", "status"), "/api/v1/namespaces/shop/status"),
        (r.CRDS.path(None, "a.b"), "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.b"),
        (r.PODS.path("shop", "../nodes"), "/api/v1/namespaces/shop/pods/..%2Fnodes"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize(
    ("resource", "arguments", "complaint"),
    [
        (r.NAMESPACES, ("shop", "x"), "has no namespaces"),
        (r.PODS, (None, "web"), "needs its namespace"),
        (r.PODS, ("shop", ""), "cannot be empty"),
        (r.PODS, ("shop", None, "log"), "subresource of an object"),
    ],
)
def test_paths_that_cannot_be(
    resource: r.Resource, arguments: tuple[str | None, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        resource.path(*arguments)


def test_api_version() -> None:
    assert (r.PODS.api_version, r.CANARYRUNS.api_version) == ("v1", "canaryd.io/v1alpha1")


def test_target_reads_well() -> None:
    assert r.DEPLOYMENTS.target("shop", "web") == "deployments.apps shop/web"
    assert r.NAMESPACES.target(None, "shop") == "namespaces shop"
    assert r.PODS.target() == "pods"


def test_key_of() -> None:
    assert r.key_of({"metadata": {"namespace": "shop", "name": "web"}}) == ("shop", "web")
    assert r.key_of({"metadata": {"name": "shop"}}) == ("", "shop")


def test_resources_and_errors_import_light() -> None:
    code = "import sys, canaryd.cluster.resources, canaryd.cluster.errors; print('urllib3' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_kubernetes_is_not_imported_with_the_modules() -> None:
    code = "import sys, canaryd.cluster.reflector; print('kubernetes' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
