"""A real API and a real inference process over one home, with a model to ask."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers
from openai import OpenAI
from peft import LoraConfig, get_peft_model
from scenes import claim, queue_job, settle, valued
from served_app import serve_app
from support import SEAL_KEY, add_key

from api_schemas.models import ModelFile
from service.app import create_app
from service.dependencies import AppState
from service.groups import repository
from service.models.archive import build_archive
from service.playground import channel
from service.settings import Settings
from workers import base_models

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Served:
    """`member` took part in the round; `outsider` did not. The adapter lies in `folder`."""

    url: str
    keys: dict[str, str]
    model_id: str
    folder: Path

    def client(self, who: str = "member") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.keys[who])


@contextmanager
def running(template: Path, home: Path, base_model: str, at_once: int = 8) -> Iterator[Served]:
    """API and inference process over one home, and a settled round with a random adapter."""
    (home / "truthtune.db").write_bytes(template.read_bytes())
    own = {"TRUTHTUNE_HOME": str(home), "TRUTHTUNE_INFERENCE_CONCURRENCY": str(at_once)}
    environment = os.environ | own
    command = [sys.executable, "-m", "service.cli", "inference"]
    settings = Settings(home=home, seal_key=SEAL_KEY, port=0)
    with (home / "inference.log").open("wb") as log, _api(settings) as (url, state):
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            _until_listening(process, channel.socket_path(settings))
            yield _set_scene(url, state, home / "adapter", base_model)
        finally:
            process.terminate()
            process.wait(60)


def _until_listening(process: subprocess.Popen[bytes], path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        while probe.connect_ex(str(path)):
            assert process.poll() is None, "the inference process ended"
            time.sleep(0.05)


@contextmanager
def _api(settings: Settings) -> Iterator[tuple[str, AppState]]:
    app = create_app(settings)
    with serve_app(app, settings) as port:
        yield f"http://127.0.0.1:{port}", app.state.truthtune


def _set_scene(url: str, state: AppState, folder: Path, base_model: str) -> Served:
    with state.database.write() as session:
        groups = {
            name: repository.add_group(session, name, datetime.now(UTC)).id
            for name in ("member", "outsider")
        }
    keys = {name: add_key(state, "group", id_) for name, id_ in groups.items()}
    revision = base_models.resolve(base_model).revision
    queue_job(
        state.database,
        [groups["member"]],
        base_model=base_model,
        base_model_revision=revision,
    )
    _save_adapter(folder, base_model)
    files = [
        ModelFile(
            name=file.name,
            bytes=file.stat().st_size,
            sha256=state.artifacts.put(file.read_bytes()),
        )
        for file in sorted(folder.glob("adapter_*"))
    ]
    held = claim(state.database)
    settle(
        state.database, held, valued(held.job, files=files), build_archive(state.artifacts, files)
    )
    (model,) = OpenAI(base_url=f"{url}/v1", api_key=keys["member"]).models.list().data
    return Served(url, keys, model.id, folder)


def _save_adapter(folder: Path, base_model: str) -> None:
    """Random, and strong enough to change what the model says."""
    torch.manual_seed(1)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base_models.prepare(base_model))
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(plain, config).save_pretrained(folder)
