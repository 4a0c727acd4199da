"""Rounds, reports, jobs and the ledger, driven at random; the invariants are looked at after every
step, and every answer is the one that the state before the step calls for."""

from collections import Counter
from pathlib import Path
from typing import Any

from findings import chain_faults
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from invariants import Seen
from scenes import let_leases_expire, settle, valued
from small_world import GROUPS, SmallWorld
from sqlalchemy import select
from support import VAULT, report_body

from api_schemas.jobs import ProgressEvent
from api_schemas.rounds import RoundFailure
from service.jobs import leases
from service.tables import InvoiceRow, JobRow, ReportRow, RoundRow

MAX_ROUNDS = 2
MAX_SIZE = 10
FAILURE = RoundFailure(code="a_reason", message="a reason that another attempt would meet too")
some_round, some_group = st.integers(0, MAX_ROUNDS - 1), st.integers(0, GROUPS - 1)
payments = st.lists(st.sampled_from([-0.5, 0.0, 0.25, 0.5]), min_size=GROUPS, max_size=GROUPS)
deeds = st.sampled_from(["heartbeat", "record", "start_stage", "release", "fail", "settle"])


class RoundMachine(RuleBasedStateMachine):
    """`reached` counts what happened, so that a test sees that it was not for nothing."""

    def __init__(self, sqlite_template: Path, reached: Counter[str]):
        super().__init__()
        self.reached = reached
        self.world = SmallWorld(sqlite_template)
        self.seen = Seen()
        self.rounds: list[str] = []
        self.claims: list[leases.Claim] = []
        self.settled = 0

    def teardown(self) -> None:
        try:
            assert chain_faults(self.world.state) == []
        finally:
            self.world.close()

    @invariant()
    def all_holds(self) -> None:
        self.seen.check(self.world.database)

    @initialize(reports=st.integers(1, GROUPS), steps=st.sampled_from([3, 2, 1, 0]), paid=payments)
    def begin(self, reports: int, steps: int, paid: list[float]) -> None:
        """Somewhere in a round: most of what may follow needs more than a draft."""
        self.announce()
        self.change(0, "open")
        for group in range(reports):
            self.report(0, group, 1 + group)
        if steps > 0:
            self.change(0, "close")
        if steps > 1:
            self.claim()
        if steps > 2:
            self.write(0, "settle", paid)

    @precondition(lambda self: len(self.rounds) < MAX_ROUNDS)
    @rule()
    def announce(self) -> None:
        answer = self.world.announce()
        assert answer.status_code == 201, answer.text
        self.rounds.append(answer.json()["id"])

    @precondition(lambda self: self.rounds)
    @rule(which=some_round, deed=st.sampled_from(["open", "close", "cancel"]))
    def change(self, which: int, deed: str) -> None:
        round_id = self._round(which)
        state = self._row(round_id).state
        allowed = {
            "open": ("draft",),
            "close": ("open",),
            "cancel": ("draft", "open", "closed", "running"),
        }
        answer = self.world.as_operator("POST", f"/v1/rounds/{round_id}/{deed}")
        assert answer.status_code == (200 if state in allowed[deed] else 409), answer.text

    @precondition(lambda self: self.rounds)
    @rule(which=some_round, group=some_group, size=st.integers(1, MAX_SIZE + 1))
    def report(self, which: int, group: int, size: int) -> None:
        round_id = self._round(which)
        expected = {"draft": {404}, "open": {422 if size > MAX_SIZE else 200}}
        state = self._row(round_id).state
        opened = self._row(round_id).opened_at is not None
        answer = self.world.as_group(
            group,
            "PUT",
            f"/v1/rounds/{round_id}/report",
            json=report_body(size=size, word=_secret(group)),
        )
        assert answer.status_code in expected.get(state, {409, 422} if opened else {404})

    @precondition(lambda self: self.rounds)
    @rule(which=some_round, group=some_group)
    def withdraw(self, which: int, group: int) -> None:
        round_id = self._round(which)
        has = self._has_report(round_id, group)
        is_open = self._row(round_id).state == "open"
        answer = self.world.as_group(group, "DELETE", f"/v1/rounds/{round_id}/report")
        assert (answer.status_code == 200) == (has and is_open), answer.text
        assert answer.status_code in (200, 404, 409)

    @precondition(lambda self: self.rounds)
    @rule(which=some_round, deed=st.sampled_from(["cancel", "retry"]))
    def order(self, which: int, deed: str) -> None:
        round_id = self._round(which)
        job, state = self._job(round_id), self._row(round_id).state
        if job is None:
            return
        if deed == "cancel":
            fits = job.status in ("queued", "running")
        else:
            fits = job.status in ("failed", "cancelled") and state == "failed"
        answer = self.world.as_operator("POST", f"/v1/jobs/{job.id}/{deed}")
        assert answer.status_code == (200 if fits else 409), answer.text

    @rule()
    def claim(self) -> None:
        with self.world.database.write() as session:
            held = leases.claim(session, VAULT, "a coordinator", 30, max_attempts=4)
        if held is not None:
            self.claims.append(held)

    @rule()
    def let_time_pass(self) -> None:
        let_leases_expire(self.world.database)

    @precondition(lambda self: self.claims)
    @rule(back=st.integers(0, 2), deed=deeds, paid=payments)
    def write(self, back: int, deed: str, paid: list[float]) -> None:
        """By the last holder, or by one that should know that its time is over."""
        held = self.claims[max(0, len(self.claims) - 1 - back)]
        with self.world.database.read() as session:
            row = session.get_one(JobRow, held.job_id)
        holds = row.fencing_token == held.token and row.status == "running"
        cancelled = deed == "settle" and row.cancel_requested
        try:
            self._write(held, deed, paid)
            refused = None
        except (leases.LeaseLost, leases.CancelRequested) as error:
            refused = type(error)
        if not holds:
            self.reached["writes refused as stale"] += 1
            assert refused is leases.LeaseLost
        else:
            assert refused is (leases.CancelRequested if cancelled else None)
            self.settled += deed == "settle" and refused is None
            self.reached["rounds settled"] += deed == "settle" and refused is None

    @precondition(lambda self: self.settled)
    @rule(
        which=st.integers(0, MAX_ROUNDS * GROUPS - 1),
        deed=st.sampled_from(["payments", "credit-notes", "void", "uncollectible", "open"]),
        amount=st.sampled_from([-500_000, -100_000, 100_000, 250_000, 500_000]),
    )
    def book(self, which: int, deed: str, amount: int) -> None:
        with self.world.database.read() as session:
            ids = session.scalars(select(InvoiceRow.id).order_by(InvoiceRow.id)).all()
        bodies = {"payments": "reference", "credit-notes": "reason"}
        body: dict[str, Any] = {}
        if deed in bodies:
            body = {"json": {"amount_micro_units": amount, bodies[deed]: "as agreed"}}
        path = f"/v1/invoices/{ids[which % len(ids)]}/{deed}"
        answer = self.world.as_operator("POST", path, **body)
        assert answer.status_code in (200, 201, 409, 422), answer.text
        self.reached["deeds about money"] += answer.is_success

    @precondition(lambda self: self.rounds)
    @rule(which=some_round, group=some_group)
    def look(self, which: int, group: int) -> None:
        """A group sees nothing of what another reported, nor another's invoice or receipt."""
        round_id = self._round(which)
        job = self._job(round_id)
        paths = [f"/v1/rounds/{round_id}", f"/v1/rounds/{round_id}/report", "/v1/rounds"]
        paths += ["/v1/jobs", "/v1/models", f"/v1/rounds/{round_id}/outcome"]
        paths += [f"/v1/jobs/{job.id}/events"] if job is not None else []
        for path in paths:
            text = self.world.as_group(group, "GET", path).text
            others = [_secret(other) for other in range(GROUPS) if other != group]
            assert not any(secret in text for secret in others), path
        for path in ("/v1/invoices", "/v1/receipts"):
            for each in self.world.as_group(group, "GET", path).json()["data"]:
                owner = each.get("group_id") or each["body"]["group_id"]
                assert owner == self.world.groups[group]

    def _write(self, held: leases.Claim, deed: str, paid: list[float]) -> None:
        if deed == "settle":
            by_group = dict(zip(self.world.groups, paid, strict=True))
            settle(self.world.database, held, valued(held.round_job, by_group))
            return
        with self.world.database.write() as session:
            if deed == "heartbeat":
                leases.heartbeat(session, held, 30)
            elif deed == "record":
                event = ProgressEvent(type="stage_progress", message="working")
                leases.record(session, held, event)
            elif deed == "start_stage":
                leases.start_stage(session, held, "score")
            elif deed == "release":
                leases.release(session, held, 0, counts=True)
            else:
                leases.fail(session, held, FAILURE)

    def _round(self, which: int) -> str:
        return self.rounds[which % len(self.rounds)]

    def _row(self, round_id: str) -> RoundRow:
        with self.world.database.read() as session:
            return session.get_one(RoundRow, round_id)

    def _job(self, round_id: str) -> JobRow | None:
        with self.world.database.read() as session:
            return session.scalar(select(JobRow).where(JobRow.round_id == round_id))

    def _has_report(self, round_id: str, group: int) -> bool:
        own = (ReportRow.round_id == round_id) & (ReportRow.group_id == self.world.groups[group])
        with self.world.database.read() as session:
            return session.scalar(select(ReportRow.id).where(own)) is not None


def _secret(group: int) -> str:
    return f"onlygroup{group}wantsthis"
