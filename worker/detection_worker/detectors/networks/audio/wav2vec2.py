"""wav2vec 2.0 in the size and form of XLS-R: from sound to features of every 20 ms.

Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations"
(NeurIPS 2020) and Babu et al., "XLS-R: Self-supervised Cross-lingual Speech Representation
Learning at Scale" (Interspeech 2022). Of its forms this is the one that normalises layers
everywhere, and before each sublayer. The network is torchaudio's; its tensors are saved and loaded
under fairseq's names, in which the published weights came. What only its own training needs
(masks, quantiser, projections) is left out.
"""

import re
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

import torchaudio.models
from torch import Tensor, nn

CONVOLUTIONS: Final = ((10, 5), *((3, 2),) * 4, *((2, 2),) * 2)
"""Taps and stride of each layer: one frame for 320 samples."""
POSITION_TAPS: Final = 128
POSITION_GROUPS: Final = 16
_CONVOLUTION: Final = r"feature_extractor\.conv_layers\.(\d+)\."
_LAYER: Final = r"encoder\.transformer\.layers\.(\d+)\."
_POSITIONS: Final = r"encoder\.transformer\.pos_conv_embed\.conv\."
_FAIRSEQ: Final = tuple(
    (re.compile(theirs), published)
    for theirs, published in (
        (_CONVOLUTION + r"conv\.", r"feature_extractor.conv_layers.\1.0."),
        (_CONVOLUTION + r"layer_norm\.", r"feature_extractor.conv_layers.\1.2.1."),
        (r"encoder\.feature_projection\.projection\.", "post_extract_proj."),
        (r"encoder\.feature_projection\.layer_norm\.", "layer_norm."),
        (_POSITIONS + r"parametrizations\.weight\.original0", "encoder.pos_conv.0.weight_g"),
        (_POSITIONS + r"parametrizations\.weight\.original1", "encoder.pos_conv.0.weight_v"),
        (_POSITIONS, "encoder.pos_conv.0."),
        (_LAYER + r"attention\.", r"encoder.layers.\1.self_attn."),
        (_LAYER + r"layer_norm\.", r"encoder.layers.\1.self_attn_layer_norm."),
        (_LAYER + r"feed_forward\.intermediate_dense\.", r"encoder.layers.\1.fc1."),
        (_LAYER + r"feed_forward\.output_dense\.", r"encoder.layers.\1.fc2."),
        (r"encoder\.transformer\.", "encoder."),
    )
)
"""Beginnings of torchaudio's names and fairseq's for them; the first that fits is exchanged."""


class Wav2Vec2(nn.Module):
    """Convolutions of the waveform and a transformer over their frames.

    Args:
        channels: Channels of the convolutions.
        width: Features of a frame in the transformer; a multiple of 16 and of ``heads``.
        layers: Layers of the transformer.
        heads: Attention heads of each layer.
        hidden: Features between the two linear layers at the end of each layer.

    Raises:
        ValueError: ``width`` is no such multiple.
    """

    def __init__(self, *, channels: int, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        if width % heads or width % POSITION_GROUPS:
            raise ValueError(f"width: {width} is no multiple of {heads} and {POSITION_GROUPS}")
        self.model = torchaudio.models.wav2vec2_model(
            extractor_mode="layer_norm",
            extractor_conv_layer_config=[(channels, *layer) for layer in CONVOLUTIONS],
            extractor_conv_bias=True,
            encoder_embed_dim=width,
            encoder_projection_dropout=0.0,
            encoder_pos_conv_kernel=POSITION_TAPS,
            encoder_pos_conv_groups=POSITION_GROUPS,
            encoder_num_layers=layers,
            encoder_num_heads=heads,
            encoder_attention_dropout=0.0,
            encoder_ff_interm_features=hidden,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_norm_first=True,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        self.register_state_dict_post_hook(_to_published)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_published)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, width)`` for sound ``(n, samples)`` at 16 kHz, as it is."""
        features: Tensor = self.model(x)[0]
        return features


def published_name(name: str) -> str:
    """Return what fairseq calls a tensor of torchaudio's network."""
    for theirs, published in _FAIRSEQ:
        renamed, count = theirs.subn(published, name, count=1)
        if count:
            return renamed
    return name


def _names(module: Wav2Vec2, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the names of each tensor in torchaudio's network and under ``prefix`` in files."""
    for name, _ in module.model.named_parameters():
        yield f"{prefix}model.{name}", prefix + published_name(name)


def _to_published(
    module: Wav2Vec2, tensors: MutableMapping[str, Any], prefix: str, _: dict[str, Any]
) -> None:
    for name, published in _names(module, prefix):
        tensors[published] = tensors.pop(name)


def _from_published(
    module: Wav2Vec2, tensors: MutableMapping[str, Any], prefix: str, *_: object
) -> None:
    for name, published in _names(module, prefix):
        if published in tensors:
            tensors[name] = tensors.pop(published)
