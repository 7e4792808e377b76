"""The picture of the bundled models: what each decodes from the same random numbers.

    python benchmarks/bundled_models.py

writes docs/bundled_models.jpg.
"""
import torch
from runs import REPOSITORY

from dldemos.VAE.images.grids import labelled_rows, save_picture
from dldemos.VAE.pretrained import random_codes, vae
from dldemos.VAE.weights import BUNDLED

N_FACES, SEED = 10, 0


@torch.no_grad()
def main():
    rows = []
    for name in BUNDLED:
        torch.manual_seed(SEED)
        rows.append((f'{name}: N(0, I)', vae(name).sample(n_samples=N_FACES)))
    torch.manual_seed(SEED)
    faces = vae('calibrated').decode(random_codes(N_FACES, 'calibrated'))
    save_picture(labelled_rows([*rows, ('calibrated: flow', faces)]),
                 REPOSITORY / 'docs/bundled_models.jpg')
    (REPOSITORY / 'docs/tmp.jpg').unlink()


if __name__ == '__main__':
    main()
