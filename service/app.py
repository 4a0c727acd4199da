"""The application: routes, middleware, and what lives as long as it runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

import service.audit_log.endpoints
import service.audits.endpoints
import service.corpora.endpoints
import service.dashboard
import service.evaluations.endpoints
import service.files.endpoints
import service.fine_tuned_models.endpoints
import service.groups.endpoints
import service.health
import service.jobs.endpoints
import service.ledger.endpoints
import service.models.endpoints
import service.outcomes.endpoints
import service.playground.endpoints
import service.previews.endpoints
import service.quotes.endpoints
import service.reports.endpoints
import service.reports.unsealing
import service.reward_models.endpoints
import service.rounds.endpoints
import service.signing_endpoints
import service.webhooks.endpoints
from migrations import require_current_schema
from service import errors, headers, limits, logs, metrics, traces
from service.auth import load_key_secret
from service.dashboard import pages
from service.database import Database
from service.dependencies import AppState
from service.document import documented
from service.rate_limits import RateLimits
from service.settings import Settings
from service.vault import load_vault
from workers.artifacts import ArtifactStore
from workers.tracing import Tracing

_DESCRIPTION = """
Fine-tune one model for several groups, and make telling the truth the best thing each can do.

The operator announces a round; every group reports its size and its reward model; the round closes,
a job tunes the model and computes payments; each group gets the model and an invoice.
Authenticate with `Authorization: Bearer tt_…`. Errors are RFC 9457 problem documents.
"""
_ROUTERS = (
    service.signing_endpoints.router,
    service.groups.endpoints.router,
    service.files.endpoints.router,
    service.rounds.endpoints.router,
    service.reports.endpoints.router,
    service.reports.unsealing.router,
    service.previews.endpoints.router,
    service.quotes.endpoints.router,
    service.reward_models.endpoints.router,
    service.corpora.endpoints.router,
    service.fine_tuned_models.endpoints.router,
    service.evaluations.endpoints.router,
    service.jobs.endpoints.router,
    service.models.endpoints.router,
    service.playground.endpoints.router,
    service.outcomes.endpoints.router,
    service.audits.endpoints.router,
    service.ledger.endpoints.router,
    service.webhooks.endpoints.router,
    service.audit_log.endpoints.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API. Its document, `.openapi()`, needs no database; starting it does.

    The start raises SchemaOutOfDate, naming the command to run, unless the schema is current.
    Raises Unavailable if traces are asked for and can't be sent.
    """
    settings = settings or Settings()
    logs.configure()
    app = FastAPI(
        title="Truthtune",
        description=_DESCRIPTION,
        version=version("truthtune"),
        lifespan=_lifespan(settings),
        generate_unique_id_function=_operation_id,
        # FastAPI's own spans, counts and logs would tell of reports to whoever sets a provider.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.metrics = metrics.RequestMetrics()
    app.state.tracing = Tracing(settings.otlp_endpoint, "truthtune-api")
    errors.install(app)
    pages.install(app)
    _add_routes(app)
    _add_middleware(app, settings)
    setattr(app, "openapi", documented(app))  # noqa: B010 (mypy forbids assigning a method)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.home.mkdir(parents=True, exist_ok=True)
        database = Database(settings.resolved_database_url, limits.STATEMENT_SECONDS)
        try:
            await run_in_threadpool(require_current_schema, database)
            app.state.truthtune = AppState(
                settings=settings,
                database=database,
                artifacts=ArtifactStore(settings.resolved_artifacts_url),
                key_secret=load_key_secret(settings),
                vault=load_vault(settings),
                rate_limits=RateLimits(settings),
            )
            yield
        finally:
            database.dispose()
            await run_in_threadpool(app.state.tracing.close)

    return lifespan


def _add_routes(app: FastAPI) -> None:
    failures = errors.problem_responses(400, 401, 403, 408, 413, 422, 429)
    for router in _ROUTERS:  # each by itself: of routers within another FastAPI asks twice
        app.include_router(router, prefix="/v1", responses=failures)
    service.dashboard.add_to(app)
    app.include_router(service.health.router)
    app.include_router(metrics.router)


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last one added sees a request first and its response last."""
    upload_bytes = settings.max_upload_bytes + limits.MULTIPART_BYTES
    app.add_middleware(limits.HandlingLimit)
    takers = ("/v1/files", "/dashboard/rounds/new", "/dashboard/reward-models")
    by_path = dict.fromkeys(takers, upload_bytes)
    app.add_middleware(limits.BodyLimit, by_path=by_path)
    templates = metrics.route_templates(app)
    if settings.otlp_endpoint is not None:
        app.add_middleware(traces.Traced, tracing=app.state.tracing, templates=templates)
    app.add_middleware(metrics.Measured, metrics=app.state.metrics, templates=templates)
    app.add_middleware(logs.RequestLog)
    app.add_middleware(headers.ResponseHeaders)


def _operation_id(route: APIRoute) -> str:
    return route.name
