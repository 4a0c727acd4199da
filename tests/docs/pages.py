"""The documentation's code blocks, and which of them no test runs, with the reason."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("sh", "python")
"""Languages whose blocks are run. Others, `json` and `text`, are shown."""

_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    ("README.md", "make demo"): "both would run all of this: tests/client/test_demo.py runs the "
    "demo on the tiny model, and this is `make test`",
    ("docs/tutorial.md", "make setup"): "the tests are installed, and start the service themselves",
    ("docs/tutorial.md", 'export PATH="$PWD/.venv/bin:$PATH"'): "the tests' environment and the "
    "operator's key are made by the fixture, with the same command",
    ("docs/how-to/postgresql.md", "truthtune serve"): "two programs that don't end; "
    "tests/end_to_end runs both",
    (
        "docs/how-to/gpu-cluster.md",
        "pip install --constraint constraints.txt '.[service,workers]'",
    ): "the tests are installed",
    ("docs/how-to/gpu-cluster.md", "export RAY_AUTH_MODE=token"): "it is for the cluster below",
    (
        "docs/how-to/textbook.md",
        'export TRUTHTUNE_ENDPOINTS="$PWD/endpoints.toml"',
    ): "its key and its endpoint are not there",
    ("docs/how-to/textbook.md", "cat > corpus.json <<'END'"): "minutes of a language model; "
    "`make demo-corpus` takes the same steps, test_corpus_runs.py with a scripted endpoint",
    ("docs/how-to/textbook.md", "CORPUS=corp_…  # as `truthtune corpus list` says"): "the same",
    ("docs/how-to/textbook.md", "BASE_MODEL=bm_…  # as `truthtune base-model list` says"): "the "
    "same",
    (
        "docs/how-to/textbook.md",
        'truthtune evaluation create --name "Before and after" --corpus "$CORPUS" \\',
    ): "the same",
    (
        "docs/how-to/gpu-cluster.md",
        "ray start --head --port 6379",
    ): "the machines of a cluster, and "
    "its ports, are not a test's to take; the page says what was tried by hand",
    ("docs/how-to/gpu-cluster.md", "export TRUTHTUNE_RAY_ADDRESS=ray-head:6379"): "it needs the "
    "cluster, and a bucket",
    ("docs/how-to/docker.md", "docker/make-secrets.sh"): "it needs Docker, and images from a "
    "registry; docker/README.md says what was tried",
    ("docs/how-to/docker.md", "export TRUTHTUNE_TRAIN_WORKERS=3"): "the same",
    (
        "docs/how-to/docker.md",
        "docker compose -f docker/compose.yaml --profile playground up --detach --wait",
    ): "the same",
    (
        "docs/how-to/docker.md",
        "docker compose -f docker/compose.yaml up --build --detach --wait",
    ): "the same",
    (
        "docs/how-to/kubernetes.md",
        "docker build --file docker/api.Dockerfile --tag registry.example/truthtune-api:0.1.0 .",
    ): "it needs Docker, and a registry",
    ("docs/how-to/kubernetes.md", "kubectl create namespace truthtune"): "it needs a Kubernetes",
    (
        "docs/how-to/kubernetes.md",
        "cat > values.yaml <<'END'",
    ): "the same; tests/deploy renders the chart, and checks these values",
    ("docs/how-to/kubernetes.md", "kubectl --namespace truthtune get pods,rayclusters"): "the same",
    ("docs/trust.md", "truthtune ledger verify --public-key BASE64 --head SEQUENCE:HASH"): (
        "docs/how-to/pay-and-verify.md has the same with values, which is run"
    ),
    ("docs/trust.md", "from client.webhooks import NotGenuine, verify"): "it needs a message that "
    "came; tests/client/test_webhooks_client.py calls the same with some",
    (
        "docs/solve.md",
        "truthtune solve GAME.json [--payment-rule affine_maximizer|revenue_maximizing]"
        " [--out OUTCOME.json] [--policies POLICIES.npy]",
    ): "a synopsis",
    (
        "docs/solve.md",
        "truthtune audit-game GAME.json [--payment-rule …] [--max-size N] [--out RESULT.json]",
    ): "a synopsis",
}
"""Page and first line of each block that no test runs, and why."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `page` from the repository's root."""

    page: str
    language: str
    text: str

    @property
    def name(self) -> tuple[str, str]:
        """Page and first line: unique, and what `NOT_RUN` names."""
        return self.page, self.text.partition("\n")[0]


def pages() -> list[str]:
    """README.md and every page of docs/."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return ["README.md", *(str(path.relative_to(ROOT)) for path in found)]


def blocks(page: str, languages: tuple[str, ...] = CODE) -> list[Block]:
    text = (ROOT / page).read_text()
    return [
        Block(page, language, body)
        for language, body in _BLOCK.findall(text)
        if language in languages
    ]


def runnable(page: str) -> list[Block]:
    """All code of a page but what `NOT_RUN` names, in order."""
    return [block for block in blocks(page) if block.name not in NOT_RUN]
