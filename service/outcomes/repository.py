"""SQL of outcomes. The operator sees all of one; a group the grand world and its own line.

With fewer than three groups a group sees no welfare at all: together with its own valuation,
welfare tells it the valuation of the one other, and so what that one reported.
"""

from datetime import datetime
from importlib.metadata import version

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from api_schemas.errors import Conflict, NotFound
from api_schemas.outcomes import GroupOutcome, IncentiveCertificate, Outcome, WorldOutcome
from service.auth import Principal
from service.rounds import repository as rounds
from service.tables import OutcomeRow, ReportRow

FEWEST_GROUPS = 3
"""With fewer, neither the others' welfare nor that of all is shown to a group."""


def add_outcome(session: Session, outcome: Outcome, digest: str, now: datetime) -> None:
    """`digest` is that of the outcome's canonical JSON, which is in the artifact store."""
    session.add(
        OutcomeRow(
            round_id=outcome.round_id,
            payload=outcome.model_dump(mode="json"),
            digest=digest,
            code_version=version("truthtune"),
            created_at=now,
        )
    )


def get_outcome(session: Session, principal: Principal, round_id: str) -> Outcome:
    """Raises NotFound for a group that did not report, Conflict while the round isn't settled."""
    round_ = rounds.get_round(session, principal, round_id)
    if not principal.is_operator and not _reported(session, round_id, principal.owner_id):
        raise NotFound(f"you have no report in round {round_id}")
    row = session.get(OutcomeRow, round_id)
    if row is None:
        raise Conflict(
            f"round {round_id} is {round_.state}; it has an outcome once it is settled",
            code="not_settled",
        )
    outcome = Outcome.model_validate(row.payload)
    return outcome if principal.is_operator else as_seen_by(outcome, principal.owner_id)


def pool_digest(session: Session, principal: Principal, round_id: str) -> str:
    """Raises as `get_outcome`, and NotFound for a group that was excluded."""
    outcome = get_outcome(session, principal, round_id)
    if not principal.is_operator and not takes_part(outcome.groups):
        raise NotFound(f"you took no part in round {round_id}")
    return outcome.pool_digest


def takes_part(groups: list[GroupOutcome]) -> list[GroupOutcome]:
    """Those that were not excluded."""
    return [group for group in groups if group.excluded is None]


def _reported(session: Session, round_id: str, group_id: str) -> bool:
    report = exists().where(ReportRow.round_id == round_id, ReportRow.group_id == group_id)
    return bool(session.scalar(select(report)))


def as_seen_by(outcome: Outcome, group_id: str) -> Outcome:
    """What a group that reported is shown of a round's outcome."""
    own = [group for group in outcome.groups if group.group_id == group_id]
    others = [group.group_id for group in outcome.groups if group.group_id != group_id]
    warnings = [text for text in outcome.warnings if not any(other in text for other in others)]
    grand = [world for world in outcome.worlds if world.without_group_id is None]
    seen = outcome.model_copy(
        update={
            "worlds": [_naming_nobody(world, others) for world in grand],
            "delivered": outcome.delivered and _naming_nobody(outcome.delivered, others),
            "groups": own,
            "reward_agreement": None,
            "warnings": warnings,
        }
    )
    return _without_welfare(seen) if len(takes_part(outcome.groups)) < FEWEST_GROUPS else seen


def _without_welfare(outcome: Outcome) -> Outcome:
    hidden = dict.fromkeys(("others_welfare_without", "others_welfare_with", "counterfactual_gap"))
    lines = [group.model_copy(update=hidden) for group in outcome.groups]
    return outcome.model_copy(
        update={
            "worlds": [],
            "delivered": None,
            "fresh": None,
            "holdout": None,
            "groups": lines,
            "certificate": _without_figures(outcome),
            "warnings": [text for text in outcome.warnings if not text.startswith("world ")],
        }
    )


def _without_figures(outcome: Outcome) -> IncentiveCertificate:
    """The figures tell the grand world's welfare, and the bound of `checkpoints` the other's."""
    hidden: dict[str, object] = {
        "figures": "With fewer than three groups the figures behind it are the operator's."
    }
    if outcome.counterfactuals == "checkpoints":
        hidden |= {"largest_gain": None, "largest_gain_micro_units": None}
    return outcome.certificate.model_copy(update=hidden)


def _naming_nobody(world: WorldOutcome, others: list[str]) -> WorldOutcome:
    """The grand world may choose the adapter of a world without another group, by that one's id, or
    a mix, whose shares tell how many groups there are."""
    if world.chosen.startswith("soup:"):
        return world.model_copy(update={"chosen": "soup"})
    if not any(other in world.chosen for other in others):
        return world
    return world.model_copy(update={"chosen": f"without:another@{world.chosen.split('@')[-1]}"})
