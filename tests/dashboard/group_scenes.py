"""A group's rounds in every state, its receipts, and models that answer without being run."""

from collections.abc import AsyncGenerator
from typing import Any

from scenes import queue_job, settle_next
from site_scenes import Site
from support import round_body, upload_jsonl

from service.dependencies import AppState
from workers.serving.requests import End, GenerationRequest, Text


def open_round(site: Site, **changes: Any) -> str:
    """The id of a new open round on the tiny model."""
    with site.api() as api:
        prompts = upload_jsonl(api, "prompts", [{"prompt": "red sun"}])["id"]  # type: ignore[arg-type]
        made = api.post("/v1/rounds", json=round_body(prompts, **changes)).json()
        opened = api.post(f"/v1/rounds/{made['id']}/open")
        assert opened.status_code == 200, opened.text
        return str(made["id"])


def settled(site: Site, group_ids: list[str], payments: list[float], **changes: Any) -> str:
    """The id of a settled round of these groups."""
    queue_job(site.state.database, group_ids, **changes)
    paid = dict(zip(group_ids, payments, strict=True))
    return settle_next(site.state, paid).job.round_id


def receipt_of(site: Site, key: str, round_id: str) -> dict[str, Any]:
    with site.api(key) as api:
        (invoice,) = api.get("/v1/invoices", params={"round_id": round_id}).json()["data"]
        return dict(api.get(f"/v1/receipts/{invoice['receipt_id']}").json())


async def written(_state: AppState, asked: GenerationRequest) -> AsyncGenerator[Text | End, None]:
    """In place of the inference process: each model says who it is, in two pieces."""
    yield Text(text="the initial " if asked.model.adapter is None else "the tuned ")
    yield Text(text=f"model at {asked.temperature:g}")
    yield End(finish_reason="length", prompt_tokens=3, completion_tokens=asked.max_tokens)
