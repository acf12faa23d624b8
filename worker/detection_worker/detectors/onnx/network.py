"""Networks that come as ONNX files, run by ONNX Runtime on the CPU; imported on first use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.networks.image.pixels import SCALES, Scale
from detection_worker.detectors.networks.parts import PICTURES_AT_ONCE
from detection_worker.detectors.onnx import graph
from detection_worker.errors import UsageError

UNSCALED: Final = "none"
"""Pixels of 0 to 255, for networks that scale them themselves."""
MAX_BYTES: Final = (1 << 31) - 1
"""Longest protocol-buffer message, and so the longest ONNX file that keeps its data within."""
FATAL: Final = 4
"""ONNX Runtime's log severity. Its errors are raised too; they need not stand in the log twice."""

_TEXT: Final = 200
"""Most characters of a message of ONNX Runtime's."""


class OnnxNetwork(nn.Module):
    """A graph with one input and one output, ``float32`` both.

    Args:
        session: ``InferenceSession`` of ONNX Runtime.
        scale: Key of ``pixels.SCALES``, or ``none``; what pixels are brought to.

    Raises:
        ValueError: There is no such scale, or it is given for sound.
        ModelError: The graph's inputs or outputs are of another number, type or shape.
    """

    def __init__(self, session: Any, *, scale: str = UNSCALED) -> None:
        super().__init__()
        self._session = session
        self._input, self._shape = _only(session.get_inputs(), "input")
        _, self._output_shape = _only(session.get_outputs(), "output")
        _check_shape(self._shape)
        if scale != UNSCALED and len(self._shape) != 4:
            raise ValueError(f"scale: {scale!r} is for pixels; leave it out for sound")
        self._scale = None if scale == UNSCALED else Scale(scale)
        self._at_once = 1 if self._shape[0] == 1 else PICTURES_AT_ONCE["cpu"]

    @property
    def activation(self) -> Literal["sigmoid", "softmax"]:
        """What makes probabilities of its outputs, by their declared number."""
        return "softmax" if self._output_shape[1:] == (2,) else "sigmoid"

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxNetwork":
        """Return itself: a session never changes."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return log-odds of class 1, ``(n,)`` or ``(n, 1)``, or softmax logits, ``(n, 2)``.

        Args:
            x: RGB pixels ``(n, 3, h, w)`` in 0 to 255, or sound ``(n, samples)`` in -1 to 1.

        Raises:
            RuntimeError: The graph does not take this shape, fails, or gives another shape.
            UsageError: Gradients are wanted.
        """
        if x.requires_grad:
            raise UsageError("An ONNX network has no gradients\nUse --evidence instead.")
        self._check_units(x)
        scaled = (x.float() if self._scale is None else self._scale(x)).cpu()
        parts = [self._run(part) for part in torch.split(scaled, self._at_once)]
        return torch.cat(parts).to(x.device)

    def _check_units(self, x: Tensor) -> None:
        shape = self._shape[1:]
        fits = len(shape) == x.ndim - 1 and all(
            wanted == got
            for wanted, got in zip(shape, x.shape[1:], strict=True)
            if isinstance(wanted, int)
        )
        if not fits:
            raise RuntimeError(
                f"its input is {_told(self._shape)}, but the manifest's 'preprocess' gives "
                f"{_told(('n', *x.shape[1:]))}"
            )

    def _run(self, x: Tensor) -> Tensor:
        units = np.ascontiguousarray(x.numpy())
        try:
            [outputs] = self._session.run(None, {self._input: units})
        except Exception as exc:
            raise RuntimeError(f"ONNX Runtime failed: {_first_line(exc)}") from exc
        if outputs.shape not in {(len(x),), (len(x), 1), (len(x), 2)}:
            raise RuntimeError(
                f"its output for {len(x)} inputs is {_told(outputs.shape)}; "
                "wanted are (n), (n, 1) or (n, 2)"
            )
        return torch.from_numpy(outputs)


def build(data: bytes, params: Mapping[str, Any], *, where: Path) -> OnnxNetwork:
    """Return the network of an ONNX file, on as many threads as torch has.

    ONNX Runtime is handed the bytes, never a path, after ``graph.check``.

    Args:
        data: The file.
        params: Parameters of ``OnnxNetwork``.
        where: Name of the file, for messages.

    Raises:
        ModelError: ONNX Runtime is not installed, or refuses the file, or ``graph.check`` or
            ``OnnxNetwork`` does.
    """
    graph.check(data, where=where)
    if unknown := sorted(params.keys() - {"scale"}):
        raise ModelError(
            f"{where}: architecture.params: only 'scale' is known, not {unknown[0]!r}"
        )
    scale = params.get("scale", UNSCALED)
    if scale not in {*SCALES, UNSCALED}:
        known = ", ".join([*SCALES, UNSCALED])
        raise ModelError(
            f"{where}: architecture.params.scale: {scale!r} is unknown; known: {known}"
        )
    session = _session(data, where)
    try:
        return OnnxNetwork(session, scale=scale)
    except (ModelError, ValueError) as exc:
        raise ModelError(f"{where}: {exc}") from exc


def _session(data: bytes, where: Path) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - optional
    except ImportError as exc:
        raise ModelError(
            f"{where}: an ONNX file; onnxruntime is needed to run it\n{graph.INSTALL}"
        ) from exc
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    # Its idle threads would burn the cores that decoding shares.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Not ONNX Runtime's own format, which ``graph.check`` cannot read.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(
            data, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:
        raise ModelError(f"{where}: ONNX Runtime refuses it: {_first_line(exc)}") from exc


def _only(values: list[Any], what: str) -> tuple[str, tuple[int | str | None, ...]]:
    if len(values) != 1:
        raise ModelError(f"has {len(values)} {what}s; wanted is one\nExport it with one {what}.")
    [value] = values
    if value.type != "tensor(float)":
        raise ModelError(f"its {what} is {value.type}; wanted is float32")
    return value.name, tuple(value.shape)


def _check_shape(shape: tuple[int | str | None, ...]) -> None:
    fixed = [size if isinstance(size, int) else None for size in shape]
    picture = len(fixed) == 4 and fixed[1] in {3, None}
    if not (picture or len(fixed) == 2) or fixed[0] not in {1, None}:
        raise ModelError(
            f"its input is {_told(shape)}; wanted are pixels (n, 3, height, width) or sound "
            "(n, samples), n free or 1"
        )


def _told(shape: tuple[int | str | None, ...]) -> str:
    return f"({', '.join('?' if size is None else ascii(size).strip(chr(39)) for size in shape)})"


def _first_line(exc: Exception) -> str:
    lines = str(exc).splitlines()
    return ascii(lines[0][:_TEXT])[1:-1] if lines else type(exc).__name__
