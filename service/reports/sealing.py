"""From what a group sends to the report that is stored: checked, pinned, probed, digested."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from api_schemas.errors import InvalidInput
from api_schemas.ids import RoundId
from api_schemas.reports import ProbeResult, ReportPut
from api_schemas.reward_models import PinnedInputs
from api_schemas.rounds import Announcement
from service.auth import GroupMember
from service.dependencies import State
from service.files.content import read_prompts
from service.reports.probe import PROBE_PROMPTS, probe
from service.reward_models.pinning import pin
from service.rounds import repository as rounds
from workers.artifacts import canonical_json, sha256_of


@dataclass(frozen=True)
class SealedReport:
    """A report that fits its round; whether the round still takes it is for the write to see."""

    body: ReportPut
    digest: str
    probe: ProbeResult | None
    pinned: PinnedInputs


def _sealed(
    round_id: RoundId, body: ReportPut, principal: GroupMember, state: State
) -> SealedReport:
    """Runs before the write transaction: scoring a probe may take a second."""
    with state.database.read() as session:
        announcement = rounds.get_round(session, principal, round_id).announcement
    _check_size(body.size, announcement)
    pinned = pin(state, principal, body.reward_model)
    prompts = read_prompts(state.artifacts, announcement.prompts_sha256, PROBE_PROMPTS)
    return SealedReport(
        body=body,
        digest=sha256_of(canonical_json(body.model_dump(mode="json"))),
        probe=probe(body.reward_model, [line.prompt for line in prompts]),
        pinned=pinned,
    )


Sealed = Annotated[SealedReport, Depends(_sealed)]


def _check_size(size: int, announcement: Announcement) -> None:
    if size > announcement.max_group_size:
        raise InvalidInput(
            f"size {size} is beyond the round's max_group_size of {announcement.max_group_size}",
            param="size",
        )
