"""From what a group sends to the report that is stored: checked, pinned, probed, sealed."""

import base64
import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from api_schemas.base import Schema
from api_schemas.commitments import SALT_BYTES, commitment
from api_schemas.errors import InvalidInput
from api_schemas.ids import RoundId
from api_schemas.reports import ProbeResult, ReportPut
from api_schemas.reward_models import PinnedInputs
from api_schemas.rounds import Announcement
from service.auth import GroupMember, Principal
from service.dependencies import AppState, State
from service.files.content import read_prompts
from service.reports.probe import PROBE_PROMPTS, probe
from service.reward_models.pinning import asks_a_judge, pin
from service.rounds import repository as rounds
from service.vault import Vault
from workers.artifacts import canonical_json, sha256_of


@dataclass(frozen=True)
class CheckedReport:
    """A report that fits its round; whether the round still takes it is for the write to see."""

    body: ReportPut
    probe: ProbeResult | None
    pinned: PinnedInputs


def checked_report(
    round_id: RoundId, body: ReportPut, principal: GroupMember, state: State
) -> CheckedReport:
    """To be run before the write transaction: scoring a probe may take a second. Raises NotFound
    or InvalidInput."""
    with state.database.look() as session:
        announcement = rounds.get_announcement(session, principal, round_id)
    _check_size(body.size, announcement)
    pinned = pin(state, principal, body.reward_model)
    if asks_a_judge(state, principal, body.reward_model):
        _require_few_judgements(announcement)
    prompts = read_prompts(state.artifacts, announcement.prompts_sha256, PROBE_PROMPTS)
    return CheckedReport(
        body=body,
        probe=probe(body.reward_model, [line.prompt for line in prompts]),
        pinned=pinned,
    )


Checked = Annotated[CheckedReport, Depends(checked_report)]


class SealedContent(Schema):
    """What the encrypted column of a report's row holds."""

    report: ReportPut
    salt: str
    probe: ProbeResult | None
    pinned: PinnedInputs

    @property
    def digest(self) -> str:
        """Of the report alone. Whoever has it can test guesses, so that it stays with the job."""
        return sha256_of(canonical_json(self.report.model_dump(mode="json")))

    def commitment(self, round_id: str, group_id: str) -> str:
        salt = base64.b64decode(self.salt)
        return commitment(round_id, group_id, salt, self.report.model_dump(mode="json"))


@dataclass(frozen=True)
class SealedReport:
    """A checked report as it is stored, and whose it is."""

    principal: Principal
    content: SealedContent
    sealed: bytes
    commitment: str


def sealed_report(
    round_id: str, body: ReportPut, principal: Principal, state: AppState
) -> SealedReport:
    """To be run before the write transaction too: what is done while the round is locked makes the
    other groups wait. Raises as `checked_report` does."""
    group_id = principal.owner_id
    content = to_seal(checked_report(round_id, body, principal, state))
    return SealedReport(
        principal=principal,
        content=content,
        sealed=seal(state.vault, round_id, group_id, content),
        commitment=content.commitment(round_id, group_id),
    )


def to_seal(checked: CheckedReport) -> SealedContent:
    """The report with a salt of its own."""
    salt = base64.b64encode(secrets.token_bytes(SALT_BYTES)).decode()
    return SealedContent(report=checked.body, salt=salt, probe=checked.probe, pinned=checked.pinned)


def seal(vault: Vault, round_id: str, group_id: str, content: SealedContent) -> bytes:
    data = content.model_dump_json().encode()  # canonical JSON takes ten times as long
    return vault.seal(data, *_context(round_id, group_id))


def unseal(vault: Vault, round_id: str, group_id: str, sealed: bytes) -> SealedContent:
    """Raises DamagedSeal unless it is what was sealed for this round and group."""
    return SealedContent.model_validate_json(vault.open(sealed, *_context(round_id, group_id)))


def _context(round_id: str, group_id: str) -> tuple[str, str, str]:
    return ("report", round_id, group_id)


def _require_few_judgements(announcement: Announcement) -> None:
    """A judge that meets its limit, or an outage, in the midst of a training or of the mixture's
    samples would spoil them for all groups. Raises InvalidInput."""
    fields = []
    if announcement.training.gradient.method == "policy_gradient":
        single = "single." if announcement.training.method == "rewarded_soups" else ""
        fields.append(f"training.{single}method 'policy_gradient'")
    if announcement.value_on == "mixture":
        fields.append("value_on 'mixture'")
    if fields:
        raise InvalidInput(
            f"a reward model of type 'judge' can't be reported in a round that announces "
            f"{' and '.join(fields)}, which asks reward models about new responses again and again",
            code="judge_not_allowed",
            param="reward_model.type",
        )


def _check_size(size: int, announcement: Announcement) -> None:
    if size > announcement.max_group_size:
        raise InvalidInput(
            f"size {size} is beyond the round's max_group_size of {announcement.max_group_size}",
            param="size",
        )
