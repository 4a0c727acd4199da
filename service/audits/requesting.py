"""From a request to an audit that waits for its job."""

from collections.abc import Iterator

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api_schemas.audits import MAX_REPLAYS, Audit, AuditCreate
from api_schemas.errors import Conflict, InvalidInput
from api_schemas.ids import new_id
from api_schemas.jobs import AuditInput, RoundJob
from api_schemas.outcomes import GroupOutcome
from service.audits import repository
from service.auth import Principal
from service.jobs import queue
from service.jobs.repository import expired_stages, job_of_round, stage_digests
from service.outcomes.repository import get_outcome, takes_part
from service.rounds import repository as rounds
from service.tables import JobRow


def request_audit(
    session: Session, principal: Principal, round_id: str, settings: AuditCreate
) -> Audit:
    """Queue an audit of a settled round, which stays as it is.

    Raises NotFound, Conflict unless the round is settled, and InvalidInput, naming the field, for
    groups that took no part and for more replays than an audit may have.
    """
    row = rounds.lock_round(session, principal, round_id)
    if row.state != "settled":
        raise Conflict(
            f"round {round_id} is {row.state}; only a settled round can be audited",
            code="not_settled",
        )
    outcome = get_outcome(session, principal, round_id)
    groups = outcome.groups
    _require_groups(settings, groups)
    if settings.retrain and outcome.counterfactuals == "closed_form":
        raise InvalidInput(
            "retrain: counterfactuals 'closed_form' prices the pool's best policies, so no "
            "training changes what a report brings",
            param="retrain",
        )
    _require_few_replays(settings, len(takes_part(groups)))
    audit_id = new_id("aud")
    job_id = queue.enqueue(session, _job_input(session, round_id, audit_id, settings))
    return repository.add_audit(session, audit_id, round_id, job_id, settings)


def _require_groups(settings: AuditCreate, groups: list[GroupOutcome]) -> None:
    known = {group.group_id: group for group in groups}
    for param, group_id in _named_groups(settings):
        if group_id not in known:
            raise InvalidInput(f"{param}: group {group_id} has no report in the round", param=param)
        reason = known[group_id].excluded
        if reason is not None:
            raise InvalidInput(f"{param}: group {group_id} was excluded: {reason}", param=param)


def _named_groups(settings: AuditCreate) -> Iterator[tuple[str, str]]:
    """Every group that the settings name, with the field that names it."""
    for i, group_id in enumerate(settings.group_ids or ()):
        yield f"group_ids[{i}]", group_id
    for i, misreport in enumerate(settings.retrain):
        yield f"retrain[{i}].group_id", misreport.group_id


def _require_few_replays(settings: AuditCreate, groups_in_round: int) -> None:
    groups = groups_in_round
    if settings.group_ids is not None:
        groups = len({*settings.group_ids, *(each.group_id for each in settings.retrain)})
    replays = groups * settings.misreports_per_group
    if replays > MAX_REPLAYS:
        raise InvalidInput(
            f"{groups} groups × {settings.misreports_per_group} misreports are {replays} replays, "
            f"beyond the {MAX_REPLAYS} of one audit: name fewer group_ids, or shorten alphas, "
            "sharpen_betas or oppose_betas",
            param="group_ids",
        )


def _job_input(session: Session, round_id: str, audit_id: str, settings: AuditCreate) -> RoundJob:
    """The round's own input, and where its job ended."""
    row = job_of_round(session, round_id)
    stages = stage_digests(session, row.id)
    if expired := expired_stages(session, row.id):
        raise Conflict(
            f"what {', '.join(expired)} left in round {round_id} is kept no longer "
            "(TRUTHTUNE_STAGE_RETENTION_DAYS), and an audit starts from it",
            code="artifacts_expired",
        )
    del stages["settle"]  # the outcome: an audit starts from what it was computed from
    audit = AuditInput(audit_id=audit_id, settings=settings, round_stages=stages)
    return _read_input(row).model_copy(update={"audit": audit})


def _read_input(row: JobRow) -> RoundJob:
    try:
        return RoundJob.model_validate(row.input)
    except ValidationError:
        raise Conflict(
            f"this version can't read job {row.id}, which another one made; audit the round with "
            "that",
            code="unreadable_job",
        ) from None
