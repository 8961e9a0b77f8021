"""The same over TLS, where sockets close and fail in other ways."""

from __future__ import annotations

import base64
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from scripted_apiserver import PATIENCE, Exchange, certificate, kubeconfig, scripted, thing

from canaryd.cluster import errors as e
from canaryd.cluster.resources import DEPLOYMENTS
from canaryd.cluster.transport import Api


def serving(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def test_the_kubeconfigs_authority_is_trusted(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    data = base64.b64encode(cert.read_bytes()).decode()
    with scripted(tmp_path, lambda r: r.json({"a": 1}), tls=serving(cert, key)) as server:
        assert server.api(cluster={"certificate-authority": str(cert)}).get(DEPLOYMENTS, "a", "b") == {"a": 1}
        assert server.api(cluster={"certificate-authority-data": data}).get(DEPLOYMENTS, "a", "b") == {"a": 1}
        assert server.api(cluster={"insecure-skip-tls-verify": True}).get(DEPLOYMENTS, "a", "b") == {"a": 1}


def test_an_unknown_authority_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with scripted(tmp_path, lambda r: r.json({}), tls=serving(cert, key)) as server:
        with pytest.raises(e.Unreachable, match="self-signed") as caught:
            server.api().patch(DEPLOYMENTS, "a", "b", {})
        assert server.seen() == []
    assert not caught.value.ambiguous


def test_a_write_whose_answer_breaks_off_is_ambiguous(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with scripted(tmp_path, Exchange.reset, tls=serving(cert, key)) as server:
        with pytest.raises(e.Unreachable) as caught:
            server.api(cluster={"certificate-authority": str(cert)}).patch(DEPLOYMENTS, "a", "b", {})
        assert len(server.seen()) == 1
    assert caught.value.ambiguous


def test_a_watch_can_be_closed_from_another_thread(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        request.stream()
        request.event("ADDED", thing("a", "2"))
        request.hang()

    cert, key = certificate(tmp_path)
    with scripted(tmp_path, play, tls=serving(cert, key)) as server:
        api = server.api(cluster={"certificate-authority": str(cert)})
        watch = api.watch(DEPLOYMENTS, resource_version="1", timeout_seconds=30)
        assert next(watch).type == "ADDED"
        rest: list[object] = []
        reader = threading.Thread(target=lambda: rest.extend(watch))
        reader.start()
        began = time.monotonic()
        watch.close()
        reader.join(PATIENCE)
        assert time.monotonic() - began < PATIENCE
        assert not reader.is_alive()
    assert rest == []


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = serving(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cert)
    user = {"client-certificate": str(cert), "client-key": str(key)}
    with scripted(tmp_path, lambda r: r.json({"a": 1}), tls=context) as server:
        cluster = {"server": server.url, "certificate-authority": str(cert)}
        api = Api.connect(str(kubeconfig(tmp_path / "mutual", cluster, user=user)))
        assert api.get(DEPLOYMENTS, "a", "b") == {"a": 1}
        api.close()


def test_an_encrypted_key_is_an_error_and_not_a_question(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(key), "-out", str(locked), "-aes256", "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    user = {"client-certificate": str(cert), "client-key": str(locked)}
    path = kubeconfig(tmp_path / "locked", {"server": "https://127.0.0.1:9"}, user=user)
    with pytest.raises(e.Misconfigured, match="locked"):
        Api.connect(str(path))
