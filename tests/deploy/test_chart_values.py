"""The values that the chart takes: each described, wrong ones refused where they are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from charts import CHART, ROOT

NODES = {"minReplicas": 0, "maxReplicas": 1, "resources": {"requests": {"cpu": "1"}}}
"""A group of workers as the schema takes it under another name than `worker`."""


def _merged(defaults: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(defaults))
    *folders, name = path.split(".")
    place = values
    for folder in folders:
        place = place.setdefault(folder, {})
    place[name] = value
    return values


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((CHART / "values.schema.json").read_text()))


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return _merged(values, "artifacts.url", "s3://bucket/truthtune")


def test_the_defaults_are_right_but_for_the_bucket_that_nobody_can_guess(
    schema: jsonschema.Draft202012Validator, defaults: dict[str, Any]
) -> None:
    assert schema.is_valid(defaults)
    assert schema.is_valid(_merged(defaults, "ray.additionalWorkerGroups.gpus", NODES))
    (error,) = schema.iter_errors(_merged(defaults, "artifacts.url", ""))
    assert list(error.path) == ["artifacts", "url"]


def test_the_values_of_the_guide_are_right(schema: jsonschema.Draft202012Validator) -> None:
    guide = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text()
    (values,) = re.findall(r"^cat > values.yaml <<'END'\n(.*?)^END$", guide, re.M | re.DOTALL)
    schema.validate(yaml.safe_load(values))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("api.replica", 2),
        ("api.replicas", 0),
        ("api.replicas", "2"),
        ("api.service.port", 70000),
        ("api.resources.requests.memory", "1 GB"),
        ("artifacts.url", "https://bucket/truthtune"),
        ("artifacts.endpoint", "objects.internal:9000"),
        ("images.api.pullPolicy", "Sometimes"),
        ("models.mountPath", "models"),
        ("ray.additionalWorkerGroups.worker", NODES),
        ("ray.additionalWorkerGroups.gpus", {"minReplicas": 0, "maxReplicas": 4}),
        ("ray.existingSecret", ""),
        ("ray.objectStoreMebibytes", 10),
        ("ray.version", "2.60"),
        ("ray.worker.gpuResource", "nvidia.com/cores"),
        ("ray.worker.gpus", -1),
        ("ray.worker.maxReplicas", 0),
        ("ray.worker.minReplicas", 0),
        ("serviceMonitor.interval", "often"),
        ("settings.RATE_LIMIT", "0"),
        ("settings.TRUTHTUNE_SEAL_KEY", "it would be in the release's values"),
        ("settings.TRUTHTUNE_TRAIN_WORKERS", "4"),
    ],
)
def test_a_wrong_value_is_refused_where_it_is(
    schema: jsonschema.Draft202012Validator, defaults: dict[str, Any], path: str, value: object
) -> None:
    (error,) = schema.iter_errors(_merged(defaults, path, value))
    place = ".".join(map(str, error.path))
    assert place
    assert path.startswith(place)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("api.replicas=0", "at '/api/replicas': minimum: got 0, want 1"),
        ("ray.worker.minReplicas=9", '"worker": minReplicas 9 is more than maxReplicas 4'),
    ],
)
def test_helm_itself_refuses_and_says_why(helm: str, option: str, reason: str) -> None:
    values = Path("ci") / "minimal-values.yaml"
    command = [helm, "template", "rel", ".", "--values", values, "--set", option]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHART)
    assert done.returncode != 0
    assert reason in done.stderr
