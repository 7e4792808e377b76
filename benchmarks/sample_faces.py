"""What weights that were trained on sample faces are worth on photographs.

    python benchmarks/sample_faces.py data/celebA/img_align_celeba

Trains as the first command does, on faces that `sharp` drew, and prints the loss on the images of
CelebA that neither these weights nor `sharp` were trained on. Other options of `train`: in quotes.
"""
import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from runs import run, spread
from torch.utils.data import Subset

from dldemos.VAE.images.looks import are_known
from dldemos.VAE.load_celebA import CelebADataset, batches
from dldemos.VAE.main import loss_fn
from dldemos.VAE.model import VAE
from dldemos.VAE.pretrained.sample_faces import DRAWN_BY, draw_sample_faces
from dldemos.VAE.training.steps import average_terms
from dldemos.VAE.weights import (
    load_weights,
    read_looks,
    read_manifest,
    weights_file,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('options', nargs='?', default='', help='of train')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--n_faces', type=int, default=4000)
    args = parser.parse_args()
    photographs, path = CelebADataset(args.root), weights_file(DRAWN_BY)
    known = are_known(photographs.looks, *read_looks(path, read_manifest(path)))
    held_out = batches(Subset(photographs, np.flatnonzero(~known).tolist()), 64, shuffle=False)
    model, found = VAE(), []
    with tempfile.TemporaryDirectory() as folder:
        faces = draw_sample_faces(Path(folder) / 'faces', args.n_faces)
        for seed in range(args.seeds):
            weights = f'{folder}/model.pth'
            run(str(faces), ['train'], f'{args.options} --ckpt_path {weights}', seed)
            load_weights(weights, model)
            found.append(average_terms(loss_fn, torch.device('cpu'), held_out, model))
            print(f'seed {seed}, {len(held_out.dataset):,} photographs: loss {found[-1][0]:.5f}, '
                  f'MSE {found[-1][1]:.5f}, KL {found[-1][2]:.1f}', flush=True)
    print('loss:', spread([terms[0] for terms in found], 5))


if __name__ == '__main__':
    main()
