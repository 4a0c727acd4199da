"""The Helm chart: valid for Kubernetes and KubeRay, closed where it must be, true to the code."""

import json
import re
import subprocess
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from charts import CHART, ROOT, Pod, Release, environment, selects

from service.settings import Settings
from service.settings_file import FROM_ENVIRONMENT_ALONE, variables

KUBERAY = ROOT.parent / "shared" / "data" / "kuberay-schemas" / "raycluster_v1.json"
FOREIGN = {"PrometheusRule", "RayCluster", "ServiceMonitor"}
SETS = ("fixed", "gpu", "minimal")
SECRETS = {"TRUTHTUNE_DATABASE_URL", "TRUTHTUNE_KEY_SECRET", "TRUTHTUNE_SEAL_KEY"}
RAY_PORTS = (6379, 8080, 8265, 10001, 10002, 44217, 52365)
"""Of the head's store, metrics, dashboard, client, workers, and a node's agent."""


@pytest.fixture(scope="module", params=SETS)
def release(request: pytest.FixtureRequest, releases: dict[str, Release]) -> Release:
    return releases[request.param]


def test_every_set_of_values_is_rendered(releases: dict[str, Release]) -> None:
    assert tuple(releases) == SETS


@pytest.mark.parametrize("name", SETS)
def test_helm_finds_nothing_to_complain_about(helm: str, name: str) -> None:
    values = CHART / "ci" / f"{name}-values.yaml"
    command = [helm, "lint", "--strict", CHART, "--values", values]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_object_is_what_kubernetes_takes(release: Release) -> None:
    for each in release.objects:
        if each["kind"] not in FOREIGN:
            kubernetes_validate.validate(each, "1.33", strict=True)
    assert {each["kind"] for each in release.objects} >= {"Deployment", "Service", "NetworkPolicy"}


def test_the_cluster_is_what_kuberay_takes(release: Release) -> None:
    if not KUBERAY.exists():
        pytest.skip(f"KubeRay's schemas are not at {KUBERAY}")
    (cluster,) = release.of_kind("RayCluster")
    jsonschema.Draft202012Validator(json.loads(KUBERAY.read_text())).validate(cluster)


def test_no_container_is_root_writes_to_its_image_or_lacks_a_request(release: Release) -> None:
    for pod in release.pods():
        assert pod.spec["securityContext"]["runAsNonRoot"], pod.name
        for container in pod.containers:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"], (pod.name, container["name"])
            assert not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


def test_every_folder_that_an_image_names_as_written_to_is_a_volume(release: Release) -> None:
    written = {
        name: set(json.loads(_instruction(name, "VOLUME"))) | {"/tmp"} for name in ("api", "worker")
    }
    for pod in release.pods():
        volumes = {volume["name"] for volume in pod.spec["volumes"]}
        for container in pod.containers:
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            image = re.fullmatch(r"truthtune-(\w+):.*", container["image"])
            assert image is not None
            needed = written[image[1]]
            if pod.name == "migrations":  # it looks at no model
                needed = needed - {"/var/cache/truthtune"}
            assert needed <= mounts.keys(), (pod.name, container["name"])
            assert set(mounts.values()) <= volumes


def _instruction(image: str, name: str) -> str:
    text = (ROOT / "docker" / f"{image}.Dockerfile").read_text()
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)[-1]


def test_only_who_asks_kubernetes_has_a_token_for_it(releases: dict[str, Release]) -> None:
    for name, release in releases.items():
        having = {pod.name for pod in release.pods() if pod.spec["automountServiceAccountToken"]}
        assert having == (set() if name == "fixed" else {"ray-head"})


def test_rays_ports_take_connections_from_this_releases_nodes_alone(release: Release) -> None:
    """Not from the API, not from another release's nodes, not from a stranger."""
    nodes = [pod for pod in release.pods() if pod.is_ray_node]
    assert {"coordinator", "ray-head", "ray-worker"} <= {pod.name for pod in nodes}
    strangers: list[dict[str, str]] = [
        {},
        {"app": "stranger"},
        dict(release.pod("api").labels),
        dict(release.pod("ray-worker").labels) | {"app.kubernetes.io/instance": "another"},
    ]
    for node in nodes:
        for port in RAY_PORTS:
            assert not any(release.admits(node, labels, port) for labels in strangers), node.name
            assert all(release.admits(node, other.labels, port) for other in nodes)


