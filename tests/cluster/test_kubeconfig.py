"""Finding the API server and the credentials for it."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest
from scripted_apiserver import TOKEN, Exchange, certificate, kubeconfig, scripted

from canaryd.cluster import kubeconfig as under_test
from canaryd.cluster.errors import ApiError, Misconfigured
from canaryd.cluster.resources import PODS
from canaryd.cluster.transport import Api


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def ok(request: Exchange) -> None:
    request.json({})


def test_the_context_chooses_the_cluster(tmp_path: Path) -> None:
    path = str(kubeconfig(tmp_path / "k", {"server": "http://127.0.0.1:9/test"}))
    assert Api.connect(path).server == "http://127.0.0.1:9/test"
    assert Api.connect(path, "other").server == "http://127.0.0.1:9/other"


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kubeconfig(tmp_path / "k", {"server": "http://127.0.0.1:9/env/"})
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{path}")
    assert Api.connect().server == "http://127.0.0.1:9/env"


def test_the_home_folder_comes_last(tmp_path: Path) -> None:
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    kubeconfig(tmp_path / "home" / ".kube" / "config", {"server": "http://127.0.0.1:9/home"})
    assert Api.connect().server == "http://127.0.0.1:9/home"


def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import incluster_config

    ca, _ = certificate(tmp_path)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    monkeypatch.setattr(under_test, "_SERVICE_ACCOUNT_TOKEN", token)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "9")
    assert Api.connect().server == "https://127.0.0.1:9"
    ca.unlink()
    with pytest.raises(Misconfigured, match="service account"):
        Api.connect()


def test_user_agent_and_token_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")  # editors end files so
    with scripted(tmp_path, ok) as server:
        user = {"tokenFile": str(tmp_path / "token")}
        path = kubeconfig(tmp_path / "k", {"server": server.url}, user=user)
        api = Api.connect(str(path), user_agent="canaryd/1 tests")
        api.get(PODS, "shop", "web")
        api.close()
        (request,) = server.seen()
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["user-agent"] == "canaryd/1 tests"


def test_loopback_is_not_proxied_but_a_named_proxy_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with scripted(tmp_path, ok) as server:
        assert server.api().get(PODS, "shop", "web") == {}
        behind = server.api(cluster={"server": "http://127.0.0.1:9", "proxy-url": server.url})
        assert behind.get(PODS, "shop", "web") == {}


NESTED = {"name": "test", "token": TOKEN}
BROKEN = {
    "missing": None,
    "empty": "",
    "not YAML": "clusters: [\n  }",
    "an unknown alias": f"users: *{TOKEN}",
    "a scalar": "hello",
    "a list": "[]",
    "no context": json.dumps({"clusters": [], "users": [], "contexts": []}),
    "no such user's data": json.dumps(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "test"}}],
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
            "users": [NESTED],
        }
    ),
    "no server": json.dumps(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": {}}],
            "users": [NESTED],
        }
    ),
    "certificates that are none": json.dumps(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": "https://x", "certificate-authority-data": "%%"}}
            ],
        }
    ),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_kubeconfig_is_named_and_keeps_its_secrets(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Misconfigured, match=str(path)) as caught:
        Api.connect(str(path))
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_no_configuration_at_all() -> None:
    with pytest.raises(Misconfigured, match=r"~/\.kube/config.*not a pod"):
        Api.connect()


def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "k", {"server": "http://127.0.0.1:9"})
    with pytest.raises(Misconfigured, match="nowhere"):
        Api.connect(str(path), "nowhere")


def test_credentials_that_cannot_be_refreshed(tmp_path: Path) -> None:
    def explode(_: object) -> None:
        raise RuntimeError(f"plugin said {{'token': '{TOKEN}'}}")

    with scripted(tmp_path, ok) as server:
        api = server.api()
        api._wire._client.configuration.refresh_api_key_hook = explode
        with pytest.raises(ApiError, match="cannot refresh") as caught:
            api.patch(PODS, "shop", "web", {})
        assert server.seen() == []
    assert isinstance(caught.value, Misconfigured)
    assert not caught.value.ambiguous
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
