"""The demo's round on the real model, stage by stage without Ray: minutes, so marked slow."""

import hashlib
from pathlib import Path

import pytest
import torch
from conftest import GROUP_IDS, OfflineRound

from api_schemas.jobs import JobInput, ReportInput
from api_schemas.preference_methods import TfidfBradleyTerry
from api_schemas.reward_models import PinnedInputs, PreferenceDataSpec
from api_schemas.rounds import Announcement
from client.demo.settings import SMOLLM2
from workers import base_models
from workers.artifacts import ArtifactStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
NAME = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> OfflineRound:
    torch.set_num_threads(2)
    artifacts = ArtifactStore(str(tmp_path_factory.mktemp("artifacts")))
    made = OfflineRound(artifacts, demo_job(artifacts))
    made.run()
    print("\n" + made.outcome().outcome.model_dump_json(indent=1))
    return made


def demo_job(artifacts: ArtifactStore) -> JobInput:
    """The demo's announcement and reports as the workers get them."""
    announcement = Announcement.model_validate(
        {
            **SMOLLM2.announcement,
            "base_model": NAME,
            "base_model_revision": base_models.resolve(NAME).revision,
            "prompts_file_id": "file_" + "a" * 26,
            "prompts_sha256": artifacts.put(Path(SMOLLM2.prompts).read_bytes()),
        }
    )
    data = artifacts.put(Path(SMOLLM2.preferences).read_bytes())
    fitted = PreferenceDataSpec(
        type="preference_data",
        file_id="file_" + "b" * 26,
        method=TfidfBradleyTerry(name="tfidf_bradley_terry"),
    )
    reports = [
        ReportInput(
            group_id=group_id,
            size=group.size,
            reward_model=group.lexical or fitted,
            report_digest="sha256:" + hashlib.sha256(group.name.encode()).hexdigest(),
            pinned=PinnedInputs(files={} if group.lexical else {fitted.file_id: data}),
        )
        for group_id, group in zip(GROUP_IDS, SMOLLM2.groups, strict=True)
    ]
    return JobInput(
        round_id="rnd_" + "a" * 26,
        announcement=announcement,
        announcement_digest="sha256:" + "0" * 64,
        reports=reports,
    )


def test_the_tuned_model_s_welfare_on_fresh_samples_is_two_standard_errors_above(
    settled: OfflineRound,
) -> None:
    fresh = settled.outcome().outcome.fresh
    assert fresh is not None
    assert fresh.gain >= 2 * fresh.gain_standard_error


def test_nobody_s_utility_is_negative_and_no_gap_is(settled: OfflineRound) -> None:
    outcome = settled.outcome().outcome
    assert all(group.utility is not None and group.utility >= 0 for group in outcome.groups)
    assert all(world.optimality_gap >= 0 for world in outcome.worlds)
    assert all(world.welfare >= world.welfare_initial for world in outcome.worlds)
