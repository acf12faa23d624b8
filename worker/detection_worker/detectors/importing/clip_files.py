"""Checkpoints that contain CLIP, converted to the tensor names of ``clip_heads``."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from detection_worker.detectors.importing.checkpoint import Checkpoint, listed, read_checkpoint
from detection_worker.detectors.model_folder.manifest import ModelError

TOWER: Final = "visual."
PREFIXES: Final = ("", "module.", "model.", "backbone.", "module.backbone.", "clip_model.")
"""What may stand before the tower's names, whatever the names of other tensors are."""
AUTHORS_MARKS: Final = ("visual.conv1.weight", "conv1.weight")
FACE_MARKS: Final = (
    "vision_model.embeddings.patch_embedding.weight",
    "embeddings.patch_embedding.weight",
)
TEXT: Final = (
    "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection",
    "logit_scale", "text_model.", "input_resolution", "context_length", "vocab_size",
)  # fmt: skip
"""Begin the names of the half that reads captions, and of sizes."""
SPLIT_UP: Final = ("weight_main", "S_residual", "U_residual", "V_residual")
"""What stands for ``weight`` where attention was tuned in a subspace; ``clip_heads`` says more."""
SPLIT_BESIDE: Final = ("S_r", "U_r", "V_r")
"""The untouched subspace once more, which only training needs. Recalled, not read: no file of the
authors was at hand."""

_LAYER: Final = re.compile(r"encoder\.layers\.(\d{1,3})\.(.+)\.(weight|bias)")
_IN_LAYER: Final = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OUTSIDE: Final = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight",
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
}


def read_univfd(source: Path, *, backbone: Path | None, max_bytes: int) -> Checkpoint:
    """Return UnivFD's linear layer and the CLIP tower that it stands on.

    Args:
        source: The layer alone, or a whole model.
        backbone: CLIP ViT-L/14; not needed where ``source`` has the tower too.
        max_bytes: Largest size of each file.

    Raises:
        ModelError: A file is refused, or the backbone is missing.
    """
    whole = read_checkpoint(source, max_bytes=max_bytes)
    head = {name: t for name, t in whole.tensors.items() if name in {"weight", "bias"}}
    if not head:
        return _whole(
            whole, source, backbone, heads={"fc.weight": "fc.weight", "fc.bias": "fc.bias"}
        )
    if backbone is None:
        raise ModelError(
            f"{source}: holds UnivFD's last layer alone\n"
            "Name the CLIP ViT-L/14 that it stands on too: --backbone FILE."
        )
    under = read_checkpoint(backbone, max_bytes=max_bytes)
    tower, notes = tower_of(under.tensors, where=str(backbone))
    others = {name: t for name, t in whole.tensors.items() if name not in head}
    return Checkpoint(
        tensors={**tower, **{f"fc.{name}": t for name, t in head.items()}, **others},
        sha256=whole.sha256,
        wrapper=whole.wrapper,
        notes=(*notes, f"tower from {ascii(backbone.name)[1:-1]}, sha256 {under.sha256}"),
    )


def read_effort(source: Path, *, backbone: Path | None, max_bytes: int) -> Checkpoint:
    """Return Effort's tower, its tuned parts added up, and its last layer.

    Raises:
        ModelError: The file is refused, or ``backbone`` is given: the file has its own.
    """
    whole = read_checkpoint(source, max_bytes=max_bytes)
    heads = {"head.weight": "fc.weight", "head.bias": "fc.bias"}
    return _whole(whole, source, backbone, heads=heads)


READERS: Final[Mapping[str, Callable[..., Checkpoint]]] = {
    "univfd": read_univfd,
    "effort": read_effort,
}
"""By architecture: ``(source, *, backbone, max_bytes)`` to a checkpoint with our names."""


