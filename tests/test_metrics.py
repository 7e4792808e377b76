import math

import pytest
import torch
from torch.distributions import Normal

from dldemos.VAE import main as program
from dldemos.VAE.latent.metrics import (
    active_units,
    bits_per_dimension,
    evaluate,
    implied_variance,
    psnr,
    sliced_wasserstein,
    ssim,
)
from dldemos.VAE.load_celebA import CelebADataset, batches
from dldemos.VAE.model import VAE


def test_elbo_of_a_tiny_case_by_hand():
    """Two values 0.3 and 0.9, decoded as 0.5 and 0.5, a code of KL 1.5 nats, variance 0.04."""
    decoder = Normal(torch.tensor([0.5, 0.5]), 0.2)
    nats = -decoder.log_prob(torch.tensor([0.3, 0.9])).sum().item() + 1.5
    found = bits_per_dimension(0.2**2 + 0.4**2, kl=1.5, n_values=2, variance=0.04)
    assert found == pytest.approx(nats / 2 / math.log(2) + 8)


def test_the_best_variance_is_the_mean_squared_error():
    bits = {v: bits_per_dimension(12288 * 0.02, 20, 12288, v) for v in (0.018, 0.02, 0.022)}
    assert min(bits, key=bits.get) == 0.02


def test_what_kl_weight_means():
    variance = implied_variance(0.00025, 12288)
    assert variance == pytest.approx(1.536)
    # the loss is the negative ELBO of that variance, scaled, but for a constant
    for error, kl in ((0.02, 20.0), (0.01, 90.0)):
        nats = error * 12288 / (2 * variance) + kl
        assert nats * 2 * variance / 12288 == pytest.approx(error + 0.00025 * kl)


def test_calibrated_weight_is_the_minimum_over_the_variance():
    """sigma-VAE: minimising the ELBO over the variance directly gives the same weight."""
    error, n_values = 0.013, 12288
    log_variance = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_variance], max_iter=100, line_search_fn='strong_wolfe')

    def closure():
        optimizer.zero_grad()
        nats = n_values / 2 * (log_variance + error / log_variance.exp())
        nats.backward()
        return nats

    optimizer.step(closure)
    best = log_variance.exp().item()
    assert program.calibrated_kl_weight(error, n_values) == pytest.approx(2 * best / n_values,
                                                                          rel=1e-4)


def test_auto_has_the_gradient_of_the_calibrated_elbo():
    torch.manual_seed(0)
    y, y_hat = torch.rand(2, 4, 3, 64, 64)
    mean, logvar = torch.randn(2, 4, 16)
    y_hat.requires_grad_()
    mean.requires_grad_()
    program.loss_fn(y, y_hat, mean, logvar, kl_weight='auto').backward()
    found = y_hat.grad.clone(), mean.grad.clone()
    y_hat.grad = mean.grad = None
    error = (y - y_hat).square().mean()
    elbo = 12288 / 2 * error.log() + program.kl_divergence(mean, logvar).mean()
    elbo.backward()
    scale = 2 * error.item() / 12288
    torch.testing.assert_close(found[0], y_hat.grad * scale)
    torch.testing.assert_close(found[1], mean.grad * scale)


def test_psnr():
    assert psnr(0.01) == pytest.approx(20)


def test_ssim_is_that_of_scikit_image():
    metrics = pytest.importorskip('skimage.metrics')
    torch.manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(3, 3, 9, 9), size=64, mode='bilinear')
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    expected = [metrics.structural_similarity(
        a.double().numpy(), b.double().numpy(), channel_axis=0, data_range=1.0,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False) for a, b in zip(x, y)]
    assert ssim(x, y) == pytest.approx(sum(expected) / 3, abs=0.01)


def test_ssim_of_constant_images_by_hand():
    x, y = torch.full((1, 3, 16, 16), 0.4), torch.full((1, 3, 16, 16), 0.6)
    c1 = 0.01**2
    assert ssim(x, y) == pytest.approx((2 * 0.24 + c1) / (0.16 + 0.36 + c1), abs=1e-3)
    assert ssim(x, x) == pytest.approx(1)


def test_active_units():
    torch.manual_seed(0)
    mean = torch.randn(1000, 10) * torch.tensor([1.0] * 3 + [0.05] * 7) + 5
    assert active_units(mean) == 3


def test_swd_is_zero_for_equal_sets_and_grows_with_noise():
    torch.manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(40, 3, 8, 8), size=64, mode='bilinear')
    assert sliced_wasserstein(x, x) == 0
    assert sliced_wasserstein(x, x.flip(0)) < 40
    distances = [sliced_wasserstein(x, x + s * torch.randn_like(x)) for s in (0.02, 0.1, 0.4)]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert sliced_wasserstein(x, x.flip(0), seed=3) == sliced_wasserstein(x, x.flip(0), seed=3)
    with pytest.raises(ValueError, match='same shape'):
        sliced_wasserstein(x, x[:5])


def test_the_table_is_deterministic_and_consistent(images, capsys):
    torch.manual_seed(0)
    model = VAE(hiddens=(4, 8, 8, 8, 8), latent_dim=8)
    dataloader = batches(CelebADataset(images), 4, shuffle=False)

    def table():
        return evaluate('cpu', model, dataloader, 0.00025,
                        {'normal': lambda n: torch.zeros(n, 8)})

    first, second = table(), table()
    assert first == second
    assert first['images'] == 10
    assert first['loss, kl_weight 0.00025'] == pytest.approx(
        first['MSE, code sampled'] + 0.00025 * first['KL, nats an image'])
    assert 'SWD x 1000, samples of normal' in capsys.readouterr().out
