import pytest
import torch
from torch.nn import functional

from detection_worker.detectors import architectures
from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.networks.audio import audio_lfb
from detection_worker.detectors.networks.image import image_residual
from detection_worker.detectors.torch_detector import fake_logit


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        pytest.param("image_residual", 200_000, 500_000, id="image"),
        pytest.param("audio_lfb", 100_000, 300_000, id="audio"),
    ],
)
def test_a_network_has_the_size_that_its_documentation_promises(
    name: str, least: int, most: int
) -> None:
    network = architectures.build_network(name, {}, where="test")

    assert least <= sum(p.numel() for p in network.parameters()) <= most


@pytest.mark.parametrize("side", [128, 64, 256])
def test_an_image_network_gives_one_logit_a_crop(side: int) -> None:
    crops = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8)

    assert image_residual.build().eval()(crops).shape == (3,)


def test_an_audio_network_gives_one_logit_a_window() -> None:
    assert audio_lfb.build().eval()(torch.randn(2, 64_000)).shape == (2,)


@pytest.mark.parametrize("bands", [16, 80, 160])
def test_rows_of_bands_are_kept_apart_on_request(bands: int) -> None:
    torch.manual_seed(1)
    network = audio_lfb.build(width=4, bands=bands, rows=True).eval()

    assert network(torch.randn(2, 40_000)).shape == (2,)
    assert network.head[1].in_features == 2 * 6 * 4 * bands // 16


def test_the_residuals_of_a_flat_picture_are_zero() -> None:
    flat = torch.full((1, 3, 32, 32), 77, dtype=torch.uint8)

    assert image_residual.Residuals()(flat).abs().max() < 1e-5


def test_the_residuals_keep_a_checkerboard() -> None:
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 20 + 100).expand(1, 3, 32, 32)

    assert image_residual.Residuals()(board).abs().mean() > 0.3


def test_loudness_does_not_reach_the_audio_network() -> None:
    sound = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(3)) * 0.1
    bank = audio_lfb.LinearFilterbank()

    assert torch.allclose(bank(sound), bank(sound * 5), atol=1e-3)


def test_the_filterbank_finds_a_tone_in_its_own_band() -> None:
    bank = audio_lfb.linear_filterbank()
    hz = 2_000

    band = int(bank[:, round(hz / audio_lfb.SAMPLE_RATE_HZ * audio_lfb.FFT)].argmax())

    assert abs((band + 1) * audio_lfb.SAMPLE_RATE_HZ / 2 / (audio_lfb.BANDS + 1) - hz) < 100


def test_silence_gives_a_finite_logit() -> None:
    assert torch.isfinite(audio_lfb.build().eval()(torch.zeros(1, 64_000))).all()


@pytest.mark.parametrize(
    ("outputs", "fake_index", "expected"),
    [
        pytest.param([[2.0]], 1, 2.0, id="one logit of fake"),
        pytest.param([2.0], 0, -2.0, id="one logit of real"),
        pytest.param([[1.0, 4.0]], 1, 3.0, id="two classes, fake last"),
        pytest.param([[1.0, 4.0]], 0, -3.0, id="two classes, fake first"),
    ],
)
def test_the_class_order_of_the_manifest_decides_the_sign(
    outputs: list[object], fake_index: int, expected: float
) -> None:
    assert fake_logit(torch.tensor(outputs), fake_index=fake_index).tolist() == [expected]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        pytest.param("oracle", {}, id="unknown architecture"),
        pytest.param("audio_lfb", {"depth": 3}, id="unknown parameter"),
        pytest.param("audio_lfb", {"bands": 50}, id="bands that rows do not divide"),
        pytest.param("audio_lfb", {"width": -1}, id="impossible parameter"),
    ],
)
def test_an_impossible_network_is_refused(name: str, params: dict[str, int]) -> None:
    with pytest.raises(ModelError, match="architecture"):
        architectures.build_network(name, params, where="m")


def test_residuals_are_differences_and_second_orders_of_each_pixel_in_its_square() -> None:
    pixels = torch.randint(0, 256, (2, 3, 12, 16), generator=torch.Generator().manual_seed(3))
    x = pixels.float() / 255.0
    corners = x[:, :, ::2, ::2].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
    weights = torch.tensor(image_residual.LAPLACIAN).expand(3, 1, 3, 3)
    second = functional.conv2d(padded, weights, groups=3)
    both = torch.cat([x - corners, second], dim=1) * image_residual.RESIDUAL_GAIN

    residuals = image_residual.Residuals()(pixels.to(torch.uint8))

    wanted = functional.pixel_unshuffle(both.clamp(-4.0, 4.0), 2)
    torch.testing.assert_close(residuals, wanted, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_flat_pictures_leave_no_residual_in_any_precision(dtype: torch.dtype) -> None:
    flat = torch.full((1, 3, 8, 8), 201, dtype=torch.uint8)

    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
        residuals = image_residual.Residuals()(flat)

    assert residuals.abs().max() <= 1e-4
