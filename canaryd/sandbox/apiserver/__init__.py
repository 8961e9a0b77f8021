"""A Kubernetes API server in a box: one process, in memory, on loopback, for the demo and the tests.

It behaves as kube-apiserver does towards clients (conflicts, watches, patches, schemas, messages); the
same contract tests run against both. Everything runs on one event loop, so a write is done when it is
answered, and there are no locks: the store holds immutable snapshots and hands them to everybody.
"""

from canaryd.sandbox.apiserver.core import WriteHook, WriteRecord
from canaryd.sandbox.apiserver.paths import ApiPath, RequestInfo
from canaryd.sandbox.apiserver.server import ApiServer
from canaryd.sandbox.apiserver.serving import Reject
from canaryd.sandbox.apiserver.streams import LogProvider

__all__ = ["ApiPath", "ApiServer", "LogProvider", "Reject", "RequestInfo", "WriteHook", "WriteRecord"]
