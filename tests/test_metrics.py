import json
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from conftest import small_vae
from torch.distributions import Normal, kl_divergence
from torch.utils.data import DataLoader

from dldemos.VAE import main as program
from dldemos.VAE.latent import metrics as metrics_of
from dldemos.VAE.latent.codes import count_images, encode_all
from dldemos.VAE.latent.elbo import bits_per_dimension, calibrated_kl_weight, implied_variance
from dldemos.VAE.latent.embedding import embed, frechet_distance, precision_and_recall
from dldemos.VAE.latent.metrics import sliced_wasserstein, ssim
from dldemos.VAE.load_celebA import CelebADataset, batches
from dldemos.VAE.model import VAE

N_0_1 = Normal(0.0, 1.0)


def evaluate(model, dataloader, kl_weight=0.00025, **codes):
    """metrics.evaluate on the CPU with main's loss; codes: {prior: function}, of zeros if none."""
    return metrics_of.evaluate('cpu', model, dataloader, program.loss_fn, kl_weight,
                               codes or {'normal': lambda n: torch.zeros(n, 8)})


def kl_of(mean, logvar):
    """The KL divergence of codes from N(0, I), a mean over them."""
    return kl_divergence(Normal(mean, (logvar / 2).exp()), N_0_1).sum(1).mean()


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
    assert calibrated_kl_weight(error, n_values) == pytest.approx(2 * best / n_values,
                                                                          rel=1e-4)


def test_auto_has_the_gradient_of_the_calibrated_elbo():
    torch.manual_seed(0)
    y, y_hat = torch.rand(2, 4, 3, 64, 64)
    mean, logvar = torch.randn(2, 4, 16)
    y_hat.requires_grad_()
    mean.requires_grad_()
    program.loss_fn(y, y_hat, mean, logvar, weight='auto').backward()
    found = y_hat.grad.clone(), mean.grad.clone()
    y_hat.grad = mean.grad = None
    error = (y - y_hat).square().mean()
    elbo = 12288 / 2 * error.log() + kl_of(mean, logvar)
    elbo.backward()
    scale = 2 * error.item() / 12288
    torch.testing.assert_close(found[0], y_hat.grad * scale)
    torch.testing.assert_close(found[1], mean.grad * scale)


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


@pytest.mark.parametrize('size', [(16, 16), (30, 30), (64, 48), (96, 96)])
def test_swd_of_other_sizes(size):
    x = torch.rand(6, 3, *size)
    assert sliced_wasserstein(x, x) == 0 < sliced_wasserstein(x, x.square())


def test_the_table_is_deterministic_and_consistent(images, here, capsys):
    torch.manual_seed(0)
    model = VAE(hiddens=(4, 8, 8, 8, 8), latent_dim=8)
    dataloader = batches(CelebADataset(images), 4, shuffle=False)

    first, second = evaluate(model, dataloader), evaluate(model, dataloader)
    assert first == second
    assert first['n_images'] == 10
    assert first['loss'] == pytest.approx(first['mse_sampled'] + 0.00025 * first['kl'])
    assert json.loads((here / 'work_dirs/evaluate.json').read_text()) == first
    output = capsys.readouterr().out
    for line in ('samples of normal', 'one half of the images against', 'reconstructions',
                 'loss, kl_weight 0.00025',
                 'bits/dim, variance 1.54 (of kl_weight)', 'active units of 8'):
        assert line in output

    without = evaluate(model, dataloader, 0)                      # no variance belongs to it
    assert without['loss'] == without['mse_sampled'] == first['mse_sampled']
    assert 'bits_implied' not in without
    assert without['bits_best'] == first['bits_best']
    assert 'of kl_weight' not in capsys.readouterr().out
    auto = evaluate(model, dataloader, 'auto')
    assert auto['kl_weight'] == pytest.approx(2 * first['mse_sampled'] / 12288)


@pytest.mark.filterwarnings('error')
def test_one_image_has_the_metrics_that_one_can_have(images, here, capsys):
    model = VAE(hiddens=(4, 8, 8, 8, 8), latent_dim=8)
    dataloader = batches(CelebADataset(images, n_images=1), 4, shuffle=False)
    metrics = evaluate(model, dataloader)
    assert metrics['n_images'] == 1
    assert {'mse_mean', 'psnr', 'ssim', 'kl', 'loss'} <= metrics.keys()
    assert not {'active_units', 'swd_halves', 'swd_normal', 'frechet_normal'} & metrics.keys()
    assert 'one image: no active units and no distances' in capsys.readouterr().out


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('n', [2, 3, 5, 8])
def test_few_images_have_the_distances_that_few_can_have(here, capsys, n):
    """And faces of weights that are NaN have none."""
    torch.manual_seed(0)
    model = VAE(hiddens=(4, 8, 8, 8, 8), latent_dim=8)
    metrics = evaluate(model, [torch.rand(n, 3, 64, 64)], normal=lambda k: torch.randn(k, 8),
                       flow=lambda k: torch.full((k, 8), math.nan))
    assert {'swd_halves', 'swd_normal'} <= metrics.keys()
    assert 'frechet_normal' not in metrics
    assert 'no Frechet distance: each half needs 200 images' in capsys.readouterr().out
    assert ('precision_normal' in metrics) is (n >= 8)        # more than three
    assert not {'swd_flow', 'frechet_flow', 'precision_flow'} & metrics.keys()


