"""The images and the composition: linted, nothing baked in, networks that keep apart."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import ROOT

from api_schemas.settings_file import read_settings_file
from service.settings import Settings
from service.settings_file import FROM_ENVIRONMENT_ALONE, variables
from service.vault import load_vault

DOCKER = ROOT / "docker"
IMAGES = ("api", "worker")
OURS = {"api", "coordinator", "inference", "migrate", "ray-head", "ray-worker"}


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def services(composition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = composition["services"]
    return found


@pytest.fixture(scope="module")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docker/make-secrets.sh makes, beside a copy of it."""
    folder = tmp_path_factory.mktemp("docker")
    script = folder / "make-secrets.sh"
    script.write_text((DOCKER / "make-secrets.sh").read_text())
    subprocess.run(["sh", script], check=True, capture_output=True)
    return folder / "secrets"


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_finds_nothing_in_the_images(image: str) -> None:
    command = [_tool("hadolint"), "--failure-threshold", "info", DOCKER / f"{image}.Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_composition_is_one() -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    command = [_tool("check-jsonschema"), *schema, DOCKER / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_ends_as_a_user_by_number_with_a_health_check(image: str) -> None:
    last_stage = (DOCKER / f"{image}.Dockerfile").read_text().rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+):\d+$", last_stage, re.MULTILINE)
    assert int(user) > 0
    (check,) = re.findall(r"^HEALTHCHECK [^[]*CMD (\[.*?\])$", last_stage, re.MULTILINE | re.DOTALL)
    _python, _c, program = json.loads(check.replace("\\\n", ""))
    compile(program, image, "exec")


def test_the_api_is_built_without_torch_and_ray() -> None:
    installed = (DOCKER / "api.Dockerfile").read_text()
    assert "[service,probing,tracing]" in installed
    assert not re.search(r"(workers[,\]]|pip install.*(torch|ray))", installed)


