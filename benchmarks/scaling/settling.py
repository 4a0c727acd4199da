"""Measurements of a settlement: one transaction that writes a round of n groups, on SQLite."""

import tempfile
import time
from pathlib import Path

from api_schemas.amounts import payment_micro_units
from api_schemas.ids import new_id
from api_schemas.jobs import JobInput, ProgressEvent, ReportInput
from api_schemas.models import ModelFile
from api_schemas.outcomes import (
    GroupOutcome,
    IncentiveCertificate,
    Outcome,
    RewardAgreement,
    Valued,
    WorldOutcome,
)
from api_schemas.reports import ReportPut
from api_schemas.reward_models import PinnedInputs
from api_schemas.rounds import Announcement
from migrations import upgrade
from service.database import Database, database_now
from service.jobs import leases
from service.ledger import posting
from service.reports.sealing import CheckedReport, seal, to_seal
from service.rounds import lifecycle
from service.rounds.repository import add_round
from service.tables import GroupRow, ReportRow, RoundRow
from service.vault import KEY_BYTES, Vault

from .arithmetic import LEXICAL, Taken
from .fit import least_relative_squares

_VAULT = Vault(bytes(KEY_BYTES))
_DIGEST = "sha256:" + "0" * 64
_FIGURE = 0.123456789012345678
"""Of as many digits as computed figures have."""
_RULES = Announcement.model_validate(
    {
        "name": "A calibration",
        "base_model": "tiny-enumerable",
        "prompts_file_id": "file_" + "0" * 26,
        "regularizer": {"coefficient": 1.0},
        "counterfactuals": "closed_form",
        "max_group_size": 10,
        "price_per_unit_micro_units": 1_000_000,
        "base_model_revision": _DIGEST,
        "prompts_sha256": _DIGEST,
    }
)


def settled(groups: int, held_out: bool = False) -> Taken:
    """Seconds of the processor, and the bytes of the outcome's JSON."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder, 'scale.db')}")
        try:
            upgrade(database)
            held = _claimed(database, groups)
            found = Valued(outcome=_outcome(held.round_job), adapter_files=[])
            archive = ModelFile(name="adapter.zip", bytes=1, sha256=_DIGEST)
            started = time.process_time()
            with database.write() as session:
                leases.start_stage(session, held, "settle")
                posting.settle(session, _VAULT, held, found, archive, _DIGEST)
            seconds = time.process_time() - started
        finally:
            database.dispose()
    written = len(found.outcome.model_dump_json())
    units = {"pair": groups**2, "group": groups, "round": 1}
    return Taken("settle", groups, units, seconds, written, held_out)


def _claimed(database: Database, groups: int) -> leases.Claim:
    """A closed round in which so many groups reported, held for an hour."""
    with database.write() as session:
        now = database_now(session)
        ids = sorted(new_id("grp") for _ in range(groups))
        session.add_all(GroupRow(id=id_, name=id_, created_at=now) for id_ in ids)
        round_id = add_round(session, _RULES, now).id
        session.flush()
        session.add_all(_report(round_id, id_, database_now(session)) for id_ in ids)
        session.flush()
        row = session.get_one(RoundRow, round_id)
        lifecycle.open_for_reports(session, row)
        lifecycle.close(session, row)
    with database.write() as session:
        held = leases.claim(session, _VAULT, "a calibration", 3600, max_attempts=1)
    assert held is not None, "its job was queued just now"
    return held


def _report(round_id: str, group_id: str, now: object) -> ReportRow:
    content = to_seal(CheckedReport(ReportPut(size=3, reward_model=LEXICAL), None, PinnedInputs()))
    return ReportRow(
        id=new_id("rep"),
        round_id=round_id,
        group_id=group_id,
        sealed=seal(_VAULT, round_id, group_id, content),
        commitment=content.commitment(round_id, group_id),
        submitted_at=now,
    )


def _outcome(job: JobInput) -> Outcome:
    ids = [report.group_id for report in job.reports]
    return Outcome(
        round_id=job.round_id,
        announcement_digest=job.announcement_digest,
        counterfactuals=_RULES.counterfactuals,
        payment_rule=_RULES.payment_rule,
        regularizer=_RULES.regularizer,
        value_on=_RULES.value_on,
        pool_prompts=2,
        pool_samples_per_prompt=4,
        price_per_unit_micro_units=_RULES.price_per_unit_micro_units,
        currency=_RULES.currency,
        worlds=[_world(None), *map(_world, ids)],
        groups=[_line(report) for report in job.reports],
        certificate=IncentiveCertificate(
            guarantee="none", figures="none", largest_gain=0.0, largest_gain_micro_units=0
        ),
        fresh=None,
        delivered=_world(None),
        reward_agreement=RewardAgreement(group_ids=ids, spearman=[[_FIGURE] * len(ids)] * len(ids)),
        warnings=[],
        pool_digest=_DIGEST,
        adapter_digest=_DIGEST,
    )


def _line(report: ReportInput) -> GroupOutcome:
    payment = 0.5
    return GroupOutcome(
        group_id=report.group_id,
        size=report.size,
        valuation_initial=_FIGURE,
        valuation=0.75,
        others_welfare_without=1.0 + payment,
        others_welfare_with=1.0,
        counterfactual_gap=_FIGURE,
        payment=payment,
        amount_micro_units=payment_micro_units(payment, _RULES.price_per_unit_micro_units),
        utility=report.size * 0.75 - payment,
        clipped_share=0.0,
        reward_error=_FIGURE,
        reward_error_bound=_FIGURE,
    )


def _world(without: str | None) -> WorldOutcome:
    return WorldOutcome(
        world="grand" if without is None else f"without:{without}",
        without_group_id=without,
        chosen="pool_optimum",
        welfare_initial=_FIGURE,
        welfare=_FIGURE,
        welfare_optimum=_FIGURE,
        optimality_gap=0.0,
        divergence=_FIGURE,
        divergence_optimum=_FIGURE,
        effective_samples_mean=_FIGURE,
        effective_samples_minimum=_FIGURE,
        low_support_prompts=0,
        support_ratio=_FIGURE,
    )


def measure_all() -> list[Taken]:
    found = [
        *(settled(groups) for groups in (3, 10, 30, 60, 100, 150, 200, 400)),
        settled(800, held_out=True),
    ]
    for each in found:
        print(f"settle, {each.groups} groups: {each.seconds:.3f} s", flush=True)
    return found


def writes_a_second(seconds: float = 2.0) -> dict[str, float]:
    """Heartbeats and events, each a transaction of its own on SQLite, by the clock on the wall."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder, 'scale.db')}")
        try:
            upgrade(database)
            held = _claimed(database, 3)
            event = ProgressEvent(type="stage_progress", message="solve: 1 of 4 worlds")
            rates = []
            for write in (
                lambda session: leases.heartbeat(session, held, 30),
                lambda session: leases.record(session, held, event),
            ):
                started, count = time.perf_counter(), 0
                while time.perf_counter() < started + seconds:
                    with database.write() as session:
                        write(session)
                    count += 1
                rates.append(count / (time.perf_counter() - started))
        finally:
            database.dispose()
    return {"sqlite_a_second": min(rates), "heartbeats": rates[0], "events": rates[1]}


def outcome_sizes(found: list[Taken]) -> dict[str, float]:
    """The outcome's JSON: bytes a pair of groups, and a group."""
    used = [each for each in found if not each.held_out]
    pair, group, _ = least_relative_squares(
        [(each.groups**2, each.groups, 1) for each in used], [float(each.bytes) for each in used]
    )
    return {"bytes_a_pair": pair, "bytes_a_group": group}
