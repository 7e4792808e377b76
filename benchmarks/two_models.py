"""The picture of both bundled models: the same random codes, at two temperatures.

    python benchmarks/two_models.py

writes docs/two_models.jpg.
"""

import torch
from runs import REPOSITORY

from dldemos.VAE.images.grids import labelled_rows, save_picture
from dldemos.VAE.latent.walks import normal_codes
from dldemos.VAE.model import VAE
from dldemos.VAE.training.checkpoint import BUNDLED, load_weights, weights_file

N_FACES, SEED, TEMPERATURES = 10, 0, (1.0, 0.7)


@torch.no_grad()
def main():
    rows = []
    for name in BUNDLED:
        model = VAE().eval()
        load_weights(weights_file(name), model)
        codes = normal_codes(model.latent_dim, N_FACES, SEED)
        rows += [(f'{name}, temperature {temperature}', model.decode(temperature * codes))
                 for temperature in TEMPERATURES]
    save_picture(labelled_rows(rows), REPOSITORY / 'docs/two_models.jpg')
    (REPOSITORY / 'docs/tmp.jpg').unlink()


if __name__ == '__main__':
    main()
