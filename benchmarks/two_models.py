"""The picture of both bundled models: the same random codes, at two temperatures.

    python benchmarks/two_models.py

writes docs/two_models.jpg.
"""
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).absolute().parents[1]
sys.path.insert(0, str(REPOSITORY))
from dldemos.VAE.images.grids import labelled_rows, save_picture  # noqa: E402
from dldemos.VAE.latent.walks import normal_codes  # noqa: E402
from dldemos.VAE.model import VAE  # noqa: E402
from dldemos.VAE.training.checkpoint import BUNDLED, load_weights, weights_file  # noqa: E402

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
