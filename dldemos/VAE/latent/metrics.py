"""Metrics of a trained model, on images that it was not trained on.

Images are (N, 3, H, W) in [0, 1]. Every function is deterministic for a seed.
"""
import json
import math
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from dldemos.VAE.latent.codes import count_images, decode_batches
from dldemos.VAE.latent.elbo import (
    bits_per_dimension,
    calibrated_kl_weight,
    implied_variance,
    kl_divergence,
)
from dldemos.VAE.latent.embedding import (
    N_FEATURES,
    embed,
    frechet_distance,
    precision_and_recall,
)
from dldemos.VAE.latent.walks import normal_codes
from dldemos.VAE.latent.wasserstein import Patches, sliced_wasserstein
from dldemos.VAE.support.files import WORK_DIR, atomic_write, printable

MOST_COMPARED = 2048         # images of a set whose distance to another is measured
ACTIVE_THRESHOLD = 0.01
WINDOW = 11                  # pixels a side of the windows of SSIM
LABELS = {                   # what `evaluate` prints for its metrics
    'n_images': 'images',
    'mse_sampled': 'MSE, code sampled',
    'mse_mean': 'MSE, mean of the code',
    'psnr': 'PSNR of that error, dB',
    'ssim': 'SSIM of that',
    'kl': 'KL, nats per image',
    'loss': 'loss, kl_weight {kl_weight:.3g}',
    'bits_implied': 'bits/dim, variance {variance_implied:.3g} (of kl_weight)',
    'bits_best': 'bits/dim, variance {mse_sampled:.3g} (the best)',
    'active_units': 'active units of {latent_dim}, variance > ' + str(ACTIVE_THRESHOLD),
    'read_out': 'attributes told from the code, 0.5: by chance',
}
DISTANCES = ('swd', 'frechet', 'precision', 'recall')
COMPARED = {'halves': 'other half of the images', 'reconstructions': 'reconstructions'}


@torch.no_grad()
def evaluate(device, model, dataloader, kl_weight, draw_codes=None, work_dir=WORK_DIR,
             read_out=None, seed=0):
    """Print metrics of the model on held-out images.

    The images pass by a batch at a time: of any number of them only sums are kept, and patches
    and embeddings of at most 2 * MOST_COMPARED, for the distances.

    Args:
        draw_codes: {prior: function of a number of codes -> (n, latent_dim)}; each gets the
            distance of the faces decoded from them. None: N(0, I) alone.
        read_out: a ReadOut of the attributes of these images, in their order; None: not known.

    Returns:
        {metric: value}, by the keys of LABELS and kl_weight, latent_dim, variance_implied; the
        distances as swd_halves, frechet_flow ...; and attributes, {name: balanced accuracy}. Also
        written to evaluate.json in work_dir. A metric that has no meaning is left out: the bits
        of a kl_weight of 0, what needs two images, or more, where there are fewer, and what needs
        windows of 11 pixels a side where the images have less.
    """
    model.to(device, memory_format=torch.channels_last).eval()
    draw_codes = draw_codes or {'normal': partial(normal_codes, model.latent_dim, seed=seed)}
    n_images = count_images(dataloader)
    halves = Halves(n_images, seed)
    torch.manual_seed(seed)
    metrics, n_active, n_values = measure(device, model, dataloader, n_images, halves, read_out)
    metrics |= likelihood(metrics, kl_weight, n_values)
    attributes = read_out.balanced_accuracy() if read_out else {}
    if attributes:
        metrics['read_out'] = sum(attributes.values()) / len(attributes)
    if metrics['n_images'] < 2:
        print('one image: no active units and no distances, which need two')
    else:
        metrics['active_units'] = n_active
        found = distances(device, model, halves, draw_codes) if 'ssim' in metrics else {}
        metrics |= {name: value for name, value in found.items() if math.isfinite(value)}
    show(metrics, attributes, draw_codes)
    if attributes:
        metrics['attributes'] = attributes
    with atomic_write(Path(work_dir) / 'evaluate.json', 'w') as file:
        finite = {name: value for name, value in metrics.items()
                  if not isinstance(value, float) or math.isfinite(value)}
        file.write(json.dumps(finite, indent=2) + '\n')        # NaN is no JSON
    return metrics


