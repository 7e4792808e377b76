"""Faces as points whose distances mean something: how alike two faces are, not their pixels.

A small network that tells CelebA's 40 attributes from a face, trained on the images 000001 to
007200 by benchmarks/bundled.py and bundled; the 64 numbers before its last layer are the
embedding of a face. It needs no download and no further package; its distances can be compared
with each other, not with those of other papers.
"""
import math
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from dldemos.VAE.support.errors import UserError

SIDE = 64                      # pixels of a side that the network looks at
N_FEATURES, N_ATTRIBUTES = 64, 40
EMBEDDING = Path(__file__).absolute().parents[1] / 'pretrained/embedding.pth'
NEIGHBOURS = 3                 # that make the ball around a face, for precision and recall


class FaceEmbedding(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> embeddings (N, 64), of total variance 1 over faces."""

    def __init__(self, widths=(32, 48, 80, 128)):
        super().__init__()
        stages, previous = [], 3
        for width in widths:
            stages += [nn.Conv2d(previous, width, 3, stride=2, padding=1, bias=False),
                       nn.BatchNorm2d(width), nn.ReLU(),
                       nn.Conv2d(width, width, 3, padding=1, bias=False),
                       nn.BatchNorm2d(width), nn.ReLU()]
            previous = width
        self.features = nn.Sequential(*stages)               # (N, 128, 4, 4)
        self.embed = nn.Linear(previous * 4, N_FEATURES)     # of each quarter of the face
        self.classify = nn.Linear(N_FEATURES, N_ATTRIBUTES)

    def forward(self, images):
        if images.shape[-1] != SIDE or images.shape[-2] != SIDE:
            images = F.interpolate(images, size=(SIDE, SIDE), mode='bilinear', antialias=True)
        features = F.adaptive_avg_pool2d(self.features(images - 0.5), 2)
        return self.embed(features.flatten(1))


@lru_cache(maxsize=1)
def bundled_embedding():
    """The network that comes with the package, in evaluation mode, on the CPU.

    Raises:
        UserError: its file is missing or damaged.
    """
    with torch.random.fork_rng(devices=[]):    # who asks first has the same numbers afterwards
        network = FaceEmbedding().float()      # whatever the default type of numbers is
    try:
        network.load_state_dict(torch.load(EMBEDDING, map_location='cpu', weights_only=True))
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f'{EMBEDDING} is missing or damaged ({type(error).__name__}): get the '
                        f'whole repository again') from error
    return network.eval().requires_grad_(False)


def embed(images):
    """Images (N, 3, H, W), clamped to [0, 1] -> their embeddings (N, 64), on the CPU."""
    return bundled_embedding()(images.float().cpu().clamp(0, 1))


def frechet_distance(a, b):
    """The Frechet distance between Gaussians fitted to two sets of embeddings, (N, D) and (M, D).

    |mean - mean|^2 + tr(A + B - 2 (A B)^(1/2)) of their means and covariances (Dowson and Landau
    1982; as a distance of image sets: Heusel et al., "GANs Trained by a Two Time-Scale Update
    Rule", 2017). Small sets have larger ones: compare sets of as many images. NaN where a set
    has fewer than two, or NaN itself.
    """
    if min(len(a), len(b)) < 2 or not (a.isfinite().all() and b.isfinite().all()):
        return math.nan
    a, b = a.double(), b.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0)     # has (A B)'s eigenvalues
    return ((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace()
            - 2 * product.sqrt().sum()).item()


def precision_and_recall(real, drawn, k=NEIGHBOURS):
    """The shares of drawn faces that lie among real ones, and of real ones among the drawn.

    A set's region is the union of balls around its embeddings (N, D), each reaching to its k-th
    nearest neighbour (Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing
    Generative Models", 2019). Faces all alike have a high precision and a low recall.

    Returns:
        (precision, recall); None where a set has no more than k, or has NaN.
    """
    if (min(len(real), len(drawn)) <= k
            or not (real.isfinite().all() and drawn.isfinite().all())):
        return None
    return share_within(drawn, real, k), share_within(real, drawn, k)


def share_within(points, others, k):
    """The share of points (N, D) that lie in the region of the others (M, D)."""
    radius = torch.cdist(others, others).kthvalue(k + 1, dim=1).values     # the nearest is itself
    return (torch.cdist(points, others) <= radius).any(1).float().mean().item()
