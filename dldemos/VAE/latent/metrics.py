"""Figures of a trained model, on images that it was not trained on.

Images are (N, 3, H, W) in [0, 1]. Every function is deterministic for a seed.
"""
import math

import torch
import torch.nn.functional as F

from dldemos.VAE.latent.walks import kl_per_dimension

ACTIVE_THRESHOLD = 0.01


@torch.no_grad()
def evaluate(device, model, dataloader, kl_weight, draw_samples, seed=0):
    """Print a table of figures of `model` on the images of `dataloader`; returns it as a dict.

    Args:
        draw_samples: {prior: function of a number of faces -> codes (n, latent_dim)}; the
            distance of the faces decoded from them is one line each.
    """
    model.to(device).eval()
    torch.manual_seed(seed)
    images, decoded, sampled, means, logvars = [], [], [], [], []
    for batch in dataloader:
        mean, logvar = model.encode(batch.to(device))
        images.append(batch)
        decoded.append(model.decode(mean).cpu())
        sampled.append(model.decode(model.reparameterize(mean, logvar)).cpu())
        means.append(mean.cpu())
        logvars.append(logvar.cpu())
    images, decoded, sampled = torch.cat(images), torch.cat(decoded), torch.cat(sampled)
    mean, logvar = torch.cat(means), torch.cat(logvars)
    n_values = images[0].numel()
    of_mean = F.mse_loss(decoded, images).item()
    of_sample = F.mse_loss(sampled, images).item()
    kl = kl_per_dimension(mean, logvar).sum().item()
    if kl_weight == 'auto':
        kl_weight = 2 * of_sample / n_values
    implied = implied_variance(kl_weight, n_values)
    table = {
        'images': len(images),
        'MSE, code sampled': of_sample,
        'MSE, mean of the code': of_mean,
        'PSNR of that, dB': psnr(of_mean),
        'SSIM of that': ssim(decoded.clamp(0, 1), images),
        'KL, nats an image': kl,
        f'loss, kl_weight {kl_weight:.3g}': of_sample + kl_weight * kl,
        f'bits/dim, variance {implied:.3g} (of kl_weight)':
            bits_per_dimension(of_sample * n_values, kl, n_values, implied),
        f'bits/dim, variance {of_sample:.3g} (the best)':
            bits_per_dimension(of_sample * n_values, kl, n_values, of_sample),
        f'active units of {mean.shape[1]}, variance > {ACTIVE_THRESHOLD}': active_units(mean),
    }
    n = len(images) // 2
    shuffled = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]
    if n:
        table['SWD x 1000, two halves of the images'] = sliced_wasserstein(
            shuffled[:n], shuffled[n:2 * n])
        for prior, draw in draw_samples.items():
            faces = model.decode(draw(n).to(device)).cpu().clamp(0, 1)
            table[f'SWD x 1000, samples of {prior}'] = sliced_wasserstein(shuffled[:n], faces)
    for name, value in table.items():
        print(f'{name:<44} {value:>10.4g}' if isinstance(value, float)
              else f'{name:<44} {value:>10}')
    return table


def psnr(mse):
    """Peak signal-to-noise ratio in dB of a mean squared error, for a peak of 1."""
    return -10 * math.log10(mse)


def ssim(x, y):
    """Structural similarity of two sets of images, a mean over images, pixels and channels.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment", 2004: an 11 x 11 Gaussian
    window with sigma 1.5, K1 = 0.01, K2 = 0.03, and no padding.
    """
    offsets = torch.arange(11, dtype=x.dtype, device=x.device) - 5
    window = torch.exp(-offsets**2 / (2 * 1.5**2))
    window = window / window.sum()
    kernel = torch.outer(window, window).expand(x.shape[1], 1, 11, 11)

    def blur(images):
        return F.conv2d(images, kernel, groups=x.shape[1])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)
                  / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    return similarity.mean().item()


def implied_variance(kl_weight, n_values):
    """The variance of a Gaussian decoder for which `kl_weight` is the ELBO's own balance.

    Scaled by 2 variance / n_values, -log N(x; y, variance) is the mean squared error of the
    n_values of an image, and the KL divergence gets the weight 2 variance / n_values.
    """
    return kl_weight * n_values / 2


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


def active_units(mean, threshold=ACTIVE_THRESHOLD):
    """How many dimensions of the code depend on the image: variance of its mean > threshold.

    Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", 2016, section 5.2.
    mean: (N, latent_dim).
    """
    return int((mean.var(0) > threshold).sum())


def laplacian_pyramid(images, n_levels):
    """Images -> their details at full size, half size ..., and what is left at the smallest."""
    levels = []
    for _ in range(n_levels - 1):
        smaller = F.avg_pool2d(images, 2)
        enlarged = F.interpolate(smaller, scale_factor=2, mode='bilinear', align_corners=False)
        levels.append(images - enlarged)
        images = smaller
    return [*levels, images]


def descriptors(images, generator, per_image=64, side=7):
    """Random patches of images, normalised by channel: (N * per_image, 3 * side * side)."""
    n, channels, height, width = images.shape
    patches = images.unfold(2, side, 1).unfold(3, side, 1)      # (N, 3, rows, columns, 7, 7)
    rows = torch.randint(height - side + 1, (n, per_image), generator=generator)
    columns = torch.randint(width - side + 1, (n, per_image), generator=generator)
    which = torch.arange(n).unsqueeze(1)
    picked = patches[which, :, rows, columns].reshape(-1, channels, side, side)
    picked = picked - picked.mean((0, 2, 3), keepdim=True)
    picked = picked / picked.std((0, 2, 3), keepdim=True)
    return picked.flatten(1)


def sliced_wasserstein(x, y, n_levels=3, n_projections=256, seed=0):
    """The sliced Wasserstein distance between two sets of as many images, times 1000.

    Karras, Aila, Laine and Lehtinen, "Progressive Growing of GANs", 2018, section 5: patches
    of 7 x 7 at each level of a Laplacian pyramid, projected on random directions; the mean
    distance between the sorted projections, a mean over the levels 64, 32 and 16. Here with
    64 patches of an image and 256 directions, and the same places and directions for both.

    Raises:
        ValueError: the sets differ in shape.
    """
    if x.shape != y.shape:
        raise ValueError(f'sets of the same shape are compared, not {x.shape} and {y.shape}')
    distances = []
    for a, b in zip(laplacian_pyramid(x, n_levels), laplacian_pyramid(y, n_levels)):
        a = descriptors(a, torch.Generator().manual_seed(seed))
        b = descriptors(b, torch.Generator().manual_seed(seed))
        generator = torch.Generator().manual_seed(seed + 1)
        directions = torch.randn(a.shape[1], n_projections, generator=generator)
        directions = directions / directions.norm(dim=0)
        difference = (a @ directions).sort(0).values - (b @ directions).sort(0).values
        distances.append(difference.abs().mean().item())
    return 1000 * sum(distances) / len(distances)
