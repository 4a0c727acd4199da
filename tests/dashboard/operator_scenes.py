"""Rounds in every state for the operator's pages, and training events as a worker tells them."""

from dataclasses import dataclass
from typing import Any

from corpus_scenes import made_of_documents
from route_scenes import train_next
from scenes import add_closed_round, announcement, claim, publish, queue_audit, settle_next
from site_scenes import Site
from sqlalchemy import select

from api_schemas.jobs import ProgressEvent
from service.database import database_now
from service.jobs import leases
from service.jobs.leases import Claim
from service.rounds.repository import add_round
from service.tables import IncentiveAuditRow, InvoiceRow, JobRow


@dataclass(frozen=True)
class Books:
    """A settled round of three groups with all that it leaves."""

    round_id: str
    job_id: str
    audit_id: str
    invoice_id: str
    model_id: str


def settle_round(site: Site, group_ids: list[str], **changes: Any) -> Books:
    """Trained with curves, settled, and audited."""
    state = site.state
    with state.database.write() as session:
        round_id = add_closed_round(session, group_ids, name="Tone of the help desk", **changes)
    held = claim(state.database)
    tell_training(site, held)
    with state.database.write() as session:
        leases.release(session, held, 0, counts=False)
    train_next(state)
    settle_next(state, dict(zip(group_ids, [0.648, 0.0, -0.25], strict=False)))
    queue_audit(state.database, round_id)
    publish(state, claim(state.database))
    with state.database.read() as session:
        job = select(JobRow.id).where(JobRow.round_id == round_id, JobRow.kind == "round")
        audit = select(IncentiveAuditRow.id).where(IncentiveAuditRow.round_id == round_id)
        invoice = select(InvoiceRow.id).where(
            InvoiceRow.round_id == round_id, InvoiceRow.group_id == group_ids[0]
        )
        ids = [session.scalars(query).one() for query in (job, audit, invoice)]
    with site.api() as api:
        model_id = api.get(f"/v1/rounds/{round_id}").json()["model_id"]
    return Books(round_id, *ids, model_id)


def run_round(site: Site, group_ids: list[str]) -> Claim:
    """A round whose job is at work in its training, with three steps told."""
    with site.state.database.write() as session:
        add_closed_round(session, group_ids, name="Being trained")
    held = claim(site.state.database, lease_seconds=3600)
    tell_training(site, held)
    return held


def tell_training(site: Site, held: Claim) -> None:
    """Three steps of two worlds; the second world diverges at the last."""
    with site.state.database.write() as session:
        leases.start_stage(session, held, "train")
    tell_steps(site, held, 1, 2, 3)


def tell_steps(site: Site, held: Claim, *steps: int) -> None:
    with site.state.database.write() as session:
        for step in steps:
            for kind in ("training_step", "world_evaluated"):
                leases.record(session, held, _step(held, kind, step))
                session.flush()


def _step(held: Claim, kind: str, step: int) -> ProgressEvent:
    without = f"without:{held.job.reports[0].group_id}"
    figures = {
        "grand": (step * 1.0, 0.1 * step),
        without: (None, None) if step == 3 else (0.5, 0.2),
    }
    worlds = [
        {
            "world": world,
            "welfare": welfare,
            "reward": welfare,
            "divergence": divergence,
            "best_step": 1,
            "stopped": welfare is None,
        }
        for world, (welfare, divergence) in figures.items()
    ]
    data = {"stage": "train", "step": step, "steps": 12, "worlds": worlds}
    return ProgressEvent.model_validate(
        {"type": kind, "message": f"step {step} of 12", "data": data}
    )


def make_initial_model(site: Site) -> dict[str, str]:
    """The ids of a corpus, a base model and an evaluation, all three made."""
    with site.api() as api:
        return made_of_documents(api, site.state)


def draft_round(site: Site, **changes: Any) -> str:
    with site.state.database.write() as session:
        return add_round(session, announcement(**changes), database_now(session)).id
