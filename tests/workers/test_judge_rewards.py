"""A judge as a reward model: scored by a language model, recorded for ever, measured on pairs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GROUP_IDS, TASTES, InProcess, TinyRound
from language_model_support import IDENTITY
from scripted_endpoint import (
    MODEL,
    NAME,
    Asked,
    Fault,
    ScriptedEndpoint,
    scripted_endpoint,
    status,
)

from api_schemas.errors import (
    BadReport,
    BudgetExhausted,
    EndpointUnavailable,
    InvalidInput,
    LanguageModelFailed,
)
from api_schemas.jobs import RewardModelJobInput
from api_schemas.report_cards import Figure
from api_schemas.reward_models import JudgeSpec, PinnedInputs
from workers import base_models
from workers.artifacts import ArtifactStore
from workers.language_models import access
from workers.language_models.call_book import CallBook
from workers.preferences.comparison import Comparison
from workers.receipts.own_rewards import own_rewards
from workers.rewards import judge, registry
from workers.rewards.interfaces import FitContext
from workers.rewards.judge import JudgeReward, LocalJudgeReward, book_of
from workers.rewards.registry import FittedRewardModel, saved_method
from workers.stages.context import StageContext, TaskContext
from workers.stages.pool_texts import PoolTexts, load_texts, read_block
from workers.stages.run import STAGE_FUNCTIONS
from workers.stages.score import Scores
from workers.stages.scoring import score_pool, score_texts

AT_ENDPOINT = {"type": "endpoint", "endpoint": NAME, "model": MODEL}
PLACE = f"endpoint:{NAME}"
LOCAL = {"type": "local", "base_model": "tiny-enumerable"}
PROMPTS, RESPONSES = ["Help!", "Help!", "Hello"], ["thank you", "go away", "thank thank thank"]


def spec(by: dict[str, str] = AT_ENDPOINT, **fields: Any) -> JudgeSpec:
    given = {"type": "judge", "judge": by, "criteria": "Politeness, above all.", **fields}
    return JudgeSpec.model_validate(given)


def thanks(asked: Asked) -> str:
    """1 + 3·(how often the response says thank), or the response that says it more often."""
    if "<response>" in asked.last:
        response = asked.last.split("<response>\n")[1].split("\n</response>")[0]
        return f"It counts.\nScore: {1 + 3 * response.count('thank')}"
    counts = [
        asked.last.split(f"<response_{place}>")[1].split("<")[0].count("thank") for place in "ab"
    ]
    return f"Compared.\nBetter: {'A' if counts[0] >= counts[1] else 'B'}"


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint(thanks) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, endpoint: ScriptedEndpoint) -> Iterator[ArtifactStore]:
    found = ArtifactStore(str(tmp_path))
    with access.granted(found, [endpoint.access(groups_may_use=True)]):
        yield found


def made(of: JudgeSpec, owner: str = GROUP_IDS[0]) -> FittedRewardModel:
    revision = base_models.resolve("tiny-enumerable").revision
    pinned = PinnedInputs(base_models={"tiny-enumerable": revision})
    return registry.fit(of, FitContext(dict[str, bytes]().__getitem__, pinned, owner=owner))


def test_a_judge_scores_by_the_criteria_in_words(
    store: ArtifactStore, endpoint: ScriptedEndpoint
) -> None:
    assert made(spec()).score(PROMPTS, RESPONSES).tolist() == [4.0, 1.0, 10.0]
    assert len(endpoint.asked) == 3
    for asked in endpoint.asked:
        assert "Criteria: Politeness, above all." in asked.last
        assert asked.body["temperature"] == 0
    shown = ["<prompt>\nHello\n</prompt>" in asked.last for asked in endpoint.asked]
    assert shown.count(True) == 1


def test_several_samples_are_their_mean(store: ArtifactStore, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = lambda asked: f"Hm.\nScore: {[2, 3, 10][asked.body['seed']]}"
    assert made(spec(samples=3)).score(["Help!"], ["Here."]).tolist() == [5.0]


def test_scoring_again_is_a_replay(store: ArtifactStore, endpoint: ScriptedEndpoint) -> None:
    first = made(spec())
    scores = first.score(PROMPTS, RESPONSES)
    endpoint.script = lambda _: "Today I like nothing.\nScore: 1"
    again = FittedRewardModel.from_bytes(first.to_bytes())
    assert np.array_equal(again.score(PROMPTS[::-1], RESPONSES[::-1])[::-1], scores)
    assert len(endpoint.asked) == 3
    made(spec(criteria="Brevity.")).score(PROMPTS, RESPONSES)
    assert len(endpoint.asked) == 6, "other criteria are another judge"


def test_a_local_judge_is_neural_and_pinned(store: ArtifactStore) -> None:
    local = made(spec(LOCAL, max_tokens=2, criteria="sun"))
    assert (local.method, local.uses_model) == ("local_judge", True)
    assert isinstance(local.model, LocalJudgeReward)
    assert saved_method(local.to_bytes()) is LocalJudgeReward
    revision = base_models.resolve("tiny-enumerable").revision
    assert FittedRewardModel.from_bytes(local.to_bytes()).model.revisions == {
        "tiny-enumerable": revision
    }
    with pytest.raises(InvalidInput, match="was not resolved"):
        registry.fit(spec(LOCAL), FitContext(dict[str, bytes]().__getitem__, owner="a"))


def test_an_endpoints_judge_takes_no_gpu_and_is_not_probed() -> None:
    assert not registry.uses_model(spec())
    assert registry.uses_model(spec(LOCAL))
    assert not registry.can_be_probed(spec())
    assert not registry.can_be_probed(spec(LOCAL))
    assert made(spec()).method == "judge"


def test_its_card_says_how_it_compares_pairs(
    store: ArtifactStore, endpoint: ScriptedEndpoint
) -> None:
    """Of two prompts' pairs the first is won in both orders and the second is a tie: the judge
    names A where both are as polite, so that its orders disagree."""
    model = made(spec()).model
    assert isinstance(model, JudgeReward)
    pairs = [
        Comparison(prompt="p", chosen="thank", rejected="no"),
        Comparison(prompt="q", chosen="yes", rejected="no"),
    ]
    # two clusters at 1 and ½ (or 0 and 1): SE² = 2/1·Σ(s−ā)²/4 = 2·(2·d²)/4 = d²
    assert model.measured_figures(pairs) == [
        Figure(name="pairwise_win_rate", value=0.75, standard_error=0.25),
        Figure(name="pairwise_ties", value=0.5, standard_error=0.5),
        Figure(name="position_disagreement", value=0.5, standard_error=0.5),
    ]
    assert len(endpoint.asked) == 4
    assert model.measured_figures([]) == []


ITEMS = ["Help!"] * 12, [f"thank {n}" for n in range(12)]
SMALL = spec(max_tokens=16)


def test_two_groups_with_the_same_judge_share_neither_its_digest_nor_its_replies(
    store: ArtifactStore, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    """Or the time, the cost and the success of one's judge would tell of the other's."""
    first, second = made(spec()), made(spec(), GROUP_IDS[1])
    assert store.put(first.to_bytes()) != store.put(second.to_bytes())
    first.score(PROMPTS, RESPONSES)
    second.score(PROMPTS, RESPONSES)
    assert len(endpoint.asked) == 6
    books = sorted(path.name for path in (tmp_path / "calls").iterdir())
    assert books == sorted(book_of(each, PLACE) for each in GROUP_IDS[:2])
    assert not any(GROUP_IDS[0] in name for name in books)
    with pytest.raises(ValueError, match="owner"):
        registry.fit(spec(), FitContext(dict[str, bytes]().__getitem__))


def test_a_judge_that_was_made_ahead_counts_for_whoever_made_it(
    store: ArtifactStore, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    job = RewardModelJobInput(
        reward_model_id="rm_" + "a" * 26,
        reward_model=spec(),
        evaluation_file_id=None,
        pinned=PinnedInputs(),
        owner_id=GROUP_IDS[0],
    )
    told: list[Any] = []
    runner = InProcess(TaskContext(job, store, told.append))
    found = STAGE_FUNCTIONS["fit_reward_model"](StageContext(job, store, told.append, {}, runner))
    fitted = FittedRewardModel.from_bytes(store.get(store.get_json(found)["model"])).model
    assert isinstance(fitted, JudgeReward)
    assert fitted.owner == GROUP_IDS[0]
    assert [path.name for path in (tmp_path / "calls").iterdir()] == [book_of(GROUP_IDS[0], PLACE)]


@pytest.mark.parametrize("tokens", [1200, 100_000])
@pytest.mark.parametrize("killed_after", [1, 4])
def test_a_groups_judges_are_limited_for_ever_however_often_they_are_killed(
    tmp_path: Path, endpoint: ScriptedEndpoint, tokens: int, killed_after: int
) -> None:
    """What was recorded counts and costs nothing again: so the same calls are bought, and the same
    is decided, whether a task was killed after some of them or not."""
    limits = {"groups_may_use": True, "concurrency": 1, "reward_model_tokens": tokens}
    limited = endpoint.access(**limits)

    def scored(folder: str, count: int) -> list[float] | str:
        with access.granted(ArtifactStore(str(tmp_path / folder)), [limited]):
            try:
                return made(SMALL).score(*(each[:count] for each in ITEMS)).tolist()
            except BudgetExhausted as error:
                return error.message

    undisturbed = scored("one", 12)
    scored("two", killed_after)
    assert scored("two", 12) == undisturbed
    assert isinstance(undisturbed, str) == (tokens == 1200)
    bought = [
        CallBook(ArtifactStore(str(tmp_path / each)), book_of(GROUP_IDS[0], PLACE)).to_jsonl()
        for each in ("one", "two")
    ]
    assert bought[0] == bought[1] != b""
    asked = len(endpoint.asked)
    assert scored("two", 12) == undisturbed
    assert len(endpoint.asked) == asked, "a further attempt has no tokens of its own"


def test_all_judges_of_a_group_count_together_at_each_endpoint(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    limited = endpoint.access(groups_may_use=True, concurrency=1, reward_model_tokens=1200)
    other = limited.model_copy(update={"name": "other"})
    with access.granted(ArtifactStore(str(tmp_path)), [limited, other]):
        with pytest.raises(BudgetExhausted, match="raise its reward_model_tokens"):
            made(SMALL).score(*ITEMS)
        with pytest.raises(BudgetExhausted):
            made(spec(criteria="Brevity.", max_tokens=16)).score(["Help!"], ["Here."])
        elsewhere = spec(AT_ENDPOINT | {"endpoint": "other"}, max_tokens=16)
        assert made(elsewhere).score(["Help!"], ["thank"]).tolist() == [4.0]
        assert made(SMALL, GROUP_IDS[1]).score(["Help!"], ["thank"]).tolist() == [4.0]


def test_a_local_judge_is_limited_too(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "LOCAL_TOKENS", 5)
    with pytest.raises(BudgetExhausted, match="base models that the service runs"):
        made(spec(LOCAL, max_tokens=2, criteria="sun")).score(["sun"], ["red"])


def test_what_is_sealed_is_asked_each_time_and_neither_kept_nor_logged(
    store: ArtifactStore,
    endpoint: ScriptedEndpoint,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(tmp_path.rglob("*"))
    with access.sealed():
        for _ in range(2):
            assert made(spec()).score(PROMPTS, RESPONSES).tolist() == [4.0, 1.0, 10.0]
        assert len(endpoint.asked) == 6
        endpoint.script = lambda asked: status(400, f"org-17: {asked.last}")
        with pytest.raises(LanguageModelFailed) as raised:
            made(spec()).score(PROMPTS, RESPONSES)
        monkeypatch.setattr(judge, "PREVIEW_TOKENS", 5)
        with pytest.raises(BudgetExhausted, match="a preview may take 5 tokens"):
            made(spec()).score(PROMPTS, RESPONSES)
    assert set(tmp_path.rglob("*")) == before
    assert "org-17" not in caplog.text + str(raised.value)


@pytest.mark.parametrize(
    ("code", "error", "name"),
    [
        (401, LanguageModelFailed, "endpoint_refused"),
        (404, LanguageModelFailed, "endpoint_refused"),
        (400, LanguageModelFailed, "request_refused"),
        (503, EndpointUnavailable, "endpoint_unavailable"),
    ],
)
def test_an_endpoints_own_words_are_for_the_log_alone(
    tmp_path: Path,
    endpoint: ScriptedEndpoint,
    caplog: pytest.LogCaptureFixture,
    code: int,
    error: type[Exception],
    name: str,
) -> None:
    endpoint.script = lambda _: status(code, "organisation org-17 has no quota")
    asked = endpoint.access(groups_may_use=True, attempts=1)
    with access.granted(ArtifactStore(str(tmp_path)), [asked]), pytest.raises(error) as raised:
        made(spec()).score(PROMPTS, RESPONSES)
    assert getattr(raised.value, "code", None) == name
    assert f"status {code}, {name}" in str(raised.value)
    assert "org-17" not in str(raised.value)
    assert NAME not in str(raised.value)
    assert "org-17" in caplog.text


def test_an_endpoint_that_groups_may_no_longer_use_is_not_asked(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    granted = access.granted(ArtifactStore(str(tmp_path)), [endpoint.access()])
    with granted, pytest.raises(InvalidInput, match="groups may use"):
        made(spec()).score(PROMPTS, RESPONSES)
    assert endpoint.asked == []


def test_without_a_tasks_access_a_judge_says_so() -> None:
    with pytest.raises(LanguageModelFailed) as raised:
        made(spec()).score(PROMPTS, RESPONSES)
    assert raised.value.code == "no_access"


def test_a_pool_is_scored_by_one_task_and_a_judge_that_fails_is_a_bad_report(
    store: ArtifactStore, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    """So that the endpoint's places and the judge's tokens are one task's."""
    tasks: list[int] = []

    class Counting(InProcess):
        def map(self, task: Any, items: Any, **options: Any) -> list[Any]:
            tasks.append(len(items))
            return super().map(task, items)

    tiny = TinyRound(tmp_path / "round")
    context = tiny.context()
    context = type(context)(
        context.job, store, context.tell, context.inputs, Counting(context.runner.context)
    )
    context.runner.context = context
    judging, lexical = (
        store.put(made(each).to_bytes()) for each in (spec(), tiny.job.reports[0].reward_model)
    )
    blocks = [{"prompts": [["Help!", 1]], "responses": [each]} for each in RESPONSES]
    pool = PoolTexts((1, 3), [store.put_json(block) for block in blocks])
    found = score_pool(context, judging, pool, uses_model=False)
    assert found.scores.tolist() == [4.0, 1.0, 10.0]
    score_pool(context, lexical, pool, uses_model=False)
    assert tasks == [1, 3]
    endpoint.script = lambda _: "No idea."
    with pytest.raises(BadReport, match="don't end with a line"):
        score_texts(context, judging, ["Help!"], ["something new"], uses_model=False)


