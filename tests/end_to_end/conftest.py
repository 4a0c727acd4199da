"""One service of real processes for all tests here, and the people who use it."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from otlp_collector import Collector, collecting
from processes import Processes

from api_schemas.jobs import Job
from api_schemas.ledger import Invoice
from api_schemas.lexical import LexicalSpec
from api_schemas.reports import ReportPut
from api_schemas.reward_models import PreferenceDataSpec
from api_schemas.rounds import Round, RoundCreate
from client import Truthtune

PROMPTS = ("red sun", "green rain", "blue sun rain", "rain rain sun")
SIZES = (3, 7, 5)


@dataclass
class People:
    """An operator and three groups, each with a client of its own."""

    operator: Truthtune
    groups: list[Truthtune]
    group_ids: list[str]
    operator_key: str

    def open_round(self, folder: Path, **changes: object) -> Round:
        file = folder / "prompts.jsonl"
        file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
        rules = {
            "name": "three words",
            "base_model": "tiny-enumerable",
            "prompts_file_id": self.operator.files.upload(file, "prompts").id,
            "pool": {"method": "enumerate", "fresh_samples_per_prompt": 8},
            "generation": {"max_new_tokens": 3},
            "regularizer": {"type": "kl", "coefficient": 2.0},
            "training": {
                "steps": 8,
                "samples_per_prompt": 16,
                "learning_rate": 0.005,
                "evaluate_every": 2,
                "top_layers": None,
            },
            "max_group_size": 10,
            "price_per_unit_micro_units": 1_000_000,
            **changes,
        }
        made = self.operator.rounds.create(RoundCreate.model_validate(rules))
        return self.operator.rounds.open(made.id)

    def report(self, round_id: str, folder: Path) -> None:
        """One group with preference data, two with lexical reward models."""
        pairs = folder / "pairs.jsonl"
        pairs.write_text(
            "".join(
                json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected}) + "\n"
                for prompt in PROMPTS
                for chosen in ("red", "red sun", "sun red", "red red")
                for rejected in ("blue", "rain", "green rain")
            )
        )
        file = self.groups[0].files.upload(pairs, "preferences")
        specs = [
            PreferenceDataSpec.model_validate(
                {
                    "type": "preference_data",
                    "file_id": file.id,
                    "method": {"name": "tfidf_bradley_terry"},
                }
            ),
            _keywords("rain"),
            _keywords("blue"),
        ]
        for group, size, spec in zip(self.groups, SIZES, specs, strict=True):
            group.rounds.put_report(round_id, ReportPut(size=size, reward_model=spec))

    def run(self, folder: Path, **changes: object) -> tuple[Round, Job]:
        """A whole round, which a coordinator must be running for."""
        opened = self.open_round(folder, **changes)
        self.report(opened.id, folder)
        job_id = self.operator.rounds.close(opened.id).job_id
        assert job_id is not None
        job = self.operator.jobs.wait(job_id)
        return self.operator.rounds.get(opened.id), job

    def invoices(self, round_id: str) -> list[Invoice]:
        """In the order of their numbers."""
        found = [i for i in self.operator.invoices.list() if i.round_id == round_id]
        return sorted(found, key=lambda invoice: invoice.number)


def _keywords(word: str) -> LexicalSpec:
    feature = {"type": "keywords", "words": [word], "weight": 1.0}
    return LexicalSpec.model_validate({"type": "lexical", "features": [feature]})


@dataclass
class SettledRound:
    """A round that nothing disturbed; `seconds` from its opening to its settlement."""

    round: Round
    job: Job
    seconds: float


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Gets the spans of all that is done here."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def processes(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Processes]:
    """The API is up; tests start the coordinators that they want."""
    running = Processes(tmp_path_factory.mktemp("service"), collector.url)
    running.command("db", "upgrade")
    running.serve()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def people(processes: Processes) -> Iterator[People]:
    with ExitStack() as stack:
        operator_key = processes.command("key", "create-operator")
        operator = Truthtune(processes.url, operator_key)
        stack.enter_context(operator)
        ids = [operator.groups.create(name).id for name in ("ants", "bees", "cats")]
        secrets = [operator.groups.create_key(group_id).secret for group_id in ids]
        clients = [stack.enter_context(Truthtune(processes.url, secret)) for secret in secrets]
        yield People(operator, clients, ids, operator_key)


@pytest.fixture(scope="session")
def undisturbed(
    processes: Processes, people: People, tmp_path_factory: pytest.TempPathFactory
) -> SettledRound:
    """Its coordinator has ended."""
    coordinator = processes.coordinator()
    started = time.monotonic()
    settled, job = people.run(tmp_path_factory.mktemp("undisturbed"))
    seconds = time.monotonic() - started
    coordinator.terminate()
    coordinator.wait(30)
    return SettledRound(settled, job, seconds)