def test_the_build_sees_the_packages_and_nothing_else() -> None:
    """Above all no `.truthtune`, no settings file and no docker/secrets."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    files = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    script = "docker/beside-ray.sh"
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == packages | files | {script}
    for image in IMAGES:
        text = (DOCKER / f"{image}.Dockerfile").read_text()
        copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
        found = {name for line in copied for name in line.split()}
        assert found == packages | files | ({script} if image == "worker" else set())


def test_what_is_ours_runs_on_a_read_only_root_without_rights(
    services: dict[str, dict[str, Any]],
) -> None:
    assert services.keys() >= OURS
    for name in OURS:
        service = services[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_secret_is_a_file_that_the_script_makes(
    composition: dict[str, Any], services: dict[str, dict[str, Any]], made_secrets: Path
) -> None:
    files = {secret["file"] for secret in composition["secrets"].values()}
    assert files == {f"secrets/{path.name}" for path in made_secrets.iterdir()}
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            found = re.fullmatch(r"/run/secrets/(\w+)", str(value))
            if found:
                assert found[1] in service["secrets"], (name, variable)
            else:
                assert not re.search("SECRET|TOKEN|PASSWORD|KEY", variable), (name, variable)


def test_the_made_secrets_are_what_the_service_takes(
    made_secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made_secrets / "truthtune.env"
    monkeypatch.setenv("TRUTHTUNE_SETTINGS_FILE", str(file))
    settings = Settings()
    load_vault(settings)  # raises for a key that is none
    password = (made_secrets / "postgres_password").read_text()
    assert settings.database_url == f"postgresql+psycopg://truthtune:{password}@postgres/truthtune"
    assert set(read_settings_file(file).settings) == {
        "TRUTHTUNE_DATABASE_URL",
        "TRUTHTUNE_KEY_SECRET",
        "TRUTHTUNE_SEAL_KEY",
    }
    assert stat.S_IMODE(made_secrets.stat().st_mode) == 0o700


def test_making_the_secrets_again_changes_none(made_secrets: Path) -> None:
    before = {path: path.read_bytes() for path in made_secrets.iterdir()}
    script = made_secrets.parent / "make-secrets.sh"
    done = subprocess.run(["sh", script], check=True, capture_output=True, text=True)
    assert done.stdout == ""
    assert {path: path.read_bytes() for path in made_secrets.iterdir()} == before


def test_the_scripts_can_be_run_as_they_are() -> None:
    for name in ("beside-ray.sh", "make-secrets.sh"):
        assert os.access(DOCKER / name, os.X_OK), name


@pytest.fixture
def beside_ray(tmp_path: Path) -> Callable[[str, str], "subprocess.Popen[str]"]:
    """Starts the script with `ray` and the program being these lines of shell."""

    def start(ray: str, program: str) -> "subprocess.Popen[str]":
        (tmp_path / "ray").write_text(f"#!/bin/bash\n{ray}\n")
        (tmp_path / "ray").chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            [DOCKER / "beside-ray.sh", "bash", "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": path, "TRUTHTUNE_RAY_ADDRESS": "head:6379"},
        )

    return start


def _until_told(name: str, first: str = ":") -> str:
    """Lines of shell that say when they run, do `first`, and go on until SIGTERM."""
    told = f"trap 'echo {name} was told; kill $!; exit 0' TERM"
    return f"{told}; echo {name} runs; {first}; sleep 60 > /dev/null & wait"


def test_a_program_beside_ray_is_told_to_stop_before_its_node(
    beside_ray: Callable[[str, str], "subprocess.Popen[str]"],
) -> None:
    script = beside_ray(_until_told("node"), _until_told("program"))
    assert script.stdout is not None
    assert {script.stdout.readline(), script.stdout.readline()} == {"node runs\n", "program runs\n"}
    script.terminate()
    rest, _ = script.communicate(timeout=30)
    assert rest == "program was told\nnode was told\n"


def test_a_program_beside_ray_does_not_outlive_its_node(
    beside_ray: Callable[[str, str], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "up")  # the node ends when the program is there to be told
    script = beside_ray(
        f"read < {tmp_path}/up; exit 7", _until_told("program", f"echo > {tmp_path}/up")
    )
    told, _ = script.communicate(timeout=30)
    assert script.returncode == 7
    assert told == "program runs\nprogram was told\n"


def test_a_node_beside_a_program_that_ended_is_ended_too(
    beside_ray: Callable[[str, str], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "up")
    script = beside_ray(
        _until_told("node", f"echo > {tmp_path}/up"), f"read < {tmp_path}/up; exit 3"
    )
    told, _ = script.communicate(timeout=30)
    assert script.returncode == 3
    assert told == "node runs\nnode was told\n"


def test_every_setting_of_the_composition_is_one(services: dict[str, dict[str, Any]]) -> None:
    known = {*variables(Settings.model_fields), *FROM_ENVIRONMENT_ALONE}
    for service in services.values():
        names = {name for name in service.get("environment", {}) if name.startswith("TRUTHTUNE_")}
        assert names <= known


def test_ray_is_on_no_network_with_the_api_or_the_database(
    services: dict[str, dict[str, Any]], composition: dict[str, Any]
) -> None:
    for node in ("ray-head", "ray-worker"):
        reached = {name for name in services if _share_a_network(services, name, node)}
        assert reached == {"ray-head", "ray-worker", "coordinator", "inference", "object-store"}
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"api"}
    internal = {name for name, made in composition["networks"].items() if made.get("internal")}
    assert set(composition["networks"]) - internal == {"outside"}


def _share_a_network(services: dict[str, dict[str, Any]], one: str, other: str) -> bool:
    return bool(set(services[one]["networks"]) & set(services[other]["networks"]))


def test_nobody_has_secrets_that_it_has_no_use_for(services: dict[str, dict[str, Any]]) -> None:
    having = {name: set(service.get("secrets", [])) for name, service in services.items()}
    assert having["ray-worker"] == having["ray-head"] == {"s3_credentials", "ray_token"}
    assert having["api"] == {"truthtune_settings", "s3_credentials"}
    settings = {name for name, secrets in having.items() if "truthtune_settings" in secrets}
    assert settings == {"api", "migrate", "coordinator", "inference"}
