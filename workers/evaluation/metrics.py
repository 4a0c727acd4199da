"""How much an answer shares with its reference: BLEU, GLEU and ROUGE, all from 0 to 100.

BLEU-n (Papineni et al. 2002) is sacrebleu's, of all answers together: the geometric mean of the
clipped precisions of 1-grams to n-grams, times the brevity penalty. A precision without a match
counts as half the one before would (sacrebleu's exponential smoothing); an answer without any word
of its reference adds nothing. Where no answer has n words BLEU-n is 0, however right they are. GLEU
(Wu et al. 2016, arXiv 1609.08144) is nltk's, the smaller of precision and recall over 1-grams to
4-grams; ROUGE (Lin 2004) is rouge-score's F1. These two are means over the questions.

    length penalty = α·max(0, len/len_ref − 1),   lengths in characters
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from workers.evaluation.tokenization import Resolved, tokens

_ORDERS = (1, 2, 3, 4)
_ROUGE = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}


@dataclass(frozen=True)
class Overlap:
    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    gleu: float
    rouge_1: float
    rouge_2: float
    rouge_l: float


def overlap(references: Sequence[str], answers: Sequence[str], how: Resolved) -> Overlap:
    """The figures of one model's answers, each with its reference at the same place.

    Raises ValueError unless there are as many answers as references, and any.
    """
    if not references or len(references) != len(answers):
        raise ValueError(f"{len(answers)} answers for {len(references)} references")
    cut = [tokens(text, how) for text in references], [tokens(text, how) for text in answers]
    bleu = {f"bleu_{order}": _bleu(*cut, order) for order in _ORDERS}
    return Overlap(**bleu, gleu=_gleu(*cut), **_rouge(references, answers, how))


def length_penalty(alpha: float, answer: str, reference: str) -> float:
    """α·max(0, len/len_ref − 1). A reference has a character at least."""
    return alpha * max(0.0, len(answer) / len(reference) - 1)


def _bleu(references: list[list[str]], answers: list[list[str]], order: int) -> float:
    from sacrebleu.metrics import BLEU

    # The tokens are ours: sacrebleu cuts at spaces and is not to warn that it does.
    bleu = BLEU(tokenize="none", force=True, max_ngram_order=order)
    joined = [" ".join(each) for each in answers], [[" ".join(each) for each in references]]
    return min(100.0, float(bleu.corpus_score(*joined).score))  # the product of rounded factors


def _gleu(references: list[list[str]], answers: list[list[str]]) -> float:
    from nltk.translate.gleu_score import sentence_gleu

    pairs = zip(references, answers, strict=True)
    return 100 * fmean(sentence_gleu([reference], answer) for reference, answer in pairs)


def _rouge(references: Sequence[str], answers: Sequence[str], how: Resolved) -> dict[str, float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(_ROUGE), tokenizer=_Tokenizer(how))
    pairs = zip(references, answers, strict=True)
    scores = [scorer.score(reference, answer) for reference, answer in pairs]
    return {
        name: 100 * fmean(each[theirs].fmeasure for each in scores)
        for theirs, name in _ROUGE.items()
    }


@dataclass(frozen=True)
class _Tokenizer:
    """Ours, as rouge-score asks one: its own drops all but Latin letters."""

    how: Resolved

    def tokenize(self, text: str) -> list[str]:
        return tokens(text, self.how)
