"""What a container's process is started with: its command line and its environment."""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Mapping

from canaryd.sandbox.node.spec import Container, FieldRef, PodSpec, Unsupported

# What an image without a command runs: with it, `kubectl create deployment --image` has something to show.
_ENTRYPOINT = ("python", "-m", "canaryd.sandbox.app")
_PYTHONS = ("python", "python3")
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ContainerConfigError(ValueError):
    """The container asks for something that the node does not offer; the message names it."""


def environment(pod: PodSpec, container: Container, *, ip: str, node: str) -> dict[str, str]:
    """The whole environment of the container's process. Raises ContainerConfigError.

    PORT is the first containerPort and VERSION the image's tag, unless the container sets them.
    """
    result = {name: os.environ[name] for name in _KEPT if name in os.environ}
    result |= {"PYTHONUNBUFFERED": "1", "HOSTNAME": pod.name, "VERSION": _tag(container.image)}
    result |= {"POD_IP": ip, "POD_NAME": pod.name, "POD_NAMESPACE": pod.namespace}
    if container.ports:
        result["PORT"] = str(container.ports[0][1])
    for variable in container.env:
        match variable.value:
            case Unsupported(what):
                raise ContainerConfigError(f"the sandbox's node does not offer {what}")
            case FieldRef(path):
                result[variable.name] = _field(pod, path, ip=ip, node=node)
            case text:
                result[variable.name] = _expand(text, result)
    return result


def command_line(container: Container, env: Mapping[str, str]) -> tuple[str, ...]:
    """What to execute: command and args with $(NAME) expanded; `python` is this very interpreter."""
    return executable(_expand(part, env) for part in (*(container.command or _ENTRYPOINT), *container.args))


def executable(command: Iterable[str]) -> tuple[str, ...]:
    """The command with `python` replaced by the interpreter that runs the sandbox."""
    first, *rest = command
    return (sys.executable if first in _PYTHONS else first, *rest)


def image_id(container: Container) -> str:
    """Stands for the digest of the image: the same for the same image and command, whatever the env."""
    content = "\0".join((container.image, *container.command, *container.args))
    return f"sandbox://{container.image}@sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def pullable(image: str) -> bool:
    """Whether the image exists in the sandbox's imagined registry."""
    name = image.partition("@")[0].rpartition(":")[0] or image
    return bool(image) and name != "example/broken" and "does-not-exist" not in image


def _tag(image: str) -> str:
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or "latest"


def _expand(text: str, env: Mapping[str, str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return env.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def _field(pod: PodSpec, path: str, *, ip: str, node: str) -> str:
    known = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": node,
        "spec.serviceAccountName": pod.service_account,
        "status.podIP": ip,
        "status.podIPs": ip,
        "status.hostIP": "127.0.0.1",
    }
    if path in known:
        return known[path]
    if subscript := _SUBSCRIPT.fullmatch(path):
        values = pod.labels if subscript[1] == "labels" else pod.annotations
        return values.get(subscript[2], "")
    raise ContainerConfigError(f"the sandbox's node does not offer fieldRef {path}")