def tower_of(
    tensors: Mapping[str, Tensor], *, where: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors with CLIP's tower under our names, and notes on what was done.

    What is no part of the tower or the text half keeps its name, so that it is reported.

    Args:
        tensors: Tensors under the names of CLIP's authors or of Hugging Face's transformers.
        where: Name of the file, for messages.

    Raises:
        ModelError: There is no tower in it, or parts of a tensor do not belong together.
    """
    for prefix in PREFIXES:
        for mark in AUTHORS_MARKS:
            if prefix + mark in tensors:
                return _from_authors(tensors, cut=prefix + mark.removesuffix("conv1.weight"))
        for mark in FACE_MARKS:
            if prefix + mark in tensors:
                cut = prefix + mark.removesuffix("embeddings.patch_embedding.weight")
                return _from_transformers(tensors, cut=cut, where=where)
    raise ModelError(
        f"{where}: no CLIP picture tower in it; its names are {listed(tensors)}\n"
        "Take a file of CLIP's authors as a bare state dict, or the safetensors of the hub."
    )


def _whole(
    found: Checkpoint, source: Path, backbone: Path | None, *, heads: Mapping[str, str]
) -> Checkpoint:
    if backbone is not None:
        raise ModelError(f"{source}: has its own tower\nLeave --backbone out.")
    prefix = "module." if all(name.startswith("module.") for name in found.tensors) else ""
    bare = {name.removeprefix(prefix): t for name, t in found.tensors.items()}
    heads_found = {ours: bare.pop(theirs) for theirs, ours in heads.items() if theirs in bare}
    tower, notes = tower_of(bare, where=str(source))
    return Checkpoint(
        tensors={**tower, **heads_found},
        sha256=found.sha256,
        wrapper=found.wrapper,
        notes=(*found.notes, *notes),
    )


def _from_authors(
    tensors: Mapping[str, Tensor], *, cut: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    outer = cut.removesuffix(TOWER)
    named = {
        TOWER + name.removeprefix(cut) if name.startswith(cut) else name: value
        for name, value in tensors.items()
    }
    if cut == outer:
        # The bare tower: there is no text half that its names could be mistaken for.
        return named, ("names of CLIP's authors",)
    texts = [name for name in named if name.removeprefix(outer).startswith(TEXT)]
    kept = {name: value for name, value in named.items() if name not in texts}
    return kept, ("names of CLIP's authors", *_left_out(texts))


def _from_transformers(
    tensors: Mapping[str, Tensor], *, cut: str, where: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    outer = cut.removesuffix("vision_model.")
    inner = {n.removeprefix(cut): t for n, t in tensors.items() if n.startswith(cut)}
    others = {n.removeprefix(outer): t for n, t in tensors.items() if not n.startswith(cut)}
    notes = ["names of transformers"]
    inner, added = _added_up(inner, where=where)
    if added:
        notes.append(f"{added} weights added up from their main part and their tuned residual")
    named: dict[str, Tensor] = {}
    for name, value in inner.items():
        named[_ours(name)] = value
    named.pop(f"{TOWER}embeddings.position_ids", None)
    _join_attention(named)
    if "visual_projection.weight" in others:
        named[f"{TOWER}proj"] = others.pop("visual_projection.weight").T
    texts = [name for name in others if name.startswith(TEXT)]
    named.update({name: value for name, value in others.items() if name not in texts})
    return named, (*notes, *_left_out(texts))


def _ours(name: str) -> str:
    if name in _OUTSIDE:
        return TOWER + _OUTSIDE[name]
    found = _LAYER.fullmatch(name)
    if not found:
        return TOWER + name
    number, part, what = found.groups()
    return f"{TOWER}transformer.resblocks.{number}.{_IN_LAYER.get(part, part)}.{what}"


def _join_attention(named: dict[str, Tensor]) -> None:
    """Join queries, keys and values, which the authors keep in one tensor, in place."""
    for name in [
        n for n in named if n.endswith((".self_attn.q_proj.weight", ".self_attn.q_proj.bias"))
    ]:
        block, _, what = name.partition(".self_attn.q_proj.")
        parts = [f"{block}.self_attn.{p}_proj.{what}" for p in "qkv"]
        if all(p in named for p in parts) and len({named[p].shape for p in parts}) == 1:
            named[f"{block}.attn.in_proj_{what}"] = torch.cat([named.pop(p) for p in parts])


def _added_up(tensors: Mapping[str, Tensor], *, where: str) -> tuple[dict[str, Tensor], int]:
    """Return the tensors with one weight for each that is kept as a sum, and their number."""
    named = dict(tensors)
    layers = [n.removesuffix(".weight_main") for n in named if n.endswith(".weight_main")]
    for layer in layers:
        for beside in SPLIT_BESIDE:
            named.pop(f"{layer}.{beside}", None)
        parts = [f"{layer}.{part}" for part in SPLIT_UP]
        main, *residual = (named[p].float() for p in parts if p in named)
        if not residual:
            named[f"{layer}.weight"] = main
            del named[parts[0]]
            continue
        named[f"{layer}.weight"] = main + _residual(residual, main, f"{where}: {layer}")
        for part in parts:
            del named[part]
    return named, len(layers)


def _residual(parts: list[Tensor], main: Tensor, what: str) -> Tensor:
    shapes = [tuple(p.shape) for p in parts]
    rank = len(parts[0]) if parts[0].ndim == 1 else -1
    wanted = [(rank,), (main.shape[0], rank), (rank, main.shape[-1])]
    if main.ndim != 2 or shapes != wanted:
        raise ModelError(
            f"{what}: residual of shapes {shapes} beside a weight of {tuple(main.shape)}\n"
            "The file is damaged, or from another version of its program."
        )
    s, u, v = parts
    return (u * s) @ v


def _left_out(texts: list[str]) -> list[str]:
    if not texts:
        return []
    return [f"{len(texts)} left out, which read captions: {listed(texts)}"]
