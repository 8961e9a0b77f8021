"""How the servers of a real control plane are started: their command lines and the files these name.

Everything is thrown away after the test: etcd does not wait for the disk, and nothing shuts down gently.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Collection
from pathlib import Path

# SEC1 `ECPrivateKey` for P-256 without its optional public key (RFC 5915): all around the 32 secret bytes.
_EC_KEY_HEAD = bytes.fromhex("30310201010420")
_EC_KEY_TAIL = bytes.fromhex("a00a06082a8648ce3d030107")
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_INSECURE_PORT_UNTIL_MINOR = 23  # `--port` is gone in 1.24; before, it is open on 10252 unless told otherwise


def signing_key() -> str:
    """A fresh P-256 private key as PEM, for service-account tokens."""
    secret = secrets.randbelow(_P256_ORDER - 1) + 1
    body = base64.b64encode(_EC_KEY_HEAD + secret.to_bytes(32) + _EC_KEY_TAIL).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN EC PRIVATE KEY-----\n{lines}\n-----END EC PRIVATE KEY-----\n"


def write_credentials(folder: Path, token: str) -> None:
    """Write the token file (one administrator) and the key that signs service-account tokens."""
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    (folder / "service-accounts.key").write_text(signing_key())


def kubeconfig(url: str, ca: bytes, token: str) -> str:
    """A kubeconfig (JSON, which is YAML) for the holder of `token`."""
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(ca).decode()}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
        },
        indent=2,
    )


def etcd_arguments(data: Path, *, client_port: int, peer_port: int) -> list[str]:
    """Arguments of a one-member etcd."""
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    return [
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def apiserver_arguments(credentials: Path, certificates: Path, *, port: int, etcd_port: int) -> list[str]:
    """Arguments of a kube-apiserver that makes its own serving certificate in `certificates`."""
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # loopback is no valid endpoint: it would complain
        f"--cert-dir={certificates}",
        f"--token-auth-file={credentials / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        f"--service-account-key-file={credentials / 'service-accounts.key'}",
        f"--service-account-signing-key-file={credentials / 'service-accounts.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--disable-admission-plugins=ServiceAccount",
        "--allow-privileged=true",
    ]


def manager_arguments(admin: Path, controllers: Collection[str], *, minor: int) -> list[str]:
    """Arguments of a kube-controller-manager that runs `controllers` and listens nowhere."""
    insecure = ["--port=0"] if minor <= _INSECURE_PORT_UNTIL_MINOR else []
    return [
        f"--kubeconfig={admin}",
        f"--controllers={','.join(controllers)}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        *insecure,
    ]
