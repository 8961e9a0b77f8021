"""The demo's application as a user would have it: a Deployment, its Service and their VirtualService."""

from __future__ import annotations

from collections.abc import Mapping

from canaryd.cluster.resources import DEPLOYMENTS, NAMESPACES, SERVICES, VIRTUALSERVICES, Json
from canaryd.cluster.transport import Api

NAMESPACE = "shop"
NAME = "checkout"
HOST = "shop.example.com"
USER = "kubectl-client-side-apply"


def deployment(replicas: int, env: Mapping[str, str], annotations: Mapping[str, str]) -> Json:
    """`checkout`, managed by canaryd."""
    return {
        "metadata": {
            "name": NAME,
            "labels": {"app": NAME},
            "annotations": {"canaryd.io/enabled": "true", **annotations},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [container(env)]},
            },
        },
    }


def container(env: Mapping[str, str]) -> Json:
    """The demo application with its faults in the environment; VERSION is in the image's tag, too."""
    return {
        "name": "app",
        "image": f"example/checkout:{env.get('VERSION', 'v1')}",
        "command": ["python", "-m", "canaryd.sandbox.app"],
        "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
    }


def service() -> Json:
    return {
        "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {"selector": {"app": NAME}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


def virtual_service() -> Json:
    """The user's own, for the gateway and the mesh, with more in it than canaryd may touch."""
    return {
        "metadata": {"name": NAME, "labels": {"team": "payments"}},
        "spec": {
            "hosts": [HOST, NAME],
            "gateways": ["shop-gateway", "mesh"],
            "http": [
                {
                    "name": "health",
                    "match": [{"uri": {"exact": "/gateway-health"}}],
                    "directResponse": {"status": 200},
                },
                {
                    "name": "all",
                    "timeout": "5s",
                    "route": [{"destination": {"host": NAME, "port": {"number": 80}}}],
                },
            ],
        },
    }


def install(api: Api, replicas: int, env: Mapping[str, str], annotations: Mapping[str, str]) -> None:
    """Create everything."""
    api.create(NAMESPACES, None, {"metadata": {"name": NAMESPACE}})
    api.create(SERVICES, NAMESPACE, service())
    api.create(VIRTUALSERVICES, NAMESPACE, virtual_service())
    api.create(DEPLOYMENTS, NAMESPACE, deployment(replicas, env, annotations))


def release(api: Api, env: Mapping[str, str]) -> None:
    """What a pipeline does: set the image (here with its environment)."""
    template = {"spec": {"template": {"spec": {"containers": [container(env)]}}}}
    # Strategic merge keeps variables that the new version does not name: they are removed by name.
    current = api.get(DEPLOYMENTS, NAMESPACE, NAME)["spec"]["template"]["spec"]["containers"][0]
    gone = [e["name"] for e in current.get("env") or [] if e["name"] not in env]
    entries = template["spec"]["template"]["spec"]["containers"][0]["env"]
    entries.extend({"name": name, "$patch": "delete"} for name in gone)
    api.patch(DEPLOYMENTS, NAMESPACE, NAME, template, kind="strategic", field_manager="kubectl-set")
