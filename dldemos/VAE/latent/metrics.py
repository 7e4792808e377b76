"""Metrics of a trained model, on images that it was not trained on.

Images are (N, 3, H, W) in [0, 1]. Every function is deterministic for a seed.
"""
import json
import math
from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from dldemos.VAE.latent.codes import count_images, decode_batches
from dldemos.VAE.latent.elbo import bits_per_dimension, calibrated_kl_weight, implied_variance
from dldemos.VAE.latent.embedding import (
    N_FEATURES,
    embed,
    frechet_distance,
    precision_and_recall,
)
from dldemos.VAE.latent.walks import normal_codes
from dldemos.VAE.latent.wasserstein import sliced_wasserstein
from dldemos.VAE.support.files import WORK_DIR, atomic_write, printable

MOST_COMPARED = 2048         # images of a set whose distance to another is measured, and
MOST_VALUES = 2**25          # numbers of these images: fewer of large ones
LEAST_FOR_FRECHET = 200      # images of a set: below 65 their covariance has no inverse
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
    'linear_probe': 'linear probe, balanced accuracy (chance: 0.5)',
}
DISTANCES = {'swd': '8.1f', 'frechet': '10.1f', 'precision': '11.3f', 'recall': '8.3f'}
TABLE_HEAD = '''\
one half of the images against       SWD   Frechet  precision  recall
                                  x 1000    x 1000
                                   lower is better   higher is better'''
COMPARED = {'halves': 'other half of the images', 'reconstructions': 'reconstructions'}


@torch.no_grad()
def evaluate(device, model, dataloader, loss_fn, kl_weight, random_codes=None, work_dir=WORK_DIR,
             probe=None, seed=0):
    """Print metrics of the model on held-out images.

    The images pass by a batch at a time: of any number of them only sums are kept, and at most
    2 * MOST_COMPARED of them, with their embeddings, for the distances.

    Args:
        loss_fn: that of main.py.
        random_codes: {prior: function of a number of codes -> (n, latent_dim)}; each gets the
            distance of the faces decoded from them. None: N(0, I) alone.
        probe: a LinearProbe for the attributes of these images, in their order; None: not known.

    Returns:
        {metric: value}, by the keys of LABELS and kl_weight, latent_dim, variance_implied; the
        distances as swd_halves, frechet_flow ...; and attributes, {name: balanced accuracy}. Also
        written to evaluate.json in work_dir. A metric that has no meaning is left out: the bits
        of a kl_weight of 0, what needs two images, or more, where there are fewer, and what needs
        windows of 11 pixels a side where the images have less.
    """
    model.to(device, memory_format=torch.channels_last).eval()
    random_codes = random_codes or {'normal': partial(normal_codes, model.latent_dim, seed=seed)}
    halves = Halves(count_images(dataloader), seed)
    torch.manual_seed(seed)
    metrics, n_values = measure(device, model, dataloader, loss_fn, kl_weight, halves, probe)
    metrics |= likelihood(metrics, kl_weight, n_values)
    attributes = probe.balanced_accuracy() if probe else {}
    if attributes:
        metrics['linear_probe'] = sum(attributes.values()) / len(attributes)
    if metrics['n_images'] < 2:
        print('one image: no active units and no distances, which need two')
    elif 'ssim' in metrics:
        found = distances(device, model, halves, random_codes)
        metrics |= {name: value for name, value in found.items() if math.isfinite(value)}
    show(metrics, attributes, random_codes)
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
            print(f'{label.format(**metrics):<46} '
                  + (f'{value:>10.4g}' if isinstance(value, float) else f'{value:>10}'))
    best_first = sorted(attributes, key=attributes.get, reverse=True)
    for i in range(0, len(best_first), 4):
        print(printable('  ' + ' '.join(f'{name[:19]:<19} {attributes[name]:.2f}'
                                        for name in best_first[i:i + 4])))
    if 'swd_halves' not in metrics:
        return
    print(TABLE_HEAD)
    for which, label in {**COMPARED, **{prior: f'samples of {prior}' for prior in priors}}.items():
        values = {name: metrics.get(f'{name}_{which}') for name in DISTANCES}
        if any(value is not None for value in values.values()):
            print(f'{label:<32}' + ''.join(
                ' ' * int(form.partition('.')[0]) if values[name] is None else
                f'{values[name]:{form}}' for name, form in DISTANCES.items()))
    print('SWD is of patches, of any images; the others of an embedding of faces, and mean little '
          'of other images')
    if 'frechet_halves' not in metrics:
        print(f'no Frechet distance: each half needs {LEAST_FOR_FRECHET} images')


