"""The terms of the evidence lower bound (ELBO), and what the weight of its KL term means.

Kingma and Welling, "Auto-Encoding Variational Bayes", 2013, arXiv:1312.6114. A code's
distribution is N(mean, exp(logvar)), its prior N(0, I); all divergences are in nats.
"""
import math

from torch.distributions import Normal, kl_divergence


def kl_per_dimension(mean, logvar):
    """KL(N(mean, exp(logvar)) || N(0, 1)) of each number of each code, (N, latent_dim)."""
    return kl_divergence(Normal(mean, (logvar / 2).exp(), validate_args=False), Normal(0.0, 1.0))


def calibrated_kl_weight(variance, n_values):
    """The kl_weight for which MSE + kl_weight * KL is the negative ELBO of a Gaussian decoder.

    With this variance, -log N(y; y_hat, variance) of the n_values of an image is
    n_values / (2 variance) times the mean squared error, and a constant. Scaled to the mean
    squared error, the KL divergence gets the weight 2 variance / n_values. The best variance is
    the mean squared error itself: Rybkin, Daniilidis and Levine, "Simple and Effective VAE
    Training with Calibrated Decoders" (sigma-VAE), 2021.
    """
    return 2 * variance / n_values


def implied_variance(kl_weight, n_values):
    """The variance of the Gaussian decoder for which `kl_weight` is calibrated: the inverse."""
    return kl_weight / calibrated_kl_weight(1, n_values)


def meaning_of(kl_weight, error, n_values):
    """A line on what a weight of the KL divergence means for a Gaussian decoder.

    Args:
        error: the mean squared error that was reached, the best variance of the decoder.
        n_values: numbers of an image, on which the meaning of the weight depends.
    """
    if not kl_weight:
        return 'kl_weight at the end: 0, an autoencoder with noise in its codes'
    return (f'kl_weight at the end: {kl_weight:.3g}, which is beta 1 at a decoder variance of '
            f'{implied_variance(kl_weight, n_values):.3g}, or beta '
            f'{kl_weight / calibrated_kl_weight(error, n_values):.3g} at the variance reached, '
            f'{error:.3g}')


def bits_per_dimension(squared_error, kl, n_values, variance):
    """The negative ELBO of an image in bits per pixel and channel, for pixels of 8 bits.

    Args:
        squared_error: sum over the image's n_values, for values in [0, 1].
        kl: in nats.
        variance: of the Gaussian decoder, for values in [0, 1].

    The density is that of values in [0, 256), which adds log2(256) = 8 bits to each.
    """
    nats = 0.5 * n_values * math.log(2 * math.pi * variance) + squared_error / (2 * variance) + kl
    return nats / (n_values * math.log(2)) + 8
