"""Corpora made against a scripted endpoint, in this process."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conftest import InProcess
from scripted_endpoint import MODEL, NAME, Asked, ScriptedEndpoint

from api_schemas.corpora import CorpusCreate, CorpusLine, CorpusResult
from api_schemas.jobs import CorpusJobInput, DocumentInput, ProgressEvent, stages_of
from api_schemas.language_models import Budget, EndpointModel
from workers.artifacts import ArtifactStore, canonical_json
from workers.corpora.questions import Telling
from workers.language_models.call_book import CallBook
from workers.language_models.chat import LanguageModel
from workers.language_models.meter import Meter
from workers.language_models.opening import open_model
from workers.stages.context import StageContext, TaskContext
from workers.stages.run import STAGE_FUNCTIONS

SPEC = {"type": "endpoint", "endpoint": NAME, "model": MODEL}
CORPUS_ID = "corp_" + "a" * 26
DOCUMENT = "\n\n".join(
    f"# Part {part}\n\nPart {part} is about the {name} and what it needs."
    for part, name in enumerate(["tomato", "pepper", "bean", "leek"])
)


class Told:
    """Collects what is told."""

    def __init__(self) -> None:
        self.progress: list[tuple[int, int, str]] = []
        self.warnings: list[str] = []
        self.telling = Telling(lambda *what: self.progress.append(what), self.warnings.append)


def opened(
    folder: Path, endpoint: ScriptedEndpoint, book: str = "book", **access: Any
) -> LanguageModel:
    calls = CallBook(ArtifactStore(str(folder)), book)
    return open_model(
        EndpointModel(type="endpoint", endpoint=NAME, model=MODEL),
        revisions={},
        endpoints=[endpoint.access(**access)],
        calls=calls,
        meter=Meter(Budget()),
    )


def is_about_questions(asked: Asked) -> bool:
    return "questions that learners of a subject ask" in asked.messages[0]["content"]


def new_questions(asked: Asked, count: int = 3) -> str:
    """Questions that depend on all that was asked, and are like no others."""
    made = []
    for number in range(1, count + 1):
        words = hashlib.sha256(f"{number} {asked.text}".encode()).hexdigest()
        made.append(f"{number}. Why does {words[:12]} need {words[12:24]}?")
    return "\n".join(made)


def textbook_writer(asked: Asked) -> str:
    """A generator, teacher, writer of prompts and judge, whose replies depend on the request."""
    if is_about_questions(asked):
        return new_questions(asked)
    digest = hashlib.sha256(asked.text.encode()).hexdigest()
    if "Criterion." in asked.last:
        return f"It could be better ({digest[:6]}).\nScore: {1 + int(digest[:4], 16) % 10}"
    if "<prompt>" in asked.last:
        return f"<prompt>You are teacher {digest[:6]}-{asked.body.get('seed')}.</prompt>"
    return f"Because of {digest[:10]}."


class OfflineCorpus:
    """A corpus whose stages run one after another; `digests` and `events` are what they left."""

    def __init__(
        self,
        folder: Path,
        endpoint: ScriptedEndpoint,
        *,
        documents: Sequence[tuple[str, bytes]] = (("book.md", DOCUMENT.encode()),),
        pairs: Sequence[tuple[str, str]] = (),
        replay: str | None = None,
        corpus_id: str = CORPUS_ID,
        access: dict[str, Any] | None = None,
        **changes: Any,
    ):
        self.artifacts = ArtifactStore(str(folder / "artifacts"))
        self.endpoints = (endpoint.access(**access or {}),)
        self.events: list[ProgressEvent] = []
        self.digests: dict[Any, str] = {}
        self.job = CorpusJobInput(
            corpus_id=corpus_id,
            settings=_settings(changes),
            documents=[
                DocumentInput(
                    file_id=f"file_{place:026d}", filename=name, sha256=self.artifacts.put(data)
                )
                for place, (name, data) in enumerate(documents)
            ],
            seed_questions=None,
            pairs=self.artifacts.put(_jsonl(pairs)) if pairs else None,
            base_models={},
            replay_calls=replay,
        )

    def run(self, *stages: Any) -> None:
        for stage in stages or stages_of("corpus")[:-1]:
            task = TaskContext(
                self.job, self.artifacts, self.events.append, endpoints=self.endpoints
            )
            context = StageContext(
                job=self.job,
                artifacts=self.artifacts,
                tell=self.events.append,
                inputs=self.digests,
                runner=InProcess(task),
                endpoints=self.endpoints,
            )
            self.digests[stage] = STAGE_FUNCTIONS[stage](context)

    def result(self) -> CorpusResult:
        return CorpusResult.model_validate_json(self.artifacts.get(self.digests["write_answers"]))

    def lines(self, digest: str) -> list[CorpusLine]:
        data = self.artifacts.get(digest)
        return [CorpusLine.model_validate_json(line) for line in data.splitlines()]

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if event.type == "warning"]


def _settings(changes: dict[str, Any]) -> CorpusCreate:
    asked = {
        "name": "Balcony",
        "document_file_ids": [f"file_{0:026d}"],
        "generators": [SPEC],
        "teacher": SPEC,
        "paragraphs": {"min_characters": 1},
        "questions": {"rounds": 1, "per_paragraph": 3},
        "holdout_share": 0.3,
        **changes,
    }
    return CorpusCreate.model_validate(asked)


def _jsonl(pairs: Sequence[tuple[str, str]]) -> bytes:
    return b"".join(
        canonical_json({"question": question, "answer": answer}) + b"\n"
        for question, answer in pairs
    )