def test_the_api_takes_requests_on_its_port_alone(release: Release) -> None:
    api = release.pod("api")
    assert release.admits(api, {"app": "ingress"}, 8321)
    assert not release.admits(api, {"app": "ingress"}, 8322)


def test_the_api_reaches_the_inference_process_and_nobody_else_does(
    releases: dict[str, Release],
) -> None:
    release = releases["gpu"]
    inference, api = release.pod("inference"), release.pod("api")
    assert release.admits(inference, api.labels, 8322)
    assert not release.admits(inference, {"app": "stranger"}, 8322)
    service = release.named("Service", "-inference")
    url = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    for pod in (api, inference):
        assert environment(pod.containers[-1])["TRUTHTUNE_INFERENCE_URL"]["value"] == url
    assert selects({"matchLabels": service["spec"]["selector"]}, inference.labels)


def test_without_the_playground_nothing_of_it_is_there(releases: dict[str, Release]) -> None:
    release = releases["minimal"]
    assert "inference" not in {pod.name for pod in release.pods()}
    assert "TRUTHTUNE_INFERENCE_URL" not in environment(release.pod("api").containers[0])


def test_the_nodes_of_ray_have_no_secret_of_the_service(release: Release) -> None:
    """What stages run inherits the environment of the node: it has the store's keys at most."""
    for pod in release.pods():
        for container in pod.containers:
            names = environment(container).keys()
            if pod.name.startswith("ray-") or container["name"] == "ray-node":
                assert not names & SECRETS, (pod.name, container["name"])
            elif pod.name == "inference":
                assert names & SECRETS == {"TRUTHTUNE_KEY_SECRET"}
            else:
                assert names >= SECRETS


