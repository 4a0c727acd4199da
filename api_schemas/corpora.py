"""Corpora: questions and answers made of documents, and the prompt under which they are answered.

After CourseGPT-zh (Qu et al. 2024, arXiv 2405.04781).
"""

from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from api_schemas import corpus_examples as examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import CorpusId, FileId, JobId, Sha256
from api_schemas.language_models import Budget, LanguageModelSpec, Spent

MAX_PROMPT = 8000
ROLE_PROMPT = (
    "You are an experienced teacher of the subject. Answer the student's question correctly, "
    "clearly and completely, in as few words as that takes."
)


class Paragraphing(Schema):
    """How documents are cut: at blank lines and headings, never within a word."""

    min_characters: int = Field(
        200, ge=1, le=32_768, description="A shorter paragraph joins the next of its section."
    )
    max_characters: int = Field(
        2000, ge=20, le=32_768, description="A longer one is cut between sentences."
    )

    @model_validator(mode="after")
    def _room_between(self) -> Self:
        if self.min_characters > self.max_characters:
            raise ValueError(
                f"min_characters {self.min_characters} is beyond max_characters "
                f"{self.max_characters}"
            )
        return self


class QuestionWriting(Schema):
    """Questions of each paragraph, then rounds that start from those of the round before."""

    per_paragraph: int = Field(5, ge=1, le=50, description="Asked for in one call.")
    rounds: int = Field(2, ge=0, le=20, description="After the first, which reads the paragraphs.")
    seed_examples: int = Field(6, ge=0, le=50, description="In the context of the first round.")
    generated_examples: int = Field(
        2, ge=0, le=50, description="In the context of the first round."
    )
    content_examples: int = Field(
        8, ge=1, le=50, description="Questions of the round before, in the context of a later one."
    )
    style_examples: int = Field(
        3, ge=0, le=50, description="Seeds in the context of a later round."
    )
    similarity: float = Field(
        0.7,
        gt=0,
        lt=1,
        description="Jaccard similarity of character 3-grams from which two questions are "
        "near-duplicates; the later one is removed.",
    )
    max_tokens: int = Field(512, ge=1, le=32_768)
    temperature: float = Field(0.8, ge=0, le=2)


class AnswerWriting(Schema):
    prompt: str = Field(
        ROLE_PROMPT,
        min_length=1,
        max_length=MAX_PROMPT,
        description="The role that the teacher plays; where a prompt is optimised, one candidate.",
    )
    max_tokens: int = Field(512, ge=1, le=32_768)
    temperature: float = Field(0.0, ge=0, le=2)


class PromptOptimization(Schema):
    """Discrete optimisation of the answering prompt on questions that people have answered.

    A candidate's score is the mean over pairs of s_judge − α·max(0, len/len_ref − 1), where s_judge
    is the mean of the judge's four scores, from 1 to 10, and lengths are in characters.
    """

    pairs_file_id: FileId = Field(description="Questions with human answers: `question_answers`.")
    judge: LanguageModelSpec
    writer: LanguageModelSpec | None = Field(
        None, description="Writes the candidates; null: the teacher."
    )
    candidates: int = Field(10, ge=1, le=100, description="To start with.")
    survivors: int = Field(
        5,
        ge=1,
        le=100,
        description="Of each iteration: each is reflected on, and as many new "
        "ones are written after the sorted list of prompts and scores.",
    )
    iterations: int = Field(3, ge=0, le=50)
    feedback_examples: int = Field(
        5,
        ge=1,
        le=50,
        description="Judged answers in a reflection, each clipped to 3600 "
        "bytes: five, the prompt and what is written fit a context of 8192 tokens.",
    )
    pairs: int = Field(20, ge=1, le=1000, description="That a candidate is scored on, at most.")
    alpha: float = Field(0.5, ge=0, le=100)
    judge_max_tokens: int = Field(256, ge=1, le=32_768, description="Of the reasons for a score.")

    @model_validator(mode="after")
    def _enough_candidates(self) -> Self:
        if self.survivors > self.candidates:
            raise ValueError(f"survivors {self.survivors} is beyond candidates {self.candidates}")
        return self


