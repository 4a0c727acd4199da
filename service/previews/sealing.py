"""What the encrypted columns of a preview's row hold."""

from api_schemas.base import Schema
from api_schemas.previews import PreviewResult
from api_schemas.reports import ProbeResult, ReportPut
from api_schemas.reward_models import PinnedInputs
from service.reports.sealing import CheckedReport
from service.tables import PreviewRow
from service.vault import Vault
from workers.artifacts import canonical_json
from workers.sealed_results import new_key, open_result


class SealedPreview(Schema):
    """What was asked, and the key that the result is sealed with by the worker that finds it."""

    report: ReportPut
    pinned: PinnedInputs
    probe: ProbeResult | None
    result_key: str


def to_seal(checked: CheckedReport) -> SealedPreview:
    return SealedPreview(
        report=checked.body, pinned=checked.pinned, probe=checked.probe, result_key=new_key()
    )


def seal(vault: Vault, preview_id: str, group_id: str, content: SealedPreview) -> bytes:
    data = canonical_json(content.model_dump(mode="json"))
    return vault.seal(data, "preview", preview_id, group_id)


def unseal(vault: Vault, row: PreviewRow) -> SealedPreview:
    """Raises DamagedSeal unless it is what was sealed for this preview and group."""
    data = vault.open(row.sealed, "preview", row.id, row.group_id)
    return SealedPreview.model_validate_json(data)


def unseal_result(vault: Vault, row: PreviewRow) -> PreviewResult | None:
    """None before there is any. Raises DamagedSeal or DamagedResult."""
    if row.sealed_result is None:
        return None
    key = unseal(vault, row).result_key
    return PreviewResult.model_validate_json(open_result(key, row.id, row.sealed_result))
