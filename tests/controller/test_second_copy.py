"""What keeps a canary pod from running beside a stable one is found in preflight."""

from __future__ import annotations

from typing import Any

import pytest
from shop_objects import deployment, said, template

from canaryd.cluster.resources import Json


class TestSecondCopy:
    def of(self, **spec: Any) -> list[tuple[str, str]]:
        return said(deployment=deployment(template(**spec)))

    @pytest.mark.parametrize(
        ("spec", "named"),
        [
            (
                {
                    "containers": [
                        {"name": "app", "image": "x", "ports": [{"containerPort": 80}, {"hostPort": 8080}]}
                    ]
                },
                "container app takes hostPort 8080",
            ),
            ({"hostNetwork": True}, "take hostNetwork out"),
        ],
    )
    def test_ports_of_the_node(self, spec: Json, named: str) -> None:
        ((check, message),) = self.of(**spec)
        assert check == "second-copy"
        assert named in message
        assert "canaryd.io/accept: second-copy" in message

    def test_the_hosts_network_speaks_for_its_ports(self) -> None:
        ports = [{"containerPort": 80, "hostPort": 80}]
        assert len(self.of(hostNetwork=True, containers=[{"name": "app", "image": "x", "ports": ports}])) == 1

    @pytest.mark.parametrize(
        ("modes", "shared"),
        [
            (["ReadWriteOnce"], False),
            (["ReadWriteOncePod"], False),
            ([], False),
            (["ReadWriteOnce", "ReadOnlyMany"], True),
            (["ReadWriteMany"], True),
        ],
    )
    def test_volumes(self, modes: list[str], shared: bool) -> None:
        claim = {"metadata": {"name": "data"}, "spec": {"accessModes": modes}}
        found = said(claims=[claim])
        assert (found == []) is shared
        if found:
            assert "PersistentVolumeClaim data" in found[0][1]

    @pytest.mark.parametrize(
        ("selector", "apart"),
        [
            ({"matchLabels": {"app": "checkout"}}, True),
            ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["checkout", "cart"]}]}, True),
            ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
            ({"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}, True),
            ({}, True),
            ({"matchLabels": {"app": "redis"}}, False),
            ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["checkout"]}]}, False),
            (
                {
                    "matchLabels": {"app": "checkout"},
                    "matchExpressions": [{"key": "gpu", "operator": "Exists"}],
                },
                False,
            ),
            (None, False),
        ],
    )
    def test_anti_affinity_to_pods_like_themselves(self, selector: Json | None, apart: bool) -> None:
        term = {
            "topologyKey": "kubernetes.io/hostname",
            **({} if selector is None else {"labelSelector": selector}),
        }
        rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        found = self.of(affinity={"podAntiAffinity": rule})
        assert [check for check, _ in found] == (["second-copy"] if apart else [])

    def test_preferred_anti_affinity_is_fine(self) -> None:
        rule = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {}}]}
        assert self.of(affinity={"podAntiAffinity": rule}) == []
