"""From what a group sends to the report that is stored: checked, probed, digested."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from api_schemas.errors import InvalidInput
from api_schemas.ids import RoundId
from api_schemas.reports import ProbeResult, ReportPut
from api_schemas.reward_models import PreferenceDataSpec
from api_schemas.rounds import Announcement
from service.auth import GroupMember
from service.dependencies import State
from service.files import repository as files
from service.files.content import read_prompts
from service.reports.probe import PROBE_PROMPTS, probe
from service.rounds import repository as rounds
from workers.artifacts import canonical_json, sha256_of


@dataclass(frozen=True)
class SealedReport:
    """A report that fits its round; whether the round still takes it is for the write to see."""

    body: ReportPut
    digest: str
    probe: ProbeResult | None
    data_sha256: str | None


def _sealed(
    round_id: RoundId, body: ReportPut, principal: GroupMember, state: State
) -> SealedReport:
    """Runs before the write transaction: scoring a probe may take a second."""
    spec = body.reward_model
    data_sha256 = None
    with state.database.read() as session:
        announcement = rounds.get_round(session, principal, round_id).announcement
        if isinstance(spec, PreferenceDataSpec):
            data_sha256 = files.get_own_file(
                session, principal, spec.file_id, "preferences", param="reward_model.file_id"
            ).sha256
    _check_size(body.size, announcement)
    prompts = read_prompts(state.artifacts, announcement.prompts_sha256, PROBE_PROMPTS)
    return SealedReport(
        body=body,
        digest=sha256_of(canonical_json(body.model_dump(mode="json"))),
        probe=probe(spec, [line.prompt for line in prompts]),
        data_sha256=data_sha256,
    )


Sealed = Annotated[SealedReport, Depends(_sealed)]


def _check_size(size: int, announcement: Announcement) -> None:
    if size > announcement.max_group_size:
        raise InvalidInput(
            f"size {size} is beyond the round's max_group_size of {announcement.max_group_size}",
            param="size",
        )
