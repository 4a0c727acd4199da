"""Evaluations: answers of several models to the same questions, side by side in one table."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from api_schemas import corpus_examples as examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import CorpusId, EvaluationId, FileId, JobId, ModelId, Sha256
from api_schemas.language_models import Budget, LanguageModelSpec, Spent
from api_schemas.preference_methods import BaseModelName


class EvaluatedBaseModel(Schema):
    """An initial model: an allowed base model, or one made here."""

    type: Literal["base_model"]
    base_model: BaseModelName


class EvaluatedTunedModel(Schema):
    """The model of a settled round: its adapter on its base model."""

    type: Literal["tuned"]
    model_id: ModelId


EvaluatedModel = Annotated[EvaluatedBaseModel | EvaluatedTunedModel, Field(discriminator="type")]
Tokenization = Literal["auto", "words", "characters", "jieba"]


class EvaluationCreate(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.EVALUATION_CREATE]})

    name: str = Field(min_length=1, max_length=100, pattern=r"\S")
    models: list[EvaluatedModel] = Field(min_length=1, max_length=16)
    corpus_id: CorpusId | None = Field(None, description="Its held-out lines are the questions.")
    file_id: FileId | None = Field(None, description="Or those of a `question_answers` file.")
    max_questions: int = Field(100, ge=1, le=10_000, description="Drawn by the seed where more.")
    max_new_tokens: int = Field(256, ge=1, le=32_768)
    tokenization: Tokenization = Field(
        "auto",
        description="Of references and answers: words; characters or jieba's words for Chinese; "
        "`auto` takes characters where most of the references' letters are Chinese.",
    )
    judge: LanguageModelSpec | None = Field(None, description="Null: no judge's score is told.")
    judge_max_tokens: int = Field(256, ge=1, le=32_768, description="Of the reasons for a score.")
    alpha: float = Field(0.5, ge=0, le=100, description="Of the length penalty.")
    budget: Budget = Budget()
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.corpus_id is None) == (self.file_id is None):
            raise ValueError("corpus_id: give a corpus or a file_id, exactly one of them")
        return self


class EvaluatedRow(Schema):
    """One model's figures: means over questions, BLEU of the corpus. All but the judge's and the
    comprehensive score lie between 0 and 100."""

    model: EvaluatedModel
    revision: Sha256
    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    gleu: float
    rouge_1: float = Field(description="F1.")
    rouge_2: float = Field(description="F1.")
    rouge_l: float = Field(description="F1.")
    judge_score: float | None = Field(description="From 1 to 10; null without a judge.")
    length_penalty: float = Field(description="Mean of α·max(0, len/len_ref − 1).")
    comprehensive: float | None = Field(description="judge_score − length_penalty.")
    mean_characters: float = Field(description="Of an answer.")


class EvaluationResult(Schema):
    """What the job of an evaluation leaves."""

    questions: int
    tokenization: Literal["words", "characters", "jieba"]
    rows: list[EvaluatedRow]
    answers_sha256: Sha256 = Field(description="Of the JSONL of questions, references and answers.")
    calls_sha256: Sha256 = Field(description="Of the JSONL of every call of the judge.")
    spent: Spent


class Evaluation(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.EVALUATION]})

    object: Literal["evaluation"] = "evaluation"
    id: EvaluationId
    name: str
    job_id: JobId
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    settings: EvaluationCreate
    result: EvaluationResult | None = Field(description="Null until its job succeeded.")
    created_at: Timestamp


class EvaluationResume(Schema):
    """Go on with an evaluation that stopped: its settings stay, its budget may change."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.EVALUATION_RESUME]})

    budget: Budget