class Batches:
    """Batches of drawn images that come one by one, and the number of them alive at once."""

    def __init__(self, n_images, batch_size):
        self.dataset, self.size = range(n_images), batch_size
        self.alive, self.most = weakref.WeakSet(), 0

    def image(self, index):
        generator = torch.Generator().manual_seed(index)
        return F.interpolate(torch.rand(1, 3, 8, 8, generator=generator), size=64)[0]

    def __iter__(self):
        for start in range(0, len(self.dataset), self.size):
            indices = self.dataset[start:start + self.size]
            batch = torch.stack([self.image(i) for i in indices])
            self.alive.add(batch)
            self.most = max(self.most, len(self.alive))
            yield batch
            del batch


@torch.no_grad()
def in_one_go(model, images, n):
    """The metrics of a set, each by its definition; the distance of two halves of n images."""
    mean, logvar = model.encode(images)
    decoded = model.decode(mean)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    faces = model.decode(torch.zeros(n, 8)).clamp(0, 1)
    return {'n_images': len(images), 'mse_mean': (decoded - images).square().mean().item(),
            'ssim': ssim(decoded.clamp(0, 1), images),
            'kl': kl_of(mean, logvar).item(),
            'active_units': int((mean.double().var(0) > 0.01).sum()),
            'swd_halves': sliced_wasserstein(images[order[:n]], images[order[n:2 * n]]),
            'swd_normal': sliced_wasserstein(images[order[:n]], faces),
            'frechet_reconstructions': 500 * sum(
                frechet_distance(embed(images[a]), embed(decoded[b]))
                for a, b in ((order[:n], order[n:2 * n]), (order[n:2 * n], order[:n]))),
            'recall_halves': sum(
                precision_and_recall(embed(images[a]), embed(images[b]))[1] / 2
                for a, b in ((order[:n], order[n:2 * n]), (order[n:2 * n], order[:n])))}


@pytest.mark.parametrize('batch_size, most', [(1, 2048), (64, 2048), (50, 201)])
def test_metrics_in_batches_are_those_of_all_in_one_go(here, monkeypatch, batch_size, most):
    monkeypatch.setattr(metrics_of, 'MOST_COMPARED', most)
    model, dataloader = small_vae().eval(), Batches(450, batch_size)
    found = evaluate(model, dataloader)
    expected = in_one_go(model, torch.cat(list(dataloader)), min(most, 225))
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-3)


def test_the_codes_sampled_are_the_same_as_ever(here):
    """The random numbers are those of batches of 64, one after the other."""
    model, dataloader = small_vae().eval(), Batches(150, 64)
    found = evaluate(model, dataloader)
    torch.manual_seed(0)
    errors = []
    for images in dataloader:
        with torch.no_grad():
            code = model.reparameterize(*model.encode(images))
            errors.append((model.decode(code) - images).square().flatten(1).mean(1))
    assert found['mse_sampled'] == pytest.approx(torch.cat(errors).mean().item(), rel=1e-5)


def test_the_images_are_never_held_all_at_once(here, monkeypatch):
    largest = []
    monkeypatch.setattr(metrics_of, 'MOST_COMPARED', 20)
    monkeypatch.setattr(metrics_of, 'ssim', lambda x, y: largest.append(len(x)) or 0.0)
    model, dataloader = small_vae().eval(), Batches(400, 8)
    evaluate(model, dataloader)
    assert dataloader.most <= 3
    assert largest == [8] * 50                          # nor are the decoded ones
    mean, logvar = encode_all(model, 'cpu', dataloader)
    assert dataloader.most <= 3
    assert mean.shape == logvar.shape == (400, 8)
    halves = metrics_of.Halves(400, seed=0)
    for images in dataloader:
        halves.add(images, images)
    assert halves.images.shape == (40, 3, 64, 64)


@pytest.mark.parametrize('how', [{'drop_last': True}, {'sampler': [3, 1, 4, 1, 5]}, {}])
def test_images_are_counted_in_any_loader(how):
    dataloader = DataLoader(torch.zeros(11, 3, 4, 4), 4, **how)
    assert count_images(dataloader) == sum(len(images) for images in dataloader)
    assert count_images(list(dataloader)) == count_images(dataloader)


@pytest.mark.parametrize('kl_weight', [0.00025, 'auto'])
def test_what_is_written_is_json_though_the_weights_are_nan(here, kl_weight):
    model = VAE(hiddens=(4, 8, 8, 8, 8), latent_dim=8)
    with torch.no_grad():
        model.mean_linear.bias.fill_(math.nan)
    found = evaluate(model, [torch.rand(10, 3, 64, 64)], kl_weight)
    assert math.isnan(found['mse_mean'])

    def refuse(word):
        raise ValueError(word)

    written = json.loads((here / 'work_dirs/evaluate.json').read_text(), parse_constant=refuse)
    assert written['n_images'] == 10 and 'mse_mean' not in written