def show(metrics, attributes, priors):
    """Print metrics: a line for each, the attributes, and a table of the distances."""
    for name, label in LABELS.items():
        if name in metrics:
            value = metrics[name]
            print(f'{label.format(**metrics):<44} '
                  + (f'{value:>10.4g}' if isinstance(value, float) else f'{value:>10}'))
    best_first = sorted(attributes, key=attributes.get, reverse=True)
    for i in range(0, len(best_first), 4):
        print(printable('  ' + ' '.join(f'{name[:19]:<19} {attributes[name]:.2f}'
                                        for name in best_first[i:i + 4])))
    if 'swd_halves' in metrics:
        print(f'{"one half of the images against":<32}{"SWD":>8}{"Frechet":>10}{"precision":>11}'
              f'{"recall":>8}')
        print(f'{"":<32}{"x 1000":>8}{"x 1000":>10}')
    for which, label in {**COMPARED, **{prior: f'samples of {prior}' for prior in priors}}.items():
        values = [metrics.get(f'{distance}_{which}') for distance in DISTANCES]
        if any(value is not None for value in values):
            print(f'{label:<32}' + ''.join(
                ' ' * width if value is None else f'{value:>{width}.{digits}f}' for
                value, width, digits in zip(values, (8, 10, 11, 8), (1, 1, 3, 3))))


def measure(device, model, dataloader, n_images, halves, read_out=None):
    """One pass over the images, each batch of which is given to `halves` as well.

    Returns:
        The metrics that are means over the images, the number of active units, and the number
        of values of an image.
    """
    sums = {}
    codes = RunningVariance()
    with tqdm(total=n_images, desc='evaluating', unit='image', leave=False, disable=None) as bar:
        for images in dataloader:
            is_large = min(images.shape[-2:]) >= WINDOW
            images = images.to(device, memory_format=torch.channels_last)
            mean, logvar = model.encode(images)
            decoded = model.decode(mean)
            sampled = model.decode(model.reparameterize(mean, logvar))
            of_batch = {'mse_sampled': F.mse_loss(sampled, images).item(),
                        'mse_mean': F.mse_loss(decoded, images).item(),
                        'kl': kl_divergence(mean, logvar).mean().item()}
            if is_large:
                of_batch['ssim'] = ssim(decoded.clamp(0, 1), images)
                halves.add(images, decoded)
            if read_out:
                read_out.add(mean)
            for name, value in of_batch.items():
                sums[name] = sums.get(name, 0.0) + len(images) * value
            codes.add(mean)
            bar.update(len(images))
    return ({'n_images': codes.n, **{name: total / codes.n for name, total in sums.items()},
             'latent_dim': mean.shape[1]}, codes.n_above(ACTIVE_THRESHOLD), images[0].numel())


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


