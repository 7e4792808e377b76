"""Draw what attributes change: differences of means above directions controlled for others.

    python benchmarks/directions.py data/celebA/img_align_celeba

writes docs/directions.jpg, of the bundled weights `sharp` (--weights names others) and of faces of
random codes. Both kinds of direction are of the same length, in standard deviations of the codes.
--all adds a third kind, controlled for all attributes of the list.
"""
import argparse
from pathlib import Path

import torch
from runs import REPOSITORY

from dldemos.VAE.images.grids import save_picture
from dldemos.VAE.latent.attributes import (
    STEP,
    attribute_directions,
    read_attributes,
    several_attributes,
)
from dldemos.VAE.latent.codes import encode_all
from dldemos.VAE.latent.walks import normal_codes
from dldemos.VAE.load_celebA import CelebADataset, batches, split
from dldemos.VAE.pretrained import vae

ATTRIBUTES = ('Male', 'Young', 'Bald', 'Eyeglasses')
TEMPERATURE = 0.85


def difference_of_means(mean, has):
    """The difference between mean codes (N, latent_dim) with and without an attribute (N,)."""
    direction = torch.nn.functional.normalize(mean[has].mean(0) - mean[~has].mean(0), dim=0)
    return STEP * (mean @ direction).std() * direction


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--weights', default='sharp')
    parser.add_argument('--seed', type=int, default=0, help='of the two faces')
    parser.add_argument('--all', action='store_true', help='also controlled for all attributes')
    parser.add_argument('--picture', default=REPOSITORY / 'docs/directions.jpg')
    args = parser.parse_args()
    model = vae(args.weights)
    training, _ = split(CelebADataset(args.root), 0.1)
    names = [training.dataset.names[i] for i in training.indices]
    attributes = read_attributes(training.dataset.root, names)
    mean, _ = encode_all(model, 'cpu', batches(training, 64, shuffle=False))
    controlled = attribute_directions(mean, attributes)
    all_controlled = attribute_directions(mean, attributes, controlled_for=attributes)
    rows = {}
    for name in ATTRIBUTES:
        rows[f'{name}: means'] = difference_of_means(mean, attributes[name])
        rows[f'{name}: controlled'] = controlled[name]
        if args.all:
            rows[f'{name}: all controlled'] = all_controlled[name]
    code = TEMPERATURE * normal_codes(model.latent_dim, 2, args.seed)
    save_picture(several_attributes(model, code, rows), args.picture)
    Path(args.picture).with_name('tmp.jpg').unlink()


if __name__ == '__main__':
    main()
