"""Stage 1 of a corpus: documents, cut into paragraphs, and the questions that they lead to."""

import io

from api_schemas.corpora import DocumentRead
from api_schemas.errors import InvalidInput
from api_schemas.jobs import CorpusJobInput, DocumentInput
from workers.corpora.documents import read_document
from workers.corpora.holdout import held_out_paragraphs
from workers.corpora.paragraphs import Paragraph, cut
from workers.corpora.questions import QuestionWriter
from workers.corpora.seeds import read_seeds, shipped_seeds
from workers.corpora.written import StoredParagraph, StoredQuestion, WrittenQuestions
from workers.stages.context import StageContext, TaskContext
from workers.stages.corpus_calls import CorpusCalls, uses_model


def run(context: StageContext[CorpusJobInput]) -> str:
    """Leaves `WrittenQuestions`. Raises InvalidInput for a document that can't be read,
    LanguageModelFailed, and BudgetExhausted."""
    job = context.job
    (digest,) = context.runner.map(
        _write, [None], uses_model=uses_model(job, job.settings.generators)
    )
    return digest


def _write(context: TaskContext[CorpusJobInput], _item: None) -> str:
    settings = context.job.settings
    documents, stored = _read_all(context)
    calls = CorpusCalls(context, "write_questions")
    writer = QuestionWriter(
        [calls.open(spec) for spec in settings.generators],
        settings.questions,
        _seeds(context),
        settings.seed,
        calls.telling,
    )
    held_out = {place for place, each in enumerate(stored) if each.held_out}
    paragraphs = [Paragraph(each.heading, each.text) for each in stored]
    written = writer.write(paragraphs, held_out)
    found = WrittenQuestions(
        documents=documents,
        paragraphs=stored,
        questions=[
            StoredQuestion(question=each.text, paragraph=each.paragraph, round=each.round)
            for each in written.questions
        ],
        rounds=written.rounds,
    )
    calls.conclude(
        f"{len(found.questions)} questions of {len(stored)} paragraphs (held out: {len(held_out)})"
    )
    return context.artifacts.put_json(found.model_dump(mode="json"))


def _read_all(
    context: TaskContext[CorpusJobInput],
) -> tuple[list[DocumentRead], list[StoredParagraph]]:
    documents, found = [], []
    for place, source in enumerate(context.job.documents):
        text = _text(context, source)
        paragraphs = cut(text, context.job.settings.paragraphs)
        found += [(place, each) for each in paragraphs]
        documents.append(
            DocumentRead(
                file_id=source.file_id,
                filename=source.filename,
                characters=len(text),
                paragraphs=len(paragraphs),
            )
        )
        context.progress("write_questions", place + 1, len(context.job.documents), "documents read")
    held_out = _held_out(context, [each.text for _, each in found])
    return documents, [
        StoredParagraph(
            document=document, heading=each.heading, text=each.text, held_out=place in held_out
        )
        for place, (document, each) in enumerate(found)
    ]


def _text(context: TaskContext[CorpusJobInput], source: DocumentInput) -> str:
    document = read_document(io.BytesIO(context.artifacts.get(source.sha256)), source.filename)
    if document.scanned_pages:
        pages = ", ".join(map(str, document.scanned_pages[:20]))
        context.warn(
            f"document {source.filename!r}: {len(document.scanned_pages)} of its pages are "
            f"pictures without text and are left out ({pages}); run OCR on it to have them read"
        )
    return document.text


def _held_out(context: TaskContext[CorpusJobInput], texts: list[str]) -> frozenset[int]:
    settings = context.job.settings
    held_out = held_out_paragraphs(texts, settings.holdout_share, settings.seed)
    if not held_out:
        context.warn("the documents are one paragraph, so nothing is held out")
    return held_out


def _seeds(context: TaskContext[CorpusJobInput]) -> list[str]:
    digest = context.job.seed_questions
    if digest is None:
        return shipped_seeds()
    try:
        return read_seeds(context.artifacts.get(digest))
    except InvalidInput as error:
        raise InvalidInput(
            f"seed questions: {error.message}", param="seed_questions_file_id"
        ) from None
