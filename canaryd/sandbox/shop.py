"""The demo's application as a user would have it: a Deployment, its Service and their VirtualService."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from canaryd.cluster.errors import AlreadyExists
from canaryd.cluster.resources import DEPLOYMENTS, NAMESPACES, SERVICES, VIRTUALSERVICES, Json
from canaryd.cluster.transport import Api

MANAGED: Mapping[str, str] = MappingProxyType({"canaryd.io/enabled": "true"})


@dataclass(frozen=True, slots=True)
class Shop:
    """One application; `name` is that of its Deployment, Service and VirtualService."""

    namespace: str = "shop"
    name: str = "checkout"

    @property
    def host(self) -> str:
        """What users outside the mesh ask for."""
        return f"{self.namespace}.example.com"

    def deployment(self, replicas: int, env: Mapping[str, str], annotations: Mapping[str, str]) -> Json:
        """The Deployment; without `annotations` nobody manages it."""
        return {
            "metadata": {
                "name": self.name,
                "labels": {"app": self.name},
                "annotations": dict(annotations),
            },
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": {"labels": {"app": self.name}},
                    "spec": {"terminationGracePeriodSeconds": 5, "containers": [self.container(env)]},
                },
            },
        }

    def container(self, env: Mapping[str, str]) -> Json:
        """The demo application with its faults in the environment; VERSION is in the image's tag, too."""
        return {
            "name": "app",
            "image": f"example/{self.name}:{env.get('VERSION', 'v1')}",
            "command": ["python", "-m", "canaryd.sandbox.app"],
            "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
            "ports": [{"containerPort": 8080, "name": "http"}],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        }

    def service(self, name: str = "") -> Json:
        """The Service, or a second one for the same pods under another `name`."""
        return {
            "metadata": {"name": name or self.name, "labels": {"app": self.name}},
            "spec": {
                "selector": {"app": self.name},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        }

    def virtual_service(self) -> Json:
        """The user's own, for the gateway and the mesh, with more in it than canaryd may touch."""
        return {
            "metadata": {"name": self.name, "labels": {"team": "payments"}},
            "spec": {
                "hosts": [self.host, self.name],
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
                        "route": [{"destination": {"host": self.name, "port": {"number": 80}}}],
                    },
                ],
            },
        }

    def install(
        self,
        api: Api,
        replicas: int,
        env: Mapping[str, str],
        annotations: Mapping[str, str] = MANAGED,
        *,
        routed: bool = True,
    ) -> None:
        """Create everything; without `routed` there is no VirtualService."""
        with contextlib.suppress(AlreadyExists):
            api.create(NAMESPACES, None, {"metadata": {"name": self.namespace}})
        api.create(SERVICES, self.namespace, self.service())
        if routed:
            api.create(VIRTUALSERVICES, self.namespace, self.virtual_service())
        api.create(DEPLOYMENTS, self.namespace, self.deployment(replicas, env, annotations))

    def release(self, api: Api, env: Mapping[str, str]) -> None:
        """What a pipeline does: set the image (here with its environment)."""
        template = {"spec": {"template": {"spec": {"containers": [self.container(env)]}}}}
        # Strategic merge keeps variables that the new version does not name: they are removed by name.
        current = self.get(api)["spec"]["template"]["spec"]["containers"][0]
        gone = [e["name"] for e in current.get("env") or [] if e["name"] not in env]
        entries = template["spec"]["template"]["spec"]["containers"][0]["env"]
        entries.extend({"name": name, "$patch": "delete"} for name in gone)
        api.patch(
            DEPLOYMENTS, self.namespace, self.name, template, kind="strategic", field_manager="kubectl-set"
        )

    def annotate(self, api: Api, **annotations: str | None) -> None:
        """`kubectl annotate`, under canaryd's prefix and with dashes for underscores; None takes one off."""
        named = {f"canaryd.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
        body = {"metadata": {"annotations": named}}
        api.patch(DEPLOYMENTS, self.namespace, self.name, body, field_manager="kubectl-annotate")

    def get(self, api: Api) -> Json:
        """The Deployment."""
        return api.get(DEPLOYMENTS, self.namespace, self.name)
