"""Lists: selectors, paging, tables."""

from __future__ import annotations

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import CONFIGMAPS, DEPLOYMENTS, EVENTS, PODS, Json
from contract.servers import TABLE, THINGS, Server, configmap, deployment, pod_spec, thing


@pytest.fixture
def labelled(server: Server, namespace: str) -> str:
    """ConfigMaps that differ in their labels."""
    for name, labels in {
        "none": {},
        "red": {"color": "red"},
        "green": {"color": "green", "size": "5"},
        "blank": {"color": ""},
        "deep": {"a.example.com/color": "red", "size": "10"},
    }.items():
        server.api.create(CONFIGMAPS, namespace, configmap(name, labels=labels))
    return namespace


def _names(items: list[Json]) -> set[str]:
    return {item["metadata"]["name"] for item in items}


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("", {"none", "red", "green", "blank", "deep"}),
        ("color=red", {"red"}),
        ("color==red", {"red"}),
        ("color!=red", {"none", "green", "blank", "deep"}),
        ("color=", {"blank"}),
        ("color", {"red", "green", "blank"}),
        ("!color", {"none", "deep"}),
        ("color in (red, green)", {"red", "green"}),
        ("color in (red,)", {"red", "blank"}),
        ("color notin (red,green)", {"none", "blank", "deep"}),
        ("color,size", {"green"}),
        ("color in (red,green),size notin (5)", {"red"}),
        ("a.example.com/color=red", {"deep"}),
        ("size>5", {"deep"}),
        ("size<10", {"green"}),
        (" color = red , !size ", {"red"}),
    ],
)
def test_label_selectors(server: Server, labelled: str, selector: str, names: set[str]) -> None:
    found, _ = server.api.list(CONFIGMAPS, labelled, labels=selector)
    assert _names(found) == names


@pytest.mark.parametrize("selector", ["a b", "a in", "a in (b", "=b", "a=b=c", "a,,b", "!", "a>x", "a in b"])
def test_malformed_label_selectors_are_refused(server: Server, namespace: str, selector: str) -> None:
    with pytest.raises(errors.ApiError) as caught:
        server.api.list(CONFIGMAPS, namespace, labels=selector)
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("metadata.name=red", {"red"}),
        ("metadata.name!=red", {"none", "green", "blank", "deep"}),
        ("metadata.name=red,metadata.name=green", set()),
        ("metadata.namespace=elsewhere", set()),
    ],
)
def test_field_selectors(server: Server, labelled: str, selector: str, names: set[str]) -> None:
    found, _ = server.api.list(CONFIGMAPS, labelled, fields=selector)
    assert _names(found) == names


def test_field_selectors_of_pods(server: Server, namespace: str) -> None:
    for name, node in (("a", "n1"), ("b", "n2")):
        spec = {**pod_spec("x:1"), "nodeName": node}
        server.api.create(PODS, namespace, {"metadata": {"name": name}, "spec": spec})
    server.api.patch(PODS, namespace, "b", {"status": {"phase": "Running"}}, subresource="status")
    assert _names(server.api.list(PODS, namespace, fields="spec.nodeName=n1")[0]) == {"a"}
    assert _names(server.api.list(PODS, namespace, fields="status.phase=Running")[0]) == {"b"}
    assert (
        _names(server.api.list(PODS, namespace, fields="status.phase!=Running,spec.nodeName=n2")[0]) == set()
    )


def test_field_selectors_of_events(server: Server, namespace: str) -> None:
    involved = {"kind": "Deployment", "namespace": namespace, "name": "web", "uid": "u-1"}
    event = {"metadata": {"name": "e"}, "involvedObject": involved, "reason": "Rose", "type": "Normal"}
    server.api.create(EVENTS, namespace, event)
    selector = "involvedObject.kind=Deployment,involvedObject.name=web,involvedObject.uid=u-1,reason=Rose"
    assert _names(server.api.list(EVENTS, namespace, fields=selector)[0]) == {"e"}
    assert not server.api.list(EVENTS, namespace, fields="involvedObject.name=other")[0]


@pytest.mark.parametrize("selector", ["spec.replicas=1", "nonsense", "metadata.labels=a"])
def test_unknown_field_selectors_are_refused(server: Server, namespace: str, selector: str) -> None:
    with pytest.raises(errors.ApiError) as caught:
        server.api.list(DEPLOYMENTS, namespace, fields=selector)
    assert caught.value.status == 400


