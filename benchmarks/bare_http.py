"""What `http_api.py` measures against: FastAPI and SQLAlchemy as their tutorials join them, with
the same SQL in the same database; no keys, groups, limits, checks, seals, logs or metrics.

Run with a database's URL and a port.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, Engine, Insert, UniqueConstraint, create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from api_schemas.ids import new_id
from service.server import uvicorn_options
from service.settings import Settings
from service.tables import JobRow, RoundRow


class _Base(DeclarativeBase):
    pass


class BareReportRow(_Base):
    __tablename__ = "bare_reports"
    __table_args__ = (UniqueConstraint("round_id", "group_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    round_id: Mapped[str]
    group_id: Mapped[str]
    size: Mapped[int]
    reward_model: Mapped[dict[str, Any]] = mapped_column(JSON)
    submitted_at: Mapped[datetime]


class BareJob(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: str
    round_id: str | None
    status: str
    attempts: int
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class BareReportPut(BaseModel):
    size: int
    reward_model: dict[str, Any]


class BareReport(BareReportPut):
    id: str
    round_id: str
    group_id: str
    submitted_at: datetime


def make_engine(url: str) -> Engine:
    """As durable as the service's: SQLite's default is FULL too, and both databases' is to sync."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA busy_timeout=30000")

    return engine


def upsert(engine: Engine, row: dict[str, Any]) -> Insert:
    insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
    changed = {name: row[name] for name in ("size", "reward_model", "submitted_at")}
    keys = ("round_id", "group_id")
    return (
        insert(BareReportRow).values(row).on_conflict_do_update(index_elements=keys, set_=changed)
    )


def make_app(engine: Engine) -> FastAPI:
    app = FastAPI()

    def get_session() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    SessionDep = Annotated[Session, Depends(get_session)]

    @app.get("/jobs/{job_id}")
    def get_job(job_id: str, session: SessionDep) -> BareJob:
        row = session.scalars(select(JobRow).where(JobRow.id == job_id)).one()
        return BareJob.model_validate(row)

    @app.put("/rounds/{round_id}/report")
    def put_report(
        round_id: str,
        body: BareReportPut,
        group_id: Annotated[str, Header(alias="X-Group")],
        session: SessionDep,
    ) -> BareReport:
        session.scalars(select(RoundRow.id).where(RoundRow.id == round_id)).one()
        row = {
            "id": new_id("rep"),
            "round_id": round_id,
            "group_id": group_id,
            "size": body.size,
            "reward_model": body.reward_model,
            "submitted_at": datetime.now(UTC),
        }
        session.execute(upsert(engine, row))
        session.commit()
        return BareReport.model_validate(row)

    return app


def main() -> None:
    url, port = sys.argv[1:]
    engine = make_engine(url)
    _Base.metadata.create_all(engine)
    options = uvicorn_options(Settings(port=int(port)))
    uvicorn.run(make_app(engine), log_level="warning", **options)


if __name__ == "__main__":
    main()
