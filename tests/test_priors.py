import numpy as np
import pytest
import torch

from dldemos.VAE.latent import priors
from dldemos.VAE.latent.fitted import PRIOR, load_or_fit, read_fitted
from dldemos.VAE.latent.priors import fit, fit_flow, fit_gaussian, sample_codes
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.weights import save_weights


def codes_in_two_heaps(n=2000):
    torch.manual_seed(0)
    side = torch.randint(2, (n, 1)) * 2.0 - 1
    return torch.cat([3 * side, 0.5 * side + 0.1 * torch.randn(n, 1)], 1), torch.full((n, 2), -4.0)


def test_the_temperature_is_the_standard_deviation_of_the_random_numbers():
    torch.manual_seed(0)
    mean, logvar = 5 + torch.randn(500, 2) * torch.tensor([1.0, 3.0]), torch.full((500, 2), -8.0)
    gaussian, flow = fit_gaussian(mean, logvar), fit_flow(mean, logvar, n_steps=300)
    for temperature in (0.0, 0.5):
        for prior, fitted, scale in (('normal', None, 1), ('gaussian', gaussian, 3),
                                     ('flow', flow, 3)):
            drawn = sample_codes(prior, fitted, 4000, 2, temperature)
            assert drawn.mean(0)[1].item() == pytest.approx(0 if prior == 'normal' else 5, abs=0.5)
            assert drawn.std(0)[1].item() == pytest.approx(temperature * scale, abs=0.25), prior


def test_the_gaussian_has_the_codes_mean_and_covariance():
    mean, logvar = codes_in_two_heaps()
    mean = mean + torch.tensor([1.0, -2.0])
    drawn = sample_codes('gaussian', fit_gaussian(mean, logvar), 50_000, 2)
    codes = mean + torch.exp(logvar / 2) * torch.randn_like(mean)
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.1, rtol=0.03)


def test_the_flow_learns_what_a_gaussian_cannot():
    mean, logvar = codes_in_two_heaps()
    fitted = fit_flow(mean, logvar, n_steps=500, lr=3e-3)
    drawn = sample_codes('flow', fitted, 1000, 2)
    assert ((drawn[:, 0].abs() - 3).abs() < 1).float().mean() > 0.85
    assert 0.35 < (drawn[:, 0] > 0).float().mean() < 0.65
    assert not any(value.requires_grad for value in fitted.values())


def test_a_flow_whose_network_gives_nothing_is_the_normal_distribution():
    """Scaled and shifted as the codes are: what the network learns comes on top of that."""
    mean, logvar = codes_in_two_heaps()
    fitted = fit_flow(mean, logvar, n_steps=1)
    for name in ('layers.6.weight', 'layers.6.bias'):
        fitted[name] = torch.zeros_like(fitted[name])
    torch.manual_seed(4)
    drawn = sample_codes('flow', fitted, 100, 2)
    torch.manual_seed(4)
    torch.testing.assert_close(drawn, fitted['mean'] + fitted['scale'] * torch.randn(100, 2),
                               atol=0.01, rtol=0.01)


def test_few_codes_are_not_memorised():
    """Drawn codes are as far from those that the flow was fitted to as other codes are."""
    torch.manual_seed(0)
    mean, others = torch.randn(2, 100, 32)
    drawn = sample_codes('flow', fit_flow(mean, torch.full_like(mean, -6)), 100, 32)

    def nearest(codes):
        return torch.cdist(codes, mean).amin(1).mean()
    assert nearest(drawn) > 0.9 * nearest(others)


def test_a_prior_is_kept_beside_its_weights_and_refitted_for_others(tmp_path, capsys):
    path = tmp_path / 'model.pth'
    save_weights(path, VAE(hiddens=(4,), latent_dim=2))
    calls = []

    def encode():
        calls.append(1)
        return codes_in_two_heaps(200)

    def fitted(looks=None):
        return load_or_fit('gaussian', path, PRIOR, lambda: (fit_gaussian(*encode()), looks))

    looks = np.arange(128, dtype=np.uint8).reshape(2, 64)
    first, again = fitted(looks), fitted()
    assert len(calls) == 1
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert np.array_equal(read_fitted(path, PRIOR)['looks'], looks)
    save_weights(path, VAE(hiddens=(4,), latent_dim=2))           # other weights
    fitted()
    assert len(calls) == 2
    assert 'looks' not in read_fitted(path, PRIOR)
    saved = torch.load(tmp_path / 'model.prior.pth', weights_only=True)
    torch.save({**saved, 'images': 'of an earlier version'}, tmp_path / 'model.prior.pth')
    fitted()
    assert len(calls) == 3
    for damage in (b'damaged', (tmp_path / 'model.prior.pth').read_bytes()[:99], b''):
        (tmp_path / 'model.prior.pth').write_bytes(damage)
        fitted()
        assert 'is damaged' in capsys.readouterr().out
    torch.save({'format': 'dldemos.VAE directions 1'}, tmp_path / 'model.prior.pth')
    fitted()
    assert len(calls) == 7


def test_one_image_is_too_few_for_a_prior():
    with pytest.raises(UserError, match='at least two images.*--prior normal'):
        fit('flow', *codes_in_two_heaps(1))


@pytest.mark.parametrize('prior', ['gaussian', 'flow'])
def test_priors_are_the_same_for_a_seed(prior):
    mean, logvar = codes_in_two_heaps(300)
    draws = []
    for _ in range(2):
        torch.manual_seed(4)
        fitted = fit_gaussian(mean, logvar) if prior == 'gaussian' else fit_flow(mean, logvar, 5)
        draws.append(sample_codes(prior, fitted, 10, 2))
    assert torch.equal(*draws)


def test_many_codes_are_those_of_the_flow_in_chunks(monkeypatch):
    fitted = fit_flow(*codes_in_two_heaps(300), n_steps=5)
    draws = []
    for chunk in (4096, 7):
        monkeypatch.setattr(priors, 'CHUNK', chunk)
        torch.manual_seed(4)
        draws.append(sample_codes('flow', fitted, 50, 2))
    torch.testing.assert_close(*draws)