def test_items_of_builtin_lists_have_no_kind_and_those_of_custom_ones_do(
    server: Server, things: None, namespace: str
) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a"))
    server.api.create(THINGS, namespace, thing())
    maps = server.ask("GET", f"/api/v1/namespaces/{namespace}/configmaps").body
    assert (maps["kind"], maps["apiVersion"]) == ("ConfigMapList", "v1")
    assert "kind" not in maps["items"][0]
    listed = server.ask("GET", f"/apis/contract.canaryd.io/v1/namespaces/{namespace}/things").body
    assert (listed["kind"], listed["items"][0]["kind"]) == ("ThingList", "Thing")


def test_list_is_true_at_its_version(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a"))
    _, version = server.api.list(CONFIGMAPS, namespace)
    assert int(version) >= int(made["metadata"]["resourceVersion"])


def test_list_across_namespaces(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", labels={"only": namespace}))
    found, _ = server.api.list(CONFIGMAPS, labels=f"only={namespace}")
    assert [item["metadata"]["uid"] for item in found] == [made["metadata"]["uid"]]


def test_pages_show_one_moment(server: Server, namespace: str) -> None:
    """Objects made and deleted between two pages neither appear nor vanish."""
    for name in "abcde":
        server.api.create(CONFIGMAPS, namespace, configmap(name))
    path = f"/api/v1/namespaces/{namespace}/configmaps?limit=2"
    first = server.ask("GET", path).body
    assert first["metadata"]["remainingItemCount"] == 3
    server.api.delete(CONFIGMAPS, namespace, "d")
    server.api.create(CONFIGMAPS, namespace, configmap("c2"))
    pages, token = [first], first["metadata"]["continue"]
    while token:
        pages.append(server.ask("GET", f"{path}&continue={token}").body)
        token = pages[-1]["metadata"].get("continue")
    assert [[item["metadata"]["name"] for item in page["items"]] for page in pages] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert len({page["metadata"]["resourceVersion"] for page in pages}) == 1


def test_malformed_paging_is_refused(server: Server, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert server.ask("GET", f"{path}?limit=x").status == 400
    assert server.ask("GET", f"{path}?limit=1&continue=junk").status == 400


def test_version_to_come_is_not_waited_for(server: Server, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps?resourceVersion=999999999"
    reply = server.ask("GET", path)
    assert (reply.status, reply.body["reason"]) == (504, "Timeout")
    assert reply.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_table_of_a_builtin_kind(server: Server, namespace: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment(replicas=3))
    table = server.ask("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments", accept=TABLE).body
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [(c["name"], c["priority"]) for c in table["columnDefinitions"]] == [
        ("Name", 0), ("Ready", 0), ("Up-to-date", 0), ("Available", 0), ("Age", 0),
        ("Containers", 1), ("Images", 1), ("Selector", 1),
    ]  # fmt: skip
    [row] = table["rows"]
    assert row["cells"][:4] == ["web", "0/3", 0, 0] and row["cells"][5:] == ["a", "web:1", "app=web"]
    assert row["object"]["kind"] == "PartialObjectMetadata" and "spec" not in row["object"]


def test_table_of_a_custom_kind(server: Server, things: None, namespace: str) -> None:
    server.api.create(THINGS, namespace, thing(size=3, hosts=["a", "b"]))
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    server.api.patch(THINGS, namespace, "one", status, subresource="status")
    path = f"/apis/contract.canaryd.io/v1/namespaces/{namespace}/things"
    table = server.ask("GET", path, accept=TABLE).body
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns == ["Name", "Size", "Ready", "Hosts", "Color"]
    assert table["rows"][0]["cells"] == ["one", 3, "True", '["a","b"]', "red"]


def test_metadata_alone(server: Server, namespace: str) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a", {"k": "v"}))
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    found = server.ask("GET", f"/api/v1/namespaces/{namespace}/configmaps", accept=accept).body
    assert found["kind"] == "PartialObjectMetadataList"
    assert found["items"][0]["metadata"]["name"] == "a" and "data" not in found["items"][0]
