"""What the stages of a corpus leave each other."""

from api_schemas.base import Schema
from api_schemas.corpora import DocumentRead, QuestionRound
from api_schemas.ids import Sha256
from workers.corpora.paragraphs import Paragraph
from workers.corpora.questions import Question


class StoredParagraph(Schema):
    document: int
    heading: str
    text: str
    held_out: bool


class StoredQuestion(Schema):
    question: str
    paragraph: int | None
    round: int


class WrittenQuestions(Schema):
    """Of `write_questions`. Paragraphs are those of all documents, in the documents' order."""

    documents: list[DocumentRead]
    paragraphs: list[StoredParagraph]
    questions: list[StoredQuestion]
    rounds: list[QuestionRound]

    def plain_paragraphs(self) -> list[Paragraph]:
        return [Paragraph(each.heading, each.text) for each in self.paragraphs]

    def plain_questions(self) -> list[Question]:
        return [Question(each.question, each.paragraph, each.round) for each in self.questions]


class OptimizedPrompt(Schema):
    """Of `optimize_prompt`; without a history where no optimisation was asked for."""

    prompt: str
    history: Sha256 | None
    plot: Sha256 | None