def round_with(
    endpoint: ScriptedEndpoint, folder: Path, script: Callable[[Asked], str | Fault]
) -> TinyRound:
    """Scored, with a judge as the first group's taste."""
    endpoint.script = script
    tastes = (spec().model_dump(), *TASTES[1:])
    tiny = TinyRound(folder, tastes=tastes, prompts=["red sun"], generation={"max_new_tokens": 2})
    asked = endpoint.access(groups_may_use=True, concurrency=16, attempts=1)
    with access.granted(tiny.artifacts, [asked]):
        tiny.run("fit_rewards", "sample_pool", "score")
    return tiny


def test_in_a_round_a_judge_is_a_groups_taste(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    """The judge likes red, as the words of the tiny model's responses go."""

    def red(asked: Asked) -> str:
        response = asked.last.split("<response>\n")[1].split("\n</response>")[0]
        return f"Red?\nScore: {1 + min(9, 3 * response.count('red'))}"

    tiny = round_with(endpoint, tmp_path, red)
    scores = Scores.load(tiny.artifacts, tiny.digests["score"])
    assert scores.excluded == {}
    pool, _ = load_texts(tiny.artifacts, tiny.digests["sample_pool"])
    _, responses = read_block(tiny.artifacts, pool.blocks[0])
    counts = np.array([min(3, text.count("red")) for text in responses])
    assert np.allclose(scores.rewards_NXJ[0].flatten(), counts / counts.max())


def refuses(_asked: Asked) -> Fault:
    return status(400)


def test_a_judge_that_its_own_spec_makes_fail_excludes_its_group(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    for folder, script, reason in (
        ("one", lambda _: "No idea.", "don't end with a line"),
        ("two", refuses, "status 400, request_refused"),
    ):
        tiny = round_with(endpoint, tmp_path / folder, script)
        excluded = Scores.load(tiny.artifacts, tiny.digests["score"]).excluded
        assert list(excluded) == [GROUP_IDS[0]]
        assert reason in excluded[GROUP_IDS[0]]


@pytest.mark.parametrize(
    ("code", "error"), [(403, LanguageModelFailed), (503, EndpointUnavailable)]
)
def test_an_endpoint_that_fails_excludes_nobody(
    endpoint: ScriptedEndpoint, tmp_path: Path, code: int, error: type[Exception]
) -> None:
    """It ends the attempt (503, as when the cluster is away) or the job, which can be retried."""
    with pytest.raises(error, match=f"status {code}"):
        round_with(endpoint, tmp_path, lambda _: status(code))


def test_an_endpoint_that_was_taken_from_the_list_excludes_nobody(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    """Its key may have been lost for a while; the operator puts it back and retries the job."""
    tiny = TinyRound(tmp_path, tastes=(spec().model_dump(), *TASTES[1:]))
    with access.granted(tiny.artifacts), pytest.raises(InvalidInput) as raised:
        tiny.run("fit_rewards", "sample_pool", "score")
    assert raised.value.code == "unknown_endpoint"
    assert NAME not in raised.value.message


def test_a_books_calls_are_those_of_the_judge(store: ArtifactStore, tmp_path: Path) -> None:
    made(spec()).score(PROMPTS, RESPONSES)
    (book,) = (path.name for path in (tmp_path / "calls").iterdir())
    calls = CallBook(store, book).calls()
    assert {each.identity for each in calls} == {IDENTITY}
    assert sorted(each.reply.choice or "" for each in calls) == ["1", "10", "4"]


def test_a_judges_valuation_is_not_verified_offline() -> None:
    """It is refused before the pool is looked at."""
    with pytest.raises(InvalidInput, match="can't be verified"):
        own_rewards(spec(), [], None)