def measure(device, model, dataloader, loss_fn, kl_weight, halves, probe=None):
    """One pass over the images, each batch of which is given to `halves` and `probe` as well.

    Returns:
        The metrics that are means over the images, with the number of active units; and the
        number of values of an image.
    """
    sums, n_images = defaultdict(float), 0
    with tqdm(total=halves.n_all, desc='evaluating', unit='image', leave=False,
              disable=None) as bar:
        for images in dataloader:
            images = images.to(device, memory_format=torch.channels_last)
            mean, logvar = model.encode(images)
            codes = mean.cpu().double()
            decoded = model.decode(mean)
            sampled = model.decode(model.reparameterize(mean, logvar))
            loss, _, kl = loss_fn(images, sampled, mean, logvar, kl_weight, return_terms=True)
            of_batch = {'mse_sampled': F.mse_loss(sampled, images).item(),
                        'mse_mean': F.mse_loss(decoded, images).item(),
                        'kl': kl.item(), 'loss': loss.item(),
                        'code': codes.mean(0), 'code_squared': codes.square().mean(0)}
            if min(images.shape[-2:]) >= WINDOW:
                of_batch['ssim'] = ssim(decoded.clamp(0, 1), images)
                halves.add(images, decoded)
            if probe:
                probe.add(mean)
            for name, value in of_batch.items():
                sums[name] += len(images) * value
            n_images += len(images)
            bar.update(len(images))
    metrics = {name: total / n_images for name, total in sums.items()}
    variance = metrics.pop('code_squared') - metrics.pop('code').square()
    metrics |= {'n_images': n_images, 'latent_dim': mean.shape[1]}
    if n_images > 1:
        # active units: Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", 2016
        is_active = variance * n_images / (n_images - 1) > ACTIVE_THRESHOLD
        metrics['active_units'] = int(is_active.sum())
    return metrics, images[0].numel()


def likelihood(metrics, kl_weight, n_values):
    """The ELBO in bits, and PSNR, that follow from mse_sampled, mse_mean and kl."""
    error, kl = metrics['mse_sampled'], metrics['kl']
    if kl_weight == 'auto':
        kl_weight = calibrated_kl_weight(error, n_values)
    implied = implied_variance(kl_weight, n_values)
    found = {'kl_weight': kl_weight, 'variance_implied': implied,
             'psnr': psnr(metrics['mse_mean'])}
    for name, variance in (('bits_implied', implied), ('bits_best', error)):
        if variance > 0:
            found[name] = bits_per_dimension(error * n_values, kl, n_values, variance)
    return found


class Halves:
    """Two halves of the images, in random order, of at most MOST_COMPARED each.

    images, and the embeddings of these and of their reconstructions, (2 n, ...): the first n rows
    are one half, the others the other.
    """

    def __init__(self, n_images, seed):
        self.n_all, self.n_seen = n_images, 0
        self.order = torch.randperm(n_images, generator=torch.Generator().manual_seed(seed))

    def make_room(self, image):
        n = 2 * min(self.n_all // 2, MOST_COMPARED, max(1, MOST_VALUES // image.numel()))
        self.row = torch.full((self.n_all,), -1)                  # -1: in neither half
        self.row[self.order[:n]] = torch.arange(n)
        self.images = torch.empty(n, *image.shape)
        self.embedded, self.reconstructed = torch.empty(2, n, N_FEATURES)

    def add(self, images, decoded):
        """Take what belongs to the halves of the next images, and of what they decode to."""
        if not self.n_seen:
            self.make_room(images[0])
        row = self.row[self.n_seen:self.n_seen + len(images)]
        self.n_seen += len(images)
        chosen = row >= 0
        if chosen.any():
            self.images[row[chosen]] = images[chosen].cpu()
            self.embedded[row[chosen]] = embed(images[chosen])
            self.reconstructed[row[chosen]] = embed(decoded[chosen])


def distances(device, model, halves, random_codes):
    """Distances to one half of the images: of the other, of reconstructions, and of samples.

    That of embeddings is a mean over the halves, and a half's reconstructions are compared with
    the images of the other: by chance alone they are as far apart as the halves.
    """
    images, (one, other) = halves.images.chunk(2), halves.embedded.chunk(2)
    of_one, of_other = halves.reconstructed.chunk(2)
    found = {'swd_halves': sliced_wasserstein(*images),
             **compared('halves', [(one, other), (other, one)]),
             **compared('reconstructions', [(one, of_other), (other, of_one)])}
    for prior, draw in random_codes.items():
        decoded = decode_batches(model, device, draw(len(one)))
        faces = torch.cat([faces.clamp(0, 1) for faces in decoded])
        embedded = torch.cat([embed(some) for some in faces.split(64)])
        found[f'swd_{prior}'] = sliced_wasserstein(images[0], faces)
        found |= compared(prior, [(one, embedded), (other, embedded)])
    return found


def compared(which, pairs):
    """Distance, precision and recall of embeddings, means over pairs (of images, of others)."""
    pairs, found = list(pairs), {}
    if len(pairs[0][0]) >= LEAST_FOR_FRECHET:
        found[f'frechet_{which}'] = 1000 * mean_of(frechet_distance(*pair) for pair in pairs)
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