def test_every_secret_is_taken_from_a_secret(release: Release) -> None:
    secret = SECRETS | {"RAY_AUTH_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for pod in release.pods():
        for container in pod.containers:
            for name, variable in environment(container).items():
                assert (name in secret) == ("valueFrom" in variable), name


def test_without_a_secret_of_the_store_the_service_account_is_asked(
    releases: dict[str, Release],
) -> None:
    release = releases["fixed"]
    for pod in release.pods():
        if pod.name == "migrations":  # runs before the account is there, and stores nothing
            continue
        assert pod.spec["serviceAccountName"] == "may-use-the-bucket"
        for container in pod.containers:
            assert not environment(container).keys() & {"AWS_ACCESS_KEY_ID"}
            assert environment(container)["AWS_ENDPOINT_URL"]["value"].startswith("https://")
    assert release.of_kind("ServiceAccount") == []


def test_every_setting_is_one(release: Release) -> None:
    known = {*variables(Settings.model_fields), *FROM_ENVIRONMENT_ALONE}
    for pod in release.pods():
        for container in pod.containers:
            names = {name for name in environment(container) if name.startswith("TRUTHTUNE_")}
            assert names <= known


def test_what_drives_ray_has_a_node_of_it_in_its_pod(releases: dict[str, Release]) -> None:
    """A driver finds its node among the processes, and talks to it by sockets in /tmp."""
    release = releases["gpu"]
    cluster = release.of_kind("RayCluster")[0]["metadata"]["name"]
    for name in ("coordinator", "inference"):
        pod = release.pod(name)
        node, driver = pod.containers
        address = environment(driver)["TRUTHTUNE_RAY_ADDRESS"]["value"]
        assert address == f"{cluster}-head-svc:6379"
        assert {f"--address={address}", "--num-cpus=0", "--num-gpus=0"} <= set(node["command"])
        assert node["restartPolicy"] == "Always"
        assert pod.spec["shareProcessNamespace"]
        assert node["volumeMounts"] == driver["volumeMounts"]
        token = [environment(each)["RAY_AUTH_TOKEN"] for each in (node, driver)]
        assert token[0] == token[1]
        assert environment(driver)["RAY_AUTH_MODE"]["value"] == "token"


def test_the_cluster_asks_for_a_token_and_its_head_computes_nothing(release: Release) -> None:
    spec = release.ray_cluster
    secret = environment(release.pod("coordinator").containers[0])["RAY_AUTH_TOKEN"]
    reference = secret["valueFrom"]["secretKeyRef"]
    assert spec["authOptions"] == {"mode": "token", "secretName": reference["name"]}
    assert reference["key"] == "auth_token"  # the one that KubeRay reads
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_ray_is_the_one_that_the_image_is_built_with(release: Release) -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert release.ray_cluster["rayVersion"] == pinned[1]


def test_workers_have_the_gpus_that_are_asked_for(releases: dict[str, Release]) -> None:
    spec = releases["gpu"].ray_cluster
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    gpus = {
        name: _container(group)["resources"]["limits"].get("nvidia.com/gpu")
        for name, group in groups.items()
    }
    assert gpus == {"worker": 1, "cores": None}
    assert (groups["worker"]["minReplicas"], groups["worker"]["maxReplicas"]) == (1, 4)
    assert spec["enableInTreeAutoscaling"]
    assert not releases["fixed"].ray_cluster["enableInTreeAutoscaling"]
    assert "autoscalerOptions" not in releases["fixed"].ray_cluster


def _container(group: dict[str, Any]) -> dict[str, Any]:
    (container,) = group["template"]["spec"]["containers"]
    return dict(container)


def test_shared_memory_holds_rays_objects_twice(release: Release) -> None:
    """With less Ray would keep them on the disk, and say so in a log that nobody reads."""
    for group in release.ray_cluster["workerGroupSpecs"]:
        volumes = {each["name"]: each for each in group["template"]["spec"]["volumes"]}
        size = volumes["shared-memory"]["emptyDir"]["sizeLimit"]
        objects = int(group["rayStartParams"]["object-store-memory"])
        assert int(size.removesuffix("Mi")) * 2**20 == 2 * objects


def test_the_schema_is_upgraded_before_anything_starts(releases: dict[str, Release]) -> None:
    (job,) = releases["minimal"].of_kind("Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = releases["minimal"].pod("migrations")
    assert pod.containers[0]["args"] == ["db", "upgrade"]
    assert "serviceAccountName" not in pod.spec  # it is not there yet
    assert releases["fixed"].of_kind("Job") == []


def test_the_api_is_asked_whether_it_lives_and_whether_it_is_ready(release: Release) -> None:
    (api,) = release.pod("api").containers
    asked = {kind: api[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness")}
    assert asked == {"liveness": "/healthz", "readiness": "/readyz"}


def test_services_budgets_and_monitors_select_the_pods_they_are_for(
    releases: dict[str, Release],
) -> None:
    release = releases["gpu"]
    api: Pod = release.pod("api")
    service = release.named("Service", "-api")
    assert selects({"matchLabels": service["spec"]["selector"]}, api.labels)
    (budget,) = release.of_kind("PodDisruptionBudget")
    assert selects(budget["spec"]["selector"], api.labels)
    (monitor,) = release.of_kind("ServiceMonitor")
    assert selects(monitor["spec"]["selector"], service["metadata"]["labels"])
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    credentials = endpoint["authorization"]["credentials"]
    assert credentials == {"name": "truthtune-metrics", "key": "api-key"}


def test_alerts_and_dashboard_are_the_files_and_only_there_if_asked_for(
    releases: dict[str, Release],
) -> None:
    (rules,) = releases["gpu"].of_kind("PrometheusRule")
    assert rules["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    (dashboard,) = releases["gpu"].of_kind("ConfigMap")
    shown = json.loads(dashboard["data"]["truthtune.json"])
    assert shown == json.loads((CHART / "files" / "dashboard.json").read_text())
    for kind in ("ServiceMonitor", "PrometheusRule", "ConfigMap"):
        assert releases["minimal"].of_kind(kind) == []


def test_what_is_printed_after_an_installation_names_what_is_there(
    helm: str, releases: dict[str, Release]
) -> None:
    command = [helm, "install", "rel", ".", "--values", "ci/minimal-values.yaml"]
    done = subprocess.run(
        [*command, "--dry-run=client", "--namespace", "fine"],
        capture_output=True,
        text=True,
        cwd=CHART,
    )
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    for kind in ("Deployment", "Service"):
        name = releases["minimal"].named(kind, "-api")["metadata"]["name"]
        assert f"{kind.lower()}/{name} " in notes
    assert "--namespace fine" in notes
