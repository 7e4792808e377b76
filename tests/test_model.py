import pytest
import torch

from dldemos.VAE.model import VAE

ARTICLE_KEYS = (
    [f'encoder.{i}.{layer}' for i in range(5) for layer in (0, 1)]
    + ['mean_linear', 'var_linear', 'decoder_projection']
    + [f'decoder.{i}.{layer}' for i in range(5) for layer in (0, 1)] + ['decoder.4.3'])


def test_parameters_and_keys_are_the_articles():
    model = VAE()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 1_183_283
    modules = [key.rpartition('.')[0] for key in model.state_dict()]
    assert list(dict.fromkeys(modules)) == ARTICLE_KEYS


def test_layers_are_the_articles():
    model = VAE()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes['encoder.0.0.weight'] == (16, 3, 3, 3)
    assert shapes['encoder.4.0.weight'] == (256, 128, 3, 3)
    assert shapes['mean_linear.weight'] == shapes['var_linear.weight'] == (128, 1024)
    assert shapes['decoder_projection.weight'] == (1024, 128)
    assert shapes['decoder.0.0.weight'] == (256, 128, 3, 3)
    assert shapes['decoder.4.0.weight'] == (16, 16, 3, 3)
    assert shapes['decoder.4.3.weight'] == (3, 16, 3, 3)
    assert [type(layer).__name__ for layer in model.decoder[4]] == [
        'ConvTranspose2d', 'BatchNorm2d', 'ReLU', 'Conv2d', 'ReLU']


def test_forward_is_encode_reparameterize_decode():
    model = VAE().eval()
    images = torch.rand(3, 3, 64, 64)
    torch.manual_seed(7)
    decoded, mean, logvar = model(images)
    torch.manual_seed(7)
    mean_alone, logvar_alone = model.encode(images)
    expected = model.decode(model.reparameterize(mean_alone, logvar_alone))
    assert decoded.shape == images.shape
    assert mean.shape == logvar.shape == (3, 128)
    torch.testing.assert_close(decoded, expected)
    torch.testing.assert_close(mean, mean_alone)


def test_reparameterize_has_the_right_moments_and_gradients():
    torch.manual_seed(0)
    mean = torch.tensor([[1.0, -2.0]]).expand(100_000, 2).clone().requires_grad_()
    logvar = torch.tensor([[0.0, 2.0]]).expand(100_000, 2).clone().requires_grad_()
    code = VAE().reparameterize(mean, logvar)
    torch.testing.assert_close(code.mean(0), torch.tensor([1.0, -2.0]), atol=0.04, rtol=0)
    torch.testing.assert_close(code.std(0), torch.tensor([0.0, 2.0]).div(2).exp(),
                               atol=0.04, rtol=0)
    code.sum().backward()
    eps = (code - mean).detach() / torch.exp(logvar.detach() / 2)
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))
    torch.testing.assert_close(logvar.grad, eps * torch.exp(logvar.detach() / 2) / 2)


def test_sample_decodes_codes_of_the_prior():
    model = VAE().eval()
    assert model.sample('cpu').shape == (1, 3, 64, 64)
    torch.manual_seed(3)
    faces = model.sample('cpu', n_samples=5)
    torch.manual_seed(3)
    torch.testing.assert_close(faces, model.decode(torch.randn(5, 128)))


@pytest.mark.parametrize('hiddens, latent_dim', [
    ((8,), 4), ((8, 12, 20), 3), ([4, 4, 4, 4, 4, 4], 200)])
def test_other_sizes_work(hiddens, latent_dim):
    decoded, mean, _ = VAE(hiddens, latent_dim)(torch.rand(2, 3, 64, 64))
    assert decoded.shape == (2, 3, 64, 64)
    assert mean.shape == (2, latent_dim)


@pytest.mark.parametrize('hiddens, latent_dim', [
    ((8,) * 7, 4), ((), 4), ((8, 0), 4), ((8, 1.5), 4), ((8,), 0)])
def test_sizes_that_cannot_work_are_refused(hiddens, latent_dim):
    with pytest.raises(ValueError, match='hiddens'):
        VAE(hiddens, latent_dim)
