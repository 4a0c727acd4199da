"""Settings, read once from the environment (`TRUTHTUNE_…`), else from the settings file. Each
default has its reason."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.endpoints_file import EndpointList
from service.settings_file import FileSource, read_settings


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TRUTHTUNE_", frozen=True, extra="ignore")

    home: Path = Field(
        Path(".truthtune"),
        description="Folder of everything local: database, artifacts, key secret. "
        "Beside the working directory, so that two checkouts don't share state.",
    )
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL; default SQLite in `home`, which needs no server. "
        "PostgreSQL: `postgresql+psycopg://user@host/name`.",
    )
    artifacts_url: str | None = Field(
        None,
        description="Folder or fsspec URL (`s3://…`) of the artifact store; default in `home`. "
        "On a cluster every Ray node must reach it.",
    )
    key_secret: str | None = Field(
        None,
        min_length=32,
        description="Secret of the API keys' HMAC; default: made once in `home`, mode 0600.",
    )
    seal_key: str | None = Field(
        None,
        repr=False,
        description="32 bytes in base 64 that reports and private keys are encrypted with; "
        "default: made once in `home`, mode 0600. Whoever loses it loses every report.",
    )
    host: str = Field("127.0.0.1", description="Loopback, so that a first start exposes nothing.")
    port: int = Field(8321, ge=0, le=65535, description="0 takes a free port.")
    max_upload_bytes: int = Field(
        256 * 2**20, ge=1, description="256 MiB: a million preference pairs of ordinary length."
    )
    quota_file_bytes: int = Field(
        4 * 2**30,
        ge=1,
        description="Stored bytes of one owner's files: 4 GiB, sixteen of the largest.",
    )
    quota_files: int = Field(1000, ge=1, description="Files of one owner: far beyond a round's.")
    quota_unfinished_jobs: int = Field(
        20,
        ge=1,
        description="Reward models, rerankings, previews of one owner waiting or being made, the "
        "operator's corpora, base models, evaluations: hours of work already.",
    )
    quota_keys: int = Field(
        20, ge=1, description="Live keys of one group, or of the operator: one a machine."
    )
    rate_limit_per_minute: int = Field(
        6000,
        ge=0,
        description="Requests of one key, an upload counting as 10; 0 for no limit. 100 a second "
        "is what one process answers: a busy program passes, a loop gone wild does not.",
    )
    failed_authentications_per_minute: int = Field(
        60,
        ge=0,
        description="Keys that are none, from one address, before it is asked to wait; 0 for no "
        "limit. A wrong key in a script shows itself within seconds.",
    )
    max_connections: int = Field(
        800,
        ge=1,
        description="Open connections and requests; more get 503. Below the 1024 files that a "
        "process may usually open.",
    )
    base_models: str = Field(
        "smollm2-135m-instruct,tiny-enumerable",
        description="Base models that rounds may announce, with commas between: names, hub ids, "
        "absolute paths of models or of folders of models. Only what comes with the packages: "
        "nothing is fetched or read that the operator did not list.",
    )
    reward_base_models: str = Field(
        "smollm2-135m-instruct,tiny-enumerable,all-minilm-l6-v2",
        description="Base models and encoders that reward models may name, with commas between. "
        "Only what comes with the packages: a group must not make the service read any folder.",
    )
    endpoints: Path | None = Field(
        None,
        description="TOML file of the endpoints that language models may be asked at, a table "
        "each; default: none, so that no text leaves the service.",
    )
    ray_address: str | None = Field(
        None, description="An existing Ray cluster; default: a local Ray in the coordinator."
    )
    train_workers: int = Field(
        1, ge=1, description="Ray Train workers; 1 uses every core of one machine already."
    )
    require_gpu: bool = Field(
        False,
        description="Refuse to run jobs where no node has a GPU, before anything is spent. By "
        "default the cores do the work, far slower.",
    )
    shard_base_model: bool = Field(
        False,
        description="Spread the base model's layers over a training's workers (FSDP2), for one "
        "that fills a GPU; every layer travels for every pass, so by default each has a copy.",
    )
    sampler: Literal["torch", "vllm"] = Field(
        "torch",
        description="What draws the pools: `torch` runs everywhere; `vllm` needs a GPU, and the "
        "package vllm on every machine that has one.",
    )
    inference_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#]+:\d+$",
        description="Where the inference process listens; default: a socket in `home`, which only "
        "its owner can open. On another machine: `http://host:8322`.",
    )
    inference_host: str | None = Field(
        None,
        description="Address that the inference process listens on, where that is not the host of "
        "its URL.",
    )
    inference_max_tokens: int = Field(
        1024, ge=1, description="Tokens of one answer: a page and a half, half a minute on a CPU."
    )
    inference_concurrency: int = Field(
        8,
        ge=1,
        description="Answers written at the same time, of which one owner may have half. They "
        "share one model, token by token.",
    )
    inference_idle_seconds: float = Field(
        600,
        gt=0,
        description="Without a request for so long the inference process lets go of its model and "
        "its Ray; to start them again takes half a minute.",
    )
    lease_seconds: float = Field(
        30, gt=0, description="A coordinator silent for so long loses its job to another."
    )
    heartbeat_seconds: float = Field(
        5,
        gt=0,
        description="How often a coordinator renews its lease. Six times in one, so that one slow "
        "commit loses nothing; must be less than the lease.",
    )
    poll_seconds: float = Field(
        1, gt=0, description="How often the coordinator looks for closed rounds: one cheap query."
    )
    max_attempts: int = Field(
        10,
        ge=1,
        description="Claims of one job before it fails: a job that kills its coordinator "
        "must not do so for ever.",
    )
    stage_retention_days: float | None = Field(
        None,
        ge=0,
        description="Days after a job's end until `truthtune artifacts collect` lets go of what "
        "its stages left; default: never, so that every round can be audited.",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$",
        description="Base URL of an OpenTelemetry collector that takes traces by OTLP over HTTP, "
        "such as `http://collector:4318`; default: no traces. Needs the extra `tracing`.",
    )
    webhook_private_addresses: bool = Field(
        False,
        description="Let webhooks lead to private addresses and to this machine, by http too: for "
        "an intranet. Otherwise a group could make the service knock at our own doors.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What comes first wins."""
        return init_settings, env_settings, FileSource(settings_cls)

    @field_validator("database_url")
    @classmethod
    def _of_a_known_database(cls, url: str | None) -> str | None:
        """The URL itself is not shown: it may hold a password."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            known = not url or make_url(url).get_backend_name() in ("sqlite", "postgresql")
        except ArgumentError:
            known = False
        if not known:
            raise ValueError("must start with postgresql+psycopg:// or sqlite:///")
        return url

    @field_validator("heartbeat_seconds")
    @classmethod
    def _less_than_a_lease(cls, heartbeat: float, known: ValidationInfo) -> float:
        lease = known.data.get("lease_seconds")  # absent if it was refused itself
        if lease is not None and heartbeat >= lease:
            raise ValueError(
                f"{heartbeat:g} is not less than TRUTHTUNE_LEASE_SECONDS, {lease:g}: every lease "
                "would expire before its renewal; take a sixth of it"
            )
        return heartbeat

    @cached_property
    def base_model_names(self) -> tuple[str, ...]:
        return _parts(self.base_models)

    @cached_property
    def reward_base_model_names(self) -> tuple[str, ...]:
        return _parts(self.reward_base_models)

    @cached_property
    def endpoint_list(self) -> EndpointList:
        """Raises InvalidInput for a file that can't be used."""
        return EndpointList.read(self.endpoints)

    @cached_property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{(self.home / 'truthtune.db').resolve()}"

    @cached_property
    def resolved_artifacts_url(self) -> str:
        return self.artifacts_url or str((self.home / "artifacts").resolve())


def load_settings() -> Settings:
    """Raises InvalidInput, one line, that names the variable at fault and where it is set."""
    return read_settings(Settings)


def _parts(listed: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, listed.split(","))))
