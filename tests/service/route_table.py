"""Every route × role × state of the round: the status that a faultless request is answered with.

A cell is one status, or one for each state. Of the roles the table names the operator, the group
whose things are asked for (`own`), and another group; the others follow from these.
"""

from dataclasses import dataclass

from route_scenes import STATES

from api_schemas.rounds import RoundState

ROLES = ("operator", "own", "other", "read", "expired", "none")
"""`read` and `expired` are further keys of the own group; `none` sends no key."""

Cell = dict[RoundState, int]


@dataclass(frozen=True)
class Line:
    operator: Cell
    own: Cell
    other: Cell
    is_public: bool = False
    takes_keys: bool = False
    """Of a public route: a key that is sent must be good, for it may be told more."""

    def expected(self, method: str, role: str, state: RoundState) -> int:
        if self.is_public and not (self.takes_keys and role == "expired"):
            return self.operator[state]
        if role in ("none", "expired"):
            return 401
        if role == "read":
            return self.own[state] if method == "GET" else 403
        cell: Cell = getattr(self, role)
        return cell[state]


def _cell(status: int | Cell) -> Cell:
    return status if isinstance(status, dict) else dict.fromkeys(STATES, status)


def but(otherwise: int, **in_state: int) -> Cell:
    """One status but in the states named."""
    return _cell(otherwise) | in_state  # type: ignore[operator]


def each(operator: int | Cell, own: int | Cell, other: int | Cell) -> Line:
    return Line(_cell(operator), _cell(own), _cell(other))


def public(status: int, *, takes_keys: bool = False) -> Line:
    cell = _cell(status)
    return Line(cell, cell, cell, is_public=True, takes_keys=takes_keys)


def operators(status: int | Cell) -> Line:
    """A group is refused, whatever there is."""
    return each(status, 403, 403)


def owned_by_operator(status: int | Cell) -> Line:
    """A group is not told that there is such a thing."""
    return each(status, 404, 404)


def owners(status: int | Cell) -> Line:
    """Nobody else, the operator included, is told that there is such a thing."""
    return each(404, status, 404)


def all_keys(status: int | Cell) -> Line:
    return each(status, status, status)


OPENED = but(200, draft=404)
HAS_PREVIEW = but(200, draft=404)
HAS_JOB = but(200, draft=404, open=404)
SETTLED = but(404, settled=200)
SHOWN_ONCE_SETTLED = each(but(409, settled=200), but(409, draft=404, settled=200), 404)
JOB_IS_THE_OPERATORS = but(403, draft=404, open=404)
ABOUT_INVOICE = each(SETTLED, SETTLED, 404)

