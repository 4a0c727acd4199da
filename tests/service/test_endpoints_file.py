"""The operator's list of endpoints: read with errors that name file, table and field, its keys
where endpoints are asked, and who may ask what."""

from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from doctor_scenes import assert_ok, assert_wrong, changed, local_installation

from api_schemas.errors import InvalidInput
from api_schemas.language_models import EndpointAccess, EndpointModel, LocalModel
from service import coordinator
from service.doctor import secrets
from service.endpoints_file import EndpointList
from service.settings import Settings

KEY = "sk-the-key-that-nobody-may-see"
TABLE = """
[teacher]
url = "https://models.example/v1"
models = ["large", "small"]
key_file = "teacher.key"
prompt_price = 400_000
completion_price = 1_600_000
currency = "USD"

[own_server]
url = "http://127.0.0.1:8000/v1"
models = ["mine"]
concurrency = 32
groups_may_use = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "teacher.key").write_text(f"{KEY}\n")
    (tmp_path / "teacher.key").chmod(0o600)
    path = tmp_path / "endpoints.toml"
    path.write_text(TABLE)
    return path


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(InvalidInput) as raised:
        EndpointList.read(path).with_keys()
    assert raised.value.param == "TRUTHTUNE_ENDPOINTS"
    assert str(path) in raised.value.message
    assert KEY not in raised.value.message
    return raised.value.message


def test_without_a_file_there_are_none() -> None:
    found = Settings().endpoint_list
    assert (found.path, found.with_keys()) == (None, ())


def test_a_file_says_what_may_be_asked_and_where_the_key_is(file: Path) -> None:
    found = Settings(endpoints=file).endpoint_list
    teacher, own = found.with_keys()
    assert teacher == EndpointAccess(
        name="teacher",
        url="https://models.example/v1",
        key=KEY,
        models=["large", "small"],
        prompt_price=400_000,
        completion_price=1_600_000,
        currency="USD",
    )
    assert (own.key, own.concurrency, own.groups_may_use) == (None, 32, True)
    assert KEY not in f"{found!r} {teacher!r} {teacher}"


def test_a_list_knows_no_keys_before_they_are_asked_for(file: Path) -> None:
    (file.parent / "teacher.key").unlink()
    found = Settings(endpoints=file).endpoint_list
    asked = found.require(EndpointModel(type="endpoint", endpoint="teacher", model="small"), "x")
    assert asked.key is None
    with pytest.raises(InvalidInput, match=r"\[teacher\] key_file: .*teacher.key: No such file"):
        found.with_keys()


def test_a_key_may_be_a_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TABLE.replace('key_file = "teacher.key"', 'key_env = "TEACHERS_KEY"')
    assert "the variable TEACHERS_KEY is empty or not set" in refusal(file, text)
    monkeypatch.setenv("TEACHERS_KEY", KEY)
    assert EndpointList.read(file).with_keys()[0].key == KEY


@pytest.mark.parametrize("key", ["", "\n", "two\nlines", "spaced out", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused(file: Path, key: str) -> None:
    (file.parent / "teacher.key").write_text(key)
    message = refusal(file, TABLE)
    assert "[teacher] key_file" in message
    assert not key.strip() or key not in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[teacher]", "[teacher"), "it is not TOML"),
        (("[teacher]", '["Big Teacher"]'), "[Big Teacher]: a name has small letters"),
        (('key_file = "teacher.key"', f'key = "{KEY}"'), "[teacher] key: a key never stands"),
        (('key_file = "teacher.key"', f'api_key = "{KEY}"'), "[teacher] api_key: a key never"),
        (
            ('key_file = "teacher.key"', 'key_file = "a"\nkey_env = "B"'),
            "[teacher] key_file: give it or key_env, not both",
        ),
        (('url = "https://models.example/v1"', ""), "[teacher] url: Field required"),
        (('"https://models', f'"https://user:{KEY}@models'), "[teacher] url: "),
        (('"https://models', '"ftp://models'), "[teacher] url: "),
        (('models = ["large", "small"]', "models = []"), "[teacher] models: "),
        (('models = ["large", "small"]', 'models = [""]'), "[teacher] models: a name has"),
        (("concurrency = 32", "concurrency = 0"), "[own_server] concurrency: "),
        (("concurrency = 32", "concurency = 4"), "[own_server] concurency: Extra inputs"),
        (("concurrency = 32", "attempts = 21"), "[own_server] attempts: "),
        (("concurrency = 32", "timeout_seconds = 0"), "[own_server] timeout_seconds: "),
        (('currency = "USD"', ""), "[teacher] currency: a price needs one"),
        (('currency = "USD"', 'currency = "dollars"'), "[teacher] currency: "),
        (("[teacher]", "name = 3\n[teacher]"), "name is no table"),
        (("concurrency = 32", 'currency = "USD"'), "[own_server] currency: give prompt_price"),
        (("concurrency = 32", "key_missing = true"), "[own_server] key_missing: no field"),
        (("concurrency = 32", 'max_tokens_field = "n"'), "[own_server] max_tokens_field: "),
        (("concurrency = 32", 'name = "x"'), "[own_server] name: the table's own name"),
    ],
)
def test_what_is_wrong_is_named_by_file_table_and_field(
    file: Path, change: tuple[str, str], words: str
) -> None:
    assert change[0] in TABLE
    assert words in refusal(file, TABLE.replace(*change, 1))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.toml: it can't be read: No such file"):
        EndpointList.read(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("endpoint", "model", "by_group", "param", "words"),
    [
        ("teacher", "large", False, None, ""),
        ("own_server", "mine", True, None, ""),
        ("pupil", "large", False, "judge.endpoint", "'pupil' is none of the endpoints here: teach"),
        ("teacher", "huge", False, "judge.model", "'huge' is none of the models"),
        ("teacher", "large", True, "judge.endpoint", "that groups may use here: own_server"),
    ],
)
def test_only_what_is_listed_may_be_asked_for(
    file: Path, endpoint: str, model: str, by_group: bool, param: str | None, words: str
) -> None:
    spec = EndpointModel(type="endpoint", endpoint=endpoint, model=model)
    found = EndpointList.read(file)
    if param is None:
        assert found.require(spec, "judge", by_group=by_group).name == endpoint
        return
    with pytest.raises(InvalidInput) as raised:
        found.require(spec, "judge", by_group=by_group)
    assert (raised.value.code, raised.value.param) == ("unknown_endpoint", param)
    assert words in raised.value.message


def test_a_local_model_is_no_endpoints_business() -> None:
    assert EndpointList().require(LocalModel(type="local", base_model="x"), "judge") is None
    with pytest.raises(InvalidInput, match="there are none"):
        EndpointList().require(EndpointModel(type="endpoint", endpoint="a", model="b"), "judge")


def test_a_coordinator_does_not_start_without_a_key_that_is_listed(
    file: Path, tmp_path: Path
) -> None:
    (file.parent / "teacher.key").unlink()
    with pytest.raises(InvalidInput, match=r"\[teacher\] key_file"):
        coordinator.run(Settings(home=tmp_path / "home", endpoints=file))
    assert not (tmp_path / "home").exists()


def test_the_doctor_reads_the_list_and_its_keys_and_asks_nobody(file: Path, tmp_path: Path) -> None:
    local = local_installation(tmp_path)
    assert_ok(secrets.endpoints(local))
    listed: dict[str, Any] = {"endpoints": file}
    assert_ok(secrets.endpoints(changed(local, **listed)))
    key = tmp_path / "teacher.key"
    key.chmod(0o644)
    assert_wrong(secrets.endpoints(changed(local, **listed)), f"chmod 600 {key}")
    key.unlink()
    found = secrets.endpoints(changed(local, **listed))
    assert_wrong(found, "[teacher] key_file", str(key), f"mend {file}")
    file.write_text("[teacher")
    assert_wrong(secrets.endpoints(changed(local, **listed)), "it is not TOML")


def test_the_doctor_warns_of_a_key_that_travels_open(file: Path, tmp_path: Path) -> None:
    local = local_installation(tmp_path)
    file.write_text(TABLE.replace("https://models.example", "http://models.example"))
    found = secrets.endpoints(changed(local, endpoints=file))
    assert_wrong(found, "[teacher] sends its key unencrypted", status="warning")
    file.write_text(TABLE.replace("https://models.example", "http://localhost:99"))
    assert_ok(secrets.endpoints(changed(local, endpoints=file)))


def test_a_running_service_leaves_alone_only_the_endpoint_whose_key_is_gone(file: Path) -> None:
    listed = EndpointList.read(file)
    (file.parent / "teacher.key").unlink()
    with structlog.testing.capture_logs() as logs:
        teacher, own = listed.with_keys_there_are()
    assert (teacher.name, teacher.key, teacher.key_missing) == ("teacher", None, True)
    assert (own.name, own.key_missing) == ("own_server", False)
    (told,) = logs
    assert (told["event"], told["log_level"]) == ("endpoint_key_missing", "error")
    assert "teacher.key" in told["reason"]


def test_a_cluster_is_made_though_a_key_is_gone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent / "teacher.key").unlink()
    monkeypatch.setattr("workers.cluster.Cluster", lambda *_, endpoints, **__: endpoints)
    endpoints = coordinator._ray_cluster(Settings(endpoints=file))
    assert [each.key_missing for each in endpoints] == [True, False]
