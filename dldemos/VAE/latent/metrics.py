"""Metrics of a trained model, on images that it was not trained on.

Images are (N, 3, H, W) in [0, 1]. Every function is deterministic for a seed.
"""
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

from dldemos.VAE.latent.elbo import (
    bits_per_dimension,
    calibrated_kl_weight,
    implied_variance,
    kl_per_dimension,
)
from dldemos.VAE.support.files import WORK_DIR, atomic_write

ACTIVE_THRESHOLD = 0.01
LABELS = {                   # what `evaluate` prints for its metrics
    'n_images': 'images',
    'mse_sampled': 'MSE, code sampled',
    'mse_mean': 'MSE, mean of the code',
    'psnr': 'PSNR of that, dB',
    'ssim': 'SSIM of that',
    'kl': 'KL, nats per image',
    'loss': 'loss, kl_weight {kl_weight:.3g}',
    'bits_implied': 'bits/dim, variance {variance_implied:.3g} (of kl_weight)',
    'bits_best': 'bits/dim, variance {mse_sampled:.3g} (the best)',
    'active_units': 'active units of {latent_dim}, variance > ' + str(ACTIVE_THRESHOLD),
    'swd_halves': 'SWD x 1000, two halves of the images',
    'swd_normal': 'SWD x 1000, samples of normal',
    'swd_gaussian': 'SWD x 1000, samples of gaussian',
    'swd_flow': 'SWD x 1000, samples of flow',
}


@torch.no_grad()
def evaluate(device, model, dataloader, kl_weight, draw_codes, work_dir=WORK_DIR, seed=0):
    """Print metrics of the model on held-out images.

    Args:
        draw_codes: {prior: function of a number of codes -> (n, latent_dim)}; each gets the
            distance of the faces decoded from them.

    Returns:
        {metric: value}, by the keys of LABELS and kl_weight, latent_dim, variance_implied; also
        written to evaluate.json in work_dir. A metric that has no meaning is left out: the bits
        of a kl_weight of 0, and what needs two images where there is one.
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
    metrics = {'n_images': len(images), 'mse_sampled': F.mse_loss(sampled, images).item(),
               'mse_mean': F.mse_loss(decoded, images).item(),
               'ssim': ssim(decoded.clamp(0, 1), images),
               'kl': kl_per_dimension(mean, logvar).mean(0).sum().item(),
               'latent_dim': mean.shape[1]}
    metrics |= likelihood(metrics, kl_weight, images[0].numel())
    if len(images) < 2:
        print('one image: no active units and no distances, which need two')
    else:
        metrics['active_units'] = active_units(mean)
        metrics |= distances(device, model, images, draw_codes, seed)
    for name, label in LABELS.items():
        if name in metrics:
            value = metrics[name]
            print(f'{label.format(**metrics):<44} '
                  + (f'{value:>10.4g}' if isinstance(value, float) else f'{value:>10}'))
    with atomic_write(Path(work_dir) / 'evaluate.json', 'w') as file:
        file.write(json.dumps(metrics, indent=2) + '\n')
    return metrics


def likelihood(metrics, kl_weight, n_values):
    """The loss, and the ELBO in bits, that follow from mse_sampled, mse_mean and kl."""
    error, kl = metrics['mse_sampled'], metrics['kl']
    if kl_weight == 'auto':
        kl_weight = calibrated_kl_weight(error, n_values)
    found = {'kl_weight': kl_weight, 'psnr': psnr(metrics['mse_mean']),
             'loss': error + kl_weight * kl}
    for name, variance in (('bits_implied', implied_variance(kl_weight, n_values)),
                           ('bits_best', error)):
        if variance > 0:
            found[name] = bits_per_dimension(error * n_values, kl, n_values, variance)
    return {**found, 'variance_implied': implied_variance(kl_weight, n_values)}


def distances(device, model, images, draw_codes, seed):
    """Sliced Wasserstein distances to one half of the images: of the other, and of samples."""
    n = len(images) // 2
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    half, other = images[order[:n]], images[order[n:2 * n]]
    found = {'swd_halves': sliced_wasserstein(half, other)}
    for prior, draw in draw_codes.items():
        faces = model.decode(draw(n).to(device)).cpu().clamp(0, 1)
        found[f'swd_{prior}'] = sliced_wasserstein(half, faces)
    return found


def psnr(mse):
    """Peak signal-to-noise ratio in dB of a mean squared error, for a peak of 1."""
    return -10 * math.log10(mse) if mse else math.inf


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
