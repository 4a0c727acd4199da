"""Runs the checks, each on its own: one that fails, or breaks, leaves the others as they are."""

from collections.abc import Callable, Iterator
from functools import partial

from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from api_schemas.errors import TruthtuneError
from service.database import Database
from service.doctor import compute, configuration, data, secrets, storage
from service.doctor.findings import Finding, Installation, Verdict, wrong
from service.settings import Settings, load_settings

Check = Callable[[Installation], Verdict]
RowCheck = Callable[[Installation, Session], Verdict]

_CONNECT_SECONDS = 5
_FIRST: dict[str, Check] = {
    "settings": configuration.settings,
    "environment": configuration.environment,
    "home": configuration.home,
    "key_secret": secrets.key_secret,
    "seal_key": secrets.seal_key,
    "endpoints": secrets.endpoints,
    "database": data.database,
}
_WITH_DATABASE: dict[str, Check] = {"schema": data.schema, "clock": data.clock}
_WITH_SCHEMA: dict[str, RowCheck] = {
    "sealed": secrets.sealed,
    "operator_key": secrets.operator_key,
    "api_key": secrets.api_key,
    "jobs": data.jobs,
    "webhooks": data.webhooks,
}
_LAST: dict[str, Check] = {
    "artifacts": storage.artifacts,
    "disk": storage.disk,
    "ray": compute.ray,
    "room": compute.room,
    "machine": compute.machine,
    "gpu": compute.gpu,
    "port": configuration.port,
    "inference": configuration.inference,
}


def examine_installation() -> Iterator[Finding]:
    """Each finding as soon as it is made; nothing is changed, made or fetched."""
    try:
        settings = load_settings()
    except TruthtuneError as error:
        remedy = "mend that line, or that variable; the rest is examined then"
        yield Finding("settings", wrong(error.message, remedy))
        return
    yield from examine(settings)


def examine(settings: Settings) -> Iterator[Finding]:
    database = Database(_impatient(settings.resolved_database_url))
    subject = Installation(settings, database)
    try:
        answers = False
        for name, check in _FIRST.items():
            yield (found := _found(name, partial(check, subject)))
            answers = name == "database" and found.verdict.status == "ok"
        yield from _of_database(subject, answers)
        for name, check in _LAST.items():
            yield _found(name, partial(check, subject))
    finally:
        database.dispose()
    rounds = settings.base_model_names
    for name in dict.fromkeys((*rounds, *settings.reward_base_model_names)):
        yield _found("base_model", partial(compute.base_model, name, name in rounds))


def _of_database(subject: Installation, answers: bool) -> Iterator[Finding]:
    current = False
    for name, check in _WITH_DATABASE.items():
        if not answers:
            yield Finding(name, Verdict("skipped", "the database does not answer"))
            continue
        yield (found := _found(name, partial(check, subject)))
        current = current or (name == "schema" and found.verdict.status == "ok")
    for name, row_check in _WITH_SCHEMA.items():
        if not current:
            reason = "the schema is another one" if answers else "the database does not answer"
            yield Finding(name, Verdict("skipped", reason))
        else:
            yield _found(name, partial(_in_session, row_check, subject))


def _in_session(check: RowCheck, subject: Installation) -> Verdict:
    with subject.database.read() as session:
        return check(subject, session)


def _found(name: str, check: Callable[[], Verdict]) -> Finding:
    try:
        return Finding(name, check())
    except Exception as error:  # whatever it is, it is a finding too
        message = f"the check itself failed: {type(error).__name__}: {' '.join(str(error).split())}"
        return Finding(name, Verdict("wrong", message, "mend what it names, and run doctor again"))


def _impatient(url: str) -> str:
    """A server that drops packets is found to be away within seconds."""
    made = make_url(url)
    if made.get_backend_name() == "postgresql" and "connect_timeout" not in made.query:
        made = made.update_query_dict({"connect_timeout": str(_CONNECT_SECONDS)})
    return made.render_as_string(hide_password=False)
