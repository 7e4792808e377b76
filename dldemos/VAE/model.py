"""The variational autoencoder (VAE) of the article.

An encoder gives a normal distribution over latent codes for each image, a sample of it
is a code, and a decoder turns the code back into an image:

    model = VAE()
    mean, logvar = model.encode(images)          # a distribution for each image
    code = model.reparameterize(mean, logvar)    # a sample of each
    decoded = model.decode(code)                 # images again
    face = model.sample()                        # a face out of nothing

Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2013, arXiv:1312.6114.
"""
import torch
from torch import nn


class VAE(nn.Module):
    """A convolutional VAE for images (N, 3, image_size, image_size) in [0, 1].

    Args:
        hiddens: channels after each stage of the encoder; every stage halves the
            side, so at most six stages fit into 64 pixels.
        latent_dim: the length of a code.
        image_size: pixels of a side, a number that the stages halve evenly.

    Raises:
        ValueError: in one sentence, where such a model cannot be built.
    """

    def __init__(self, hiddens=(16, 32, 64, 128, 256), latent_dim=128, image_size=64):
        super().__init__()
        hiddens = check_sizes(hiddens, latent_dim, image_size)
        self.hiddens = tuple(hiddens)
        self.latent_dim = latent_dim
        self.image_size = image_size
        side = image_size >> len(hiddens)                   # 64 -> 2 with five stages
        self.feature_shape = (hiddens[-1], side, side)      # (256, 2, 2)
        n_features = hiddens[-1] * side * side              # 1024

        stages = []
        previous = 3
        for width in hiddens:
            stages.append(nn.Sequential(
                nn.Conv2d(previous, width, kernel_size=3, stride=2, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU()))
            previous = width
        self.encoder = nn.Sequential(*stages)
        self.mean_linear = nn.Linear(n_features, latent_dim)
        self.var_linear = nn.Linear(n_features, latent_dim)  # gives log(variance)

        self.decoder_projection = nn.Linear(latent_dim, n_features)
        widths = hiddens[::-1]
        stages = []
        for previous, width in zip(widths, widths[1:] + widths[-1:]):
            stages.append(nn.Sequential(
                nn.ConvTranspose2d(previous, width, kernel_size=3, stride=2,
                                   padding=1, output_padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU()))
        stages[-1].extend([nn.Conv2d(widths[-1], 3, kernel_size=3, padding=1), nn.ReLU()])
        self.decoder = nn.Sequential(*stages)

    def encode(self, x):
        """Images (N, 3, 64, 64) -> mean and log-variance of their codes, each (N, latent_dim)."""
        features = torch.flatten(self.encoder(x), 1)         # (N, 1024)
        return self.mean_linear(features), self.var_linear(features)

    def reparameterize(self, mean, logvar):
        """Draw a code from N(mean, exp(logvar)) so that gradients reach both.

        The randomness comes from eps ~ N(0, I), which needs no gradient
        (Kingma and Welling 2013, section 2.4).
        """
        eps = torch.randn_like(logvar)
        return mean + torch.exp(logvar / 2) * eps

    def decode(self, code):
        """Codes (N, latent_dim) -> images (N, 3, 64, 64) of 0 and more: clamp them to [0, 1]."""
        features = self.decoder_projection(code)             # (N, 1024)
        return self.decoder(features.view(-1, *self.feature_shape))

    def forward(self, x):
        """Images (N, 3, 64, 64) -> (decoded images, mean, logvar)."""
        mean, logvar = self.encode(x)
        code = self.reparameterize(mean, logvar)
        return self.decode(code), mean, logvar

    def sample(self, device=None, n_samples=1, temperature=1.0):
        """Decode n_samples codes of the prior N(0, I): images (n_samples, 3, 64, 64).

        The codes are drawn on `device`, by default that of the model; temperature is their
        standard deviation. Call `model.eval()` first: in training mode batch normalisation
        would mix the samples with each other.
        """
        device = device or self.mean_linear.weight.device
        code = temperature * torch.randn(n_samples, self.latent_dim, device=device)
        return self.decode(code)


def check_sizes(hiddens, latent_dim, image_size):
    """The widths as a list of int; ValueError in a sentence where they fit no model."""
    hiddens = list(hiddens)
    if not all(type(n) is int and n > 0 for n in [*hiddens, latent_dim, image_size]):
        raise ValueError(f'hiddens, latent_dim and image_size must be whole numbers above 0, '
                         f'not {hiddens}, {latent_dim} and {image_size}')
    most = (image_size & -image_size).bit_length() - 1      # how often it can be halved
    if not 1 <= len(hiddens) <= most:
        raise ValueError(f'hiddens has {len(hiddens)} widths, but each one halves the '
                         f'{image_size} pixels of a side: give 1 to {most} of them'
                         if most else f'image_size {image_size} cannot be halved: give an even '
                                      f'number, such as 64')
    return hiddens
