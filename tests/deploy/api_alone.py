"""A program: the API takes a round and a report, with the packages of its image and no others.

The arguments are a folder to work in, and the distributions that there are. What another installed
distribution holds can't be imported, as if it weren't there.
"""

import asyncio
import importlib.metadata
import os
import re
import sys
from importlib.machinery import ModuleSpec
from typing import Any

FEATURES = [
    {"type": "keywords", "words": ["sun"]},
    {"type": "regex", "pattern": "r.d"},
    {"type": "length", "target_words": 3},
    {"type": "readability", "index": "lix"},
    {"type": "sentiment"},
    {"type": "profanity"},
]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Absent:
    """Finds nothing, and lets nobody else find, modules of other distributions."""

    def __init__(self, installed: set[str]):
        owners = importlib.metadata.packages_distributions()
        self._hidden = {
            module
            for module, distributions in owners.items()
            if not installed & {canonical(each) for each in distributions}
        }

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name.partition(".")[0] in self._hidden:
            raise ModuleNotFoundError(f"the image has no package with {name}", name=name)
        return None


async def serve(key: str) -> None:
    import httpx

    from service.app import create_app

    app = create_app()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/dashboard/sign-in")).status_code == 200
        client.headers["Authorization"] = f"Bearer {key}"
        await take_a_report(client)


async def take_a_report(client: Any) -> None:
    async def post(path: str, **content: Any) -> dict[str, Any]:
        answer = await client.post(f"/v1{path}", **content)
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    prompts = {"file": ("prompts.jsonl", b'{"prompt": "red sun"}\n')}
    file = await post("/files", files=prompts, data={"purpose": "prompts"})
    announcement = {
        "name": "With no torch here",
        "base_model": "tiny-enumerable",
        "prompts_file_id": file["id"],
        "pool": {"method": "enumerate"},
        "generation": {"max_new_tokens": 3},
        "regularizer": {"type": "kl", "coefficient": 2.0},
        "max_group_size": 10,
        "price_per_unit_micro_units": 1,
    }
    group = await post("/groups", json={"name": "gardeners"})
    theirs = await post("/keys", json={"scope": "group", "group_id": group["id"], "name": ""})
    round_ = await post("/rounds", json=announcement)
    await post(f"/rounds/{round_['id']}/open")
    client.headers["Authorization"] = f"Bearer {theirs['secret']}"
    report = {"size": 3, "reward_model": {"type": "lexical", "features": FEATURES}}
    taken = await client.put(f"/v1/rounds/{round_['id']}/report", json=report)
    assert taken.status_code == 200, taken.text
    print("taken:", taken.json()["probe"]["samples"], "scores")


def main(folder: str, *installed: str) -> None:
    sys.meta_path.insert(0, Absent(set(installed)))  # type: ignore[arg-type]
    os.environ["TRUTHTUNE_HOME"] = os.environ["TRUTHTUNE_MODEL_CACHE"] = folder
    for absent in ("torch", "ray", "transformers", "peft", "lightgbm"):
        try:
            __import__(absent)
        except ModuleNotFoundError:
            continue
        raise AssertionError(f"{absent} is among what the API's extras require")
    asyncio.run(serve(operators_key()))


def operators_key() -> str:
    """Makes the database, too."""
    from datetime import UTC, datetime

    import migrations
    from service.auth import hmac_of, load_key_secret, new_secret
    from service.database import Database
    from service.groups import repository
    from service.settings import Settings
    from service.vault import load_vault

    settings = Settings()
    database = Database(settings.resolved_database_url)
    migrations.upgrade(database, vault=load_vault(settings))
    key = new_secret("operator")
    with database.write() as session:
        hashed = hmac_of(key, load_key_secret(settings))
        repository.add_key(session, "operator", None, "", hashed, datetime.now(UTC))
    database.dispose()
    return key


if __name__ == "__main__":
    main(*sys.argv[1:])
