"""A round announces only base models that the operator listed."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support import UploadPrompts, round_body

from api_schemas.errors import InvalidInput
from service.rounds.allowed_models import require_allowed
from service.settings import Settings
from workers import base_models


def _allowed(name: str, *listed: str) -> bool:
    try:
        require_allowed(name, listed)
    except InvalidInput:
        return False
    return True


def test_a_name_is_allowed_as_it_is_listed_and_not_otherwise(tmp_path: Path) -> None:
    assert _allowed("owner/name", "owner/name")
    assert not _allowed("owner/name2", "owner/name")
    assert not _allowed("owner", "owner/name")
    assert not _allowed("tiny-enumerable")


def test_a_listed_folder_allows_what_is_in_it_and_no_way_out(tmp_path: Path) -> None:
    listed, elsewhere = tmp_path / "listed", tmp_path / "listed-not"
    for folder in (listed / "model", elsewhere):
        folder.mkdir(parents=True)
    (listed / "link").symlink_to(elsewhere)
    assert _allowed(str(listed), str(listed))
    assert _allowed(str(listed / "model"), str(listed))
    for name in (elsewhere, listed / ".." / "listed-not", listed / "link", tmp_path):
        assert not _allowed(str(name), str(listed)), name
    assert not _allowed(f"{listed}/\0", str(listed))
    assert not _allowed("listed/model", "listed")


@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M", "/etc", "all-minilm-l6-v2", "."])
def test_a_model_that_is_not_listed_is_neither_read_nor_fetched(
    operator: TestClient,
    upload_prompts: UploadPrompts,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(base_models, "resolve", lambda name: pytest.fail(f"looked for {name}"))
    refused = operator.post("/v1/rounds", json=round_body(upload_prompts(), base_model=name))
    assert (refused.status_code, refused.json()["param"]) == (422, "base_model")
    assert refused.json()["code"] == "unknown_base_model"
    assert "TRUTHTUNE_BASE_MODELS" in refused.json()["detail"]


def test_the_packaged_language_models_are_listed_by_default() -> None:
    assert Settings().base_model_names == ("smollm2-135m-instruct", "tiny-enumerable")
    assert set(Settings().base_model_names) <= set(base_models.BUILT_IN)


def test_the_settings_list_is_split_at_commas() -> None:
    listed = Settings(base_models=" a/b , /models,,")
    assert listed.base_model_names == ("a/b", "/models")
