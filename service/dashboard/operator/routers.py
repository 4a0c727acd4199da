"""All routes of the operator's pages but those of the list of rounds."""

from service.dashboard.operator import (
    audit_log,
    audits,
    groups,
    initial_models,
    invoices,
    jobs,
    ledger,
    models,
    outcomes,
    quotes,
    round_deeds,
)

ROUTERS = (
    round_deeds.router,
    quotes.router,
    jobs.router,
    outcomes.router,
    audits.router,
    invoices.router,
    ledger.router,
    groups.router,
    audit_log.router,
    models.router,
    initial_models.router,
)
