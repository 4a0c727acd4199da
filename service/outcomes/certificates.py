"""The certificate: the outcome's figures of trust, what audits found, and all digests.

A group sees of it what it sees of the outcome, which it is made from.
"""

from typing import Any

from sqlalchemy.orm import Session

from api_schemas.certificates import (
    AuditedGains,
    Certificate,
    GroupCertificate,
    RoundDigests,
    WorldCertificate,
)
from api_schemas.outcomes import Outcome
from service.audits.repository import audited_gains
from service.auth import Principal
from service.jobs.repository import job_of_round, stage_digests
from service.outcomes.repository import get_outcome
from service.rounds import repository as rounds
from service.tables import OutcomeRow

_ROUNDING = 1e-9
"""A gain in closed form below it is float64's, not a misreport's. docs/mechanism.md §9."""
_TAKEN_OVER: dict[str, Any] = {
    **dict.fromkeys((Certificate.model_fields.keys() & Outcome.model_fields) - {"object"}, True),
    "worlds": {"__all__": set(WorldCertificate.model_fields)},
    "groups": {"__all__": set(GroupCertificate.model_fields)},
}
"""Fields of the outcome that the certificate has too, under the same names."""


def get_certificate(session: Session, principal: Principal, round_id: str) -> Certificate:
    """Raises NotFound and Conflict as `get_outcome` does."""
    seen = get_outcome(session, principal, round_id)
    gains = audited_gains(session, round_id)
    if gains is not None and not principal.is_operator:
        gains = _without_losses(gains)
    return certificate_of(seen, gains, digests_of(session, principal, seen))


def certificate_of(seen: Outcome, gains: AuditedGains | None, digests: RoundDigests) -> Certificate:
    """Of an outcome as somebody sees it, with what audits found and the digests for the same."""
    more = {"audited": gains, "digests": digests}
    return Certificate.model_validate(seen.model_dump(include=_TAKEN_OVER) | more)


def _without_losses(gains: AuditedGains) -> AuditedGains:
    """That no misreport gained is the mechanism's doing; by how much each lost is the reports'."""
    gain = gains.largest_gain
    return AuditedGains(
        audits=gains.audits,
        largest_gain=gain if gain is None or gain > _ROUNDING else 0.0,
        largest_gain_without_payments=None,
        largest_gain_retrained=None,
    )


def digests_of(session: Session, principal: Principal, outcome: Outcome) -> RoundDigests:
    """The same for every group that reported."""
    announcement = rounds.get_round(session, principal, outcome.round_id).announcement
    row = session.get_one(OutcomeRow, outcome.round_id)
    stages = stage_digests(session, job_of_round(session, outcome.round_id).id)
    return RoundDigests(
        announcement=outcome.announcement_digest,
        pool=outcome.pool_digest,
        adapter=outcome.adapter_digest,
        outcome=row.digest if principal.is_operator else None,
        base_model_revision=announcement.base_model_revision,
        prompts=announcement.prompts_sha256,
        stages=stages if principal.is_operator else None,
        code_version=row.code_version,
    )
