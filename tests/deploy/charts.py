"""A rendered chart as Kubernetes sees it: its objects, the pods they become, who reaches whom."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "truthtune"

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod that some object makes, before it is one. `name` tells which."""

    name: str
    labels: Mapping[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def is_ray_node(self) -> bool:
        return self.name.startswith("ray-") or any(
            container["name"] == "ray-node" for container in self.containers
        )


@dataclass(frozen=True)
class Release:
    objects: list[Object]

    def of_kind(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def named(self, kind: str, suffix: str) -> Object:
        (found,) = (
            each for each in self.of_kind(kind) if each["metadata"]["name"].endswith(suffix)
        )
        return found

    @property
    def ray_cluster(self) -> Object:
        (found,) = self.of_kind("RayCluster")
        spec: Object = found["spec"]
        return spec

    def pods(self) -> Iterator[Pod]:
        for kind in ("Deployment", "Job"):
            for each in self.of_kind(kind):
                name = each["metadata"]["labels"]["app.kubernetes.io/component"]
                yield _pod(name, each["spec"]["template"])
        yield _pod("ray-head", self.ray_cluster["headGroupSpec"]["template"])
        for group in self.ray_cluster["workerGroupSpecs"]:
            yield _pod(f"ray-{group['groupName']}", group["template"])

    def pod(self, name: str) -> Pod:
        (found,) = (pod for pod in self.pods() if pod.name == name)
        return found

    def admits(self, target: Pod, source: Mapping[str, str], port: int) -> bool:
        """Whether a pod of the same namespace with the labels `source` reaches the port.

        As Kubernetes has it: a pod that no policy selects takes all connections; else those that
        any rule of any policy that selects it allows, where an absent list means everything.
        """
        rules = [
            rule
            for policy in self.of_kind("NetworkPolicy")
            if selects(policy["spec"]["podSelector"], target.labels)
            for rule in [policy["spec"].get("ingress", [])]
        ]
        if not rules:
            return True
        return any(
            _from_admits(rule.get("from"), source) and _ports_admit(rule.get("ports"), port)
            for each in rules
            for rule in each
        )


def parse(text: str) -> Release:
    return Release([each for each in yaml.safe_load_all(text) if each is not None])


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "only what the chart uses is understood here"
    return selector.get("matchLabels", {}).items() <= labels.items()


def environment(container: Object) -> dict[str, Object]:
    found = {variable["name"]: variable for variable in container.get("env", [])}
    assert len(found) == len(container.get("env", [])), "a variable is set twice"
    return found


def _pod(name: str, template: Object) -> Pod:
    return Pod(name, template["metadata"]["labels"], template["spec"])


def _from_admits(peers: list[Object] | None, source: Mapping[str, str]) -> bool:
    if not peers:
        return True
    for peer in peers:
        assert set(peer) == {"podSelector"}, "only what the chart uses is understood here"
    return any(selects(peer["podSelector"], source) for peer in peers)


def _ports_admit(ports: list[Object] | None, port: int) -> bool:
    return not ports or any(each["port"] == port for each in ports)