TABLE: dict[str, Line] = {
    "GET /healthz": public(200),
    "GET /readyz": public(200),
    "GET /metrics": public(200, takes_keys=True),
    "GET /v1/keys/signing": public(200),
    "POST /v1/keys/signing/rotate": operators(201),
    "POST /v1/groups": operators(201),
    "GET /v1/groups": operators(200),
    "GET /v1/groups/{group_id}": each(200, 200, 404),
    "POST /v1/keys": operators(201),
    "GET /v1/keys": operators(200),
    "GET /v1/keys/current": all_keys(200),
    "GET /v1/keys/{key_id}": operators(200),
    "DELETE /v1/keys/{key_id}": operators(200),
    "POST /v1/keys/{key_id}/rotate": each(201, 201, 404),
    "GET /v1/audit-log": operators(200),
    "POST /v1/files": all_keys(201),
    "GET /v1/files": all_keys(200),
    "GET /v1/files/{file_id}": owners(200),
    "GET /v1/files/{file_id}/content": owners(200),
    # A report may name the file as long as its round may be computed.
    "DELETE /v1/files/{file_id}": owners(but(409, draft=200, settled=200, cancelled=200)),
    "POST /v1/rounds": operators(201),
    "GET /v1/rounds": all_keys(200),
    "GET /v1/rounds/{round_id}": each(200, OPENED, OPENED),
    "POST /v1/rounds/{round_id}/open": operators(but(409, draft=200)),
    "POST /v1/rounds/{round_id}/close": operators(but(409, open=200)),
    "POST /v1/rounds/{round_id}/cancel": operators(
        but(409, draft=200, open=200, closed=200, running=200)
    ),
    "PUT /v1/rounds/{round_id}/report": each(
        403, but(409, draft=404, open=200), but(409, draft=404, open=200)
    ),
    "GET /v1/rounds/{round_id}/report": each(403, OPENED, 404),
    "DELETE /v1/rounds/{round_id}/report": each(
        403, but(409, draft=404, open=200), but(409, draft=404, open=404)
    ),
    "POST /v1/rounds/{round_id}/report/preview": each(
        403, but(409, draft=404, open=202), but(409, draft=404, open=202)
    ),
    "GET /v1/rounds/{round_id}/report/previews": each(403, OPENED, OPENED),
    "GET /v1/report-previews/{preview_id}": each(403, HAS_PREVIEW, 404),
    # What waits in the queue must be cancelled before.
    "DELETE /v1/report-previews/{preview_id}": each(403, but(200, draft=404, open=409), 404),
    "POST /v1/rounds/{round_id}/quote": operators(but(409, draft=202, open=202, closed=202)),
    "GET /v1/rounds/{round_id}/quotes": operators(200),
    "GET /v1/quotes/{quote_id}": operators(200),
    "POST /v1/rounds/{round_id}/reports/unseal": operators(but(200, draft=409, open=409)),
    "GET /v1/rounds/{round_id}/outcome": SHOWN_ONCE_SETTLED,
    "GET /v1/rounds/{round_id}/certificate": SHOWN_ONCE_SETTLED,
    "GET /v1/rounds/{round_id}/pool": SHOWN_ONCE_SETTLED,
    "POST /v1/rounds/{round_id}/audits": operators(but(409, settled=201)),
    "GET /v1/rounds/{round_id}/audits": operators(200),
    "GET /v1/audits/{audit_id}": operators(SETTLED),
    "GET /v1/audits/{audit_id}/plot.svg": operators(SETTLED),
    "POST /v1/reward-models": all_keys(201),
    "GET /v1/reward-models": all_keys(200),
    "GET /v1/reward-models/{reward_model_id}": owners(200),
    "GET /v1/reward-models/{reward_model_id}/report_card.svg": owners(200),
    "GET /v1/reward-models/{reward_model_id}/content": owners(200),
    "POST /v1/reward-models/{reward_model_id}/rerankings": owners(201),
    "GET /v1/reward-models/{reward_model_id}/rerankings": owners(200),
    "GET /v1/rerankings/{reranking_id}": owners(200),
    "POST /v1/corpora": operators(201),
    "GET /v1/corpora": operators(200),
    "GET /v1/corpora/{corpus_id}": operators(200),
    "POST /v1/corpora/{corpus_id}/resume": operators(409),  # it is made
    "GET /v1/corpora/{corpus_id}/lines": operators(200),
    "GET /v1/corpora/{corpus_id}/holdout": operators(200),
    "GET /v1/corpora/{corpus_id}/calls": operators(200),
    "GET /v1/corpora/{corpus_id}/history": operators(200),
    "GET /v1/corpora/{corpus_id}/plot": operators(200),
    "POST /v1/base-models": operators(201),
    "GET /v1/base-models": operators(200),
    # Groups see those that an opened round starts from.
    "GET /v1/base-models/{base_model_id}": owned_by_operator(200),
    "GET /v1/base-models/{base_model_id}/plot": owned_by_operator(200),
    "GET /v1/base-models/{base_model_id}/checkpoints/{step}/{name}": owned_by_operator(200),
    "POST /v1/evaluations": operators(201),
    "GET /v1/evaluations": operators(200),
    "GET /v1/evaluations/{evaluation_id}": operators(200),
    "POST /v1/evaluations/{evaluation_id}/resume": operators(409),  # it is made
    "GET /v1/evaluations/{evaluation_id}/answers": operators(200),
    "GET /v1/evaluations/{evaluation_id}/calls": operators(200),
    "GET /v1/jobs": all_keys(200),
    "GET /v1/jobs/{job_id}": all_keys(HAS_JOB),
    "GET /v1/jobs/{job_id}/events": all_keys(HAS_JOB),
    "GET /v1/jobs/{job_id}/events/stream": all_keys(HAS_JOB),
    "GET /v1/jobs/{job_id}/plots/reward_drift.svg": operators(
        but(409, draft=404, open=404, settled=200)
    ),
    "POST /v1/jobs/{job_id}/cancel": each(
        but(409, draft=404, open=404, closed=200, running=200),
        JOB_IS_THE_OPERATORS,
        JOB_IS_THE_OPERATORS,
    ),
    "POST /v1/jobs/{job_id}/retry": each(
        but(409, draft=404, open=404, failed=200), JOB_IS_THE_OPERATORS, JOB_IS_THE_OPERATORS
    ),
    "GET /v1/models": all_keys(200),
    "GET /v1/models/{model_id}": each(SETTLED, SETTLED, 404),
    "GET /v1/models/{model_id}/files/{name}": each(SETTLED, SETTLED, 404),
    "GET /v1/models/{model_id}/adapter.zip": each(SETTLED, SETTLED, 404),
    # Permitted, but no inference process runs.
    "POST /v1/chat/completions": each(but(404, settled=503), but(404, settled=503), 404),
    "POST /v1/completions": each(but(404, settled=503), but(404, settled=503), 404),
    "GET /v1/invoices": all_keys(200),
    "GET /v1/invoices/{invoice_id}": ABOUT_INVOICE,
    "POST /v1/invoices/{invoice_id}/open": operators(but(404, settled=409)),  # it is already
    "POST /v1/invoices/{invoice_id}/void": operators(SETTLED),
    "POST /v1/invoices/{invoice_id}/uncollectible": operators(SETTLED),
    "POST /v1/invoices/{invoice_id}/payments": operators(but(404, settled=201)),
    "GET /v1/invoices/{invoice_id}/payments": ABOUT_INVOICE,
    "POST /v1/invoices/{invoice_id}/credit-notes": operators(but(404, settled=201)),
    "GET /v1/invoices/{invoice_id}/credit-notes": ABOUT_INVOICE,
    "GET /v1/ledger": operators(200),
    "GET /v1/ledger/postings": operators(200),
    "GET /v1/receipts": all_keys(200),
    "GET /v1/receipts/{receipt_id}": ABOUT_INVOICE,
    "POST /v1/webhook-endpoints": all_keys(201),
    "GET /v1/webhook-endpoints": all_keys(200),
    "GET /v1/webhook-endpoints/{webhook_endpoint_id}": owners(200),
    "PATCH /v1/webhook-endpoints/{webhook_endpoint_id}": owners(200),
    "DELETE /v1/webhook-endpoints/{webhook_endpoint_id}": owners(200),
    "POST /v1/webhook-endpoints/{webhook_endpoint_id}/rotate-key": owners(200),
    "POST /v1/webhook-endpoints/{webhook_endpoint_id}/test": owners(201),
    "GET /v1/webhook-endpoints/{webhook_endpoint_id}/messages": owners(200),
    "POST /v1/webhook-messages/{webhook_message_id}/replay": owners(200),
}
