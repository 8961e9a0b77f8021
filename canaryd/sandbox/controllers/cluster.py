"""What the controllers share: the API, the views of what is in the cluster, the events, the clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from canaryd.cluster.transport import Api
from canaryd.sandbox.controllers.events import EventRecorder
from canaryd.sandbox.controllers.model import Deployment, ReplicaSet
from canaryd.sandbox.controllers.network import Endpoints, Pod, Service
from canaryd.sandbox.controllers.view import View

MANAGER = "sandbox-controllers"  # who wrote it, in metadata.managedFields and in events


@dataclass(frozen=True, slots=True)
class Cluster:
    """`now` is the wall clock, in UTC."""

    api: Api
    events: EventRecorder
    now: Callable[[], datetime]
    deployments: View[Deployment]
    replica_sets: View[ReplicaSet]
    pods: View[Pod]
    services: View[Service]
    endpoints: View[Endpoints]