class Halves:
    """Two halves of the images, in random order, of at most MOST_COMPARED each.

    Their patches, their embeddings and those of their reconstructions, (2, n, 64).
    """

    def __init__(self, n_images, seed):
        n = min(n_images // 2, MOST_COMPARED)
        order = torch.randperm(n_images, generator=torch.Generator().manual_seed(seed))
        self.patches = Patches(n), Patches(n)
        self.embedded, self.reconstructed = torch.empty(2, 2, n, N_FEATURES)
        self.place = torch.full((n_images,), -1)          # in the first n, or the second
        self.place[order[:2 * n]] = torch.arange(2 * n)
        self.n_images, self.n_seen = n, 0

    def add(self, images, decoded):
        """Take what belongs to the halves of the next images, and of what they decode to."""
        place = self.place[self.n_seen:self.n_seen + len(images)]
        self.n_seen += len(images)
        chosen = place >= 0
        if not chosen.any():
            return
        half, index = place[chosen] // self.n_images, place[chosen] % self.n_images
        self.embedded[half, index] = embed(images[chosen])
        self.reconstructed[half, index] = embed(decoded[chosen])
        for i, patches in enumerate(self.patches):
            if (half == i).any():
                patches.add(images[chosen][half == i], index[half == i])


def distances(device, model, halves, draw_codes):
    """Distances to one half of the images: of the other, of reconstructions, and of samples.

    That of embeddings is a mean over the halves, and a half's reconstructions are compared with
    the images of the other: by chance alone they are as far apart as the halves.
    """
    n, half = halves.n_images, halves.patches[0].descriptors()
    one, other = halves.embedded
    found = {'swd_halves': sliced_wasserstein(half, halves.patches[1].descriptors()),
             **compared('halves', [(one, other), (other, one)]),
             **compared('reconstructions', zip((one, other), halves.reconstructed.flip(0)))}
    for prior, draw in draw_codes.items():
        patches, embedded = Patches(n), []
        for faces in decode_batches(model, device, draw(n)):
            faces = faces.clamp(0, 1)
            patches.add(faces, torch.arange(len(faces)) + sum(map(len, embedded)))
            embedded.append(embed(faces))
        found[f'swd_{prior}'] = sliced_wasserstein(half, patches.descriptors())
        found |= compared(prior, [(one, torch.cat(embedded)), (other, torch.cat(embedded))])
    return found


def compared(which, pairs):
    """Distance, precision and recall of embeddings, means over pairs (of images, of others)."""
    pairs = list(pairs)
    found = {f'frechet_{which}': 1000 * mean_of(frechet_distance(*pair) for pair in pairs)}
    shares = [precision_and_recall(*pair) for pair in pairs]
    if None not in shares:
        for name, values in zip(('precision', 'recall'), zip(*shares)):
            found[f'{name}_{which}'] = mean_of(values)
    return found


def mean_of(values):
    values = list(values)
    return sum(values) / len(values)


def psnr(mse):
    """Peak signal-to-noise ratio in dB of a mean squared error, for a peak of 1."""
    return -10 * math.log10(mse) if mse else math.inf


def ssim(x, y):
    """Structural similarity of two sets of images, a mean over images, pixels and channels.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment", 2004: an 11 x 11 Gaussian
    window with sigma 1.5, K1 = 0.01, K2 = 0.03, and no padding.
    """
    down, across = (gaussian_windows(size).to(x) for size in x.shape[-2:])

    def blur(images):                              # a product of matrices: sooner than conv2d
        return down @ images @ across.T

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)
                  / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    return similarity.mean().item()


def gaussian_windows(size):
    """A Gaussian window of 11 pixels at each of its places on `size` pixels: (size - 10, size)."""
    offsets = torch.arange(float(WINDOW)) - WINDOW // 2
    window = torch.exp(-offsets**2 / (2 * 1.5**2))
    window = window / window.sum()
    return torch.stack([F.pad(window, (i, size - WINDOW - i))
                        for i in range(size - WINDOW + 1)])


class RunningVariance:
    """The variance of each column of values (N, D) that come in batches, in float64.

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", 1979: sums of squares about the mean, which lose no digits.
    """

    def __init__(self):
        self.n, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, values):
        values = values.cpu().double()
        n, mean = len(values), values.mean(0)
        step = mean - self.mean
        self.squares = (self.squares + (values - mean).square().sum(0)
                        + step**2 * (self.n * n / (self.n + n)))
        self.n += n
        self.mean = self.mean + step * (n / self.n)

    def variance(self):
        """Of each column, (D,); of two values at least."""
        return self.squares / (self.n - 1)

    def n_above(self, threshold):
        """How many columns vary more than that; 0 where a single value is known.

        Of codes' means: active units (Burda, Grosse and Salakhutdinov, "Importance Weighted
        Autoencoders", 2016, section 5.2).
        """
        return int((self.variance() > threshold).sum()) if self.n > 1 else 0