class CorpusCreate(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.CORPUS_CREATE]})

    name: str = Field(min_length=1, max_length=100, pattern=r"\S")
    document_file_ids: list[FileId] = Field(
        min_length=1, max_length=1000, json_schema_extra={"uniqueItems": True}
    )
    seed_questions_file_id: FileId | None = Field(
        None, description="A `questions` file; null: the 50 that come with the service."
    )
    generators: list[LanguageModelSpec] = Field(
        min_length=1, max_length=16, description="Write the questions, paragraphs in turn."
    )
    teacher: LanguageModelSpec = Field(description="Writes the answers.")
    paragraphs: Paragraphing = Paragraphing()
    questions: QuestionWriting = QuestionWriting()
    answers: AnswerWriting = AnswerWriting()
    prompt_optimization: PromptOptimization | None = None
    holdout_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of paragraphs whose questions are held out; equal ones are one.",
    )
    budget: Budget = Budget()
    replay_of: CorpusId | None = Field(
        None,
        description="A corpus whose recorded replies are used instead of any model: with the same "
        "settings it gives the same lines to the bit.",
    )
    seed: int = Field(0, ge=0, lt=2**31)

    @field_validator("document_file_ids")
    @classmethod
    def _each_once(cls, ids: list[str]) -> list[str]:
        repeated = next((id_ for place, id_ in enumerate(ids) if id_ in ids[:place]), None)
        if repeated is not None:
            raise ValueError(f"names {repeated} twice")
        return ids


class CorpusLine(Schema):
    """A question and its answer. `paragraph` counts over all documents; a later round has none."""

    question: str
    answer: str
    document: FileId | None
    paragraph: int | None
    round: int = Field(ge=0)


class DocumentRead(Schema):
    file_id: FileId
    filename: str
    characters: int
    paragraphs: int


class QuestionRound(Schema):
    round: int
    asked: int = Field(description="Calls.")
    written: int = Field(description="Questions read from the replies.")
    unreadable: int = Field(description="Replies that held no question.")
    near_duplicates: int
    kept: int


CriterionName = Literal["factual_accuracy", "user_satisfaction", "clarity", "condensability"]


class CriterionScore(Schema):
    criterion: CriterionName
    reasons: str = Field(description="Written before the score.")
    score: int = Field(ge=1, le=10)


class JudgedAnswer(Schema):
    question: str
    reference: str
    answer: str
    criteria: list[CriterionScore]
    judge_score: float = Field(description="s_judge: the criteria's mean.")
    length_penalty: float = Field(ge=0, description="α·max(0, len/len_ref − 1).")
    score: float = Field(description="judge_score − length_penalty.")


class PromptCandidate(Schema):
    index: int
    iteration: int = Field(ge=0)
    origin: Literal["announced", "initial", "reflection", "resampling"]
    parent: int | None = Field(description="The candidate that was reflected on.")
    prompt: str
    score: float
    judged: list[JudgedAnswer]


class PromptHistory(Schema):
    """Every candidate that was scored, in the order of their writing."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.PROMPT_HISTORY]})

    alpha: float
    candidates: list[PromptCandidate]
    best: int = Field(description="Index of the candidate with the highest score, the first such.")


class CorpusResult(Schema):
    """What the job of a corpus leaves."""

    documents: list[DocumentRead]
    question_rounds: list[QuestionRound]
    lines: int = Field(description="To train on.")
    holdout_lines: int
    lines_sha256: Sha256 = Field(description="Of the JSONL of all lines to train on.")
    holdout_sha256: Sha256 = Field(description="Of the JSONL of the lines held out.")
    calls_sha256: Sha256 = Field(description="Of the JSONL of every call, with its reply.")
    prompt: str = Field(description="That the answers were written under.")
    optimization: Sha256 | None = Field(description="Of the PromptHistory, as canonical JSON.")
    plot_sha256: Sha256 | None = Field(description="Of that history, drawn as SVG.")
    spent: Spent


class Corpus(Schema):
    """Questions and answers made of documents. The operator's alone."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CORPUS]})

    object: Literal["corpus"] = "corpus"
    id: CorpusId
    name: str
    job_id: JobId
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    settings: CorpusCreate
    spent: Spent | None = Field(description="So far; null before the first call.")
    result: CorpusResult | None = Field(description="Null until its job succeeded.")
    created_at: Timestamp


class CorpusResume(Schema):
    """Go on with a corpus that stopped: its settings stay, its budget may change."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CORPUS_RESUME]})

    budget: Budget
