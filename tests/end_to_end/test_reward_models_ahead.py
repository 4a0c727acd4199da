"""A reward model made ahead, reranked with and reported: real server, real Ray, real command."""

import json
from pathlib import Path

import pytest
from conftest import PROMPTS, People
from processes import Processes

from api_schemas.errors import InvalidInput, NotFound
from api_schemas.lexical import LexicalSpec
from api_schemas.reports import ReportPut
from api_schemas.reward_models import RewardModel, TrainedSpec
from client import Truthtune
from workers.rewards.registry import FittedRewardModel

pytestmark = pytest.mark.slow
LIKED, DISLIKED = ("red", "red sun", "sun red", "red red"), ("blue", "rain", "green rain")
RAIN = LexicalSpec.model_validate(
    {"type": "lexical", "features": [{"type": "keywords", "words": ["rain"]}]}
)


def test_a_group_makes_a_reward_model_ahead_and_reports_it(
    processes: Processes, people: People, tmp_path: Path
) -> None:
    group = people.groups[0]
    coordinator = processes.coordinator()
    try:
        made = _made_by_command(processes, people, tmp_path)
        _check_card_and_content(group, made)
        best = group.reward_models.best_of_n(made.id, "a new prompt", ["rain", "red sun", "blue"])
        assert best.response == "red sun"
        assert best.kl_bound == pytest.approx(0.43194562, abs=1e-8)  # log 3 − 2/3
        _check_privacy(people, made)
        _check_round(people, made, tmp_path)
    finally:
        coordinator.terminate()
        coordinator.wait(30)


def _made_by_command(processes: Processes, people: People, folder: Path) -> RewardModel:
    """`truthtune reward-model create`, with a key of the first group."""
    pairs = folder / "pairs.jsonl"
    lines = [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        for prompt in PROMPTS
        for chosen in LIKED
        for rejected in DISLIKED
    ]
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    secret = people.operator.groups.create_key(people.group_ids[0]).secret
    as_group = ("--url", processes.url, "--api-key", secret)
    create = ("reward-model", "create", "ahead", "--preferences", str(pairs), "--json")
    made = RewardModel.model_validate_json(processes.command(*as_group, *create))
    assert made.status == "succeeded"
    drawing = folder / "card.svg"
    processes.command(*as_group, "reward-model", "card", made.id, "--out", str(drawing))
    assert b"<svg" in drawing.read_bytes()
    return made


def _check_card_and_content(group: Truthtune, made: RewardModel) -> None:
    assert made.report_card is not None
    assert made.report_card.accuracy is not None
    assert made.report_card.accuracy.value == 1.0  # the words that are liked are never disliked
    model = FittedRewardModel.from_bytes(group.reward_models.content(made.id))
    liked, disliked = model.score(["any", "any"], ["red", "rain"])
    assert liked > disliked
    kinds = {event.type for event in group.jobs.events(made.job_id)}
    assert {"job_queued", "stage_finished", "job_succeeded"} <= kinds


def _check_privacy(people: People, made: RewardModel) -> None:
    for other in (people.operator, people.groups[1]):
        with pytest.raises(NotFound):
            other.reward_models.get(made.id)
        with pytest.raises(NotFound):
            other.jobs.get(made.job_id)
        assert made.job_id not in [job.id for job in other.jobs.list()]


def _check_round(people: People, made: RewardModel, folder: Path) -> None:
    """Two groups, one of which reports what it made; nobody else can."""
    opened = people.open_round(folder, counterfactuals="closed_form")
    trained = TrainedSpec(type="trained", reward_model_id=made.id)
    people.groups[0].rounds.put_report(opened.id, ReportPut(size=3, reward_model=trained))
    with pytest.raises(NotFound):
        people.groups[1].rounds.put_report(opened.id, ReportPut(size=7, reward_model=trained))
    mixture = trained.model_copy(update={"members": "mixture"})
    with pytest.raises(InvalidInput, match="has no members"):
        people.groups[0].rounds.put_report(opened.id, ReportPut(size=3, reward_model=mixture))
    people.groups[1].rounds.put_report(opened.id, ReportPut(size=7, reward_model=RAIN))
    job_id = people.operator.rounds.close(opened.id).job_id
    assert job_id is not None
    job = people.operator.jobs.wait(job_id)
    assert job.status == "succeeded", job.error
    lines = people.operator.rounds.outcome(opened.id).groups
    assert [line.excluded for line in lines] == [None, None]
    assert all(line.utility is not None and line.utility >= 0 for line in lines)
