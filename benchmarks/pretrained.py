"""Make bundled weights: train, fit what goes beside them, write down what they are.

    python benchmarks/pretrained.py sharp data/celebA/img_align_celeba

trains them in work_dirs/sharp/, where --resume goes on with an interrupted run, and then writes
sharp.pth, .prior.pth, .directions.pth and .json in dldemos/VAE/pretrained/, and celeba.looks.npy,
which all share; the other names are `pretrained` and `calibrated`. With --weights FILE it takes
these weights instead, which an earlier call trained.
"""
import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchvision
from runs import REPOSITORY

from dldemos.VAE.images.looks import trained_on
from dldemos.VAE.latent import priors
from dldemos.VAE.latent.attributes import attribute_directions, read_attributes
from dldemos.VAE.latent.codes import encode_all
from dldemos.VAE.latent.fitted import DIRECTIONS, PRIOR, load_or_fit
from dldemos.VAE.load_celebA import CelebADataset, batches, split
from dldemos.VAE.model import VAE
from dldemos.VAE.support.files import atomic_write, beside_weights
from dldemos.VAE.weights import (
    FREE_SETTINGS,
    load_weights,
    looks_file,
    read_manifest,
    sha256,
    weights_file,
)

TRAINING = {'pretrained': '--recipe long', 'sharp': '--recipe long --kl_weight 0.00003',
            'calibrated': '--recipe long --kl_weight auto'}
TERMS = ('CelebA (Liu et al. 2015) is for non-commercial research; so are these weights, which '
         'were trained on it. No image of it is in them or beside them.')


def run(*arguments):
    subprocess.run([sys.executable, '-m', 'dldemos.VAE.main', *arguments], check=True,
                   env={**os.environ, 'PYTHONPATH': str(REPOSITORY)})


def fit(bundled, model, training):
    """Fit priors and directions to the codes of the training split, beside the weights."""
    dataset = training.dataset
    names = [dataset.names[i] for i in training.indices]
    codes = encode_all(model, torch.device('cpu'), batches(training, 64, shuffle=False))
    torch.manual_seed(0)
    for prior in priors.PRIORS[1:]:
        load_or_fit(prior, bundled, PRIOR, lambda prior=prior: (in_16_bits(priors.fit(
            prior, *codes)), None))
    load_or_fit('directions', bundled, DIRECTIONS, lambda: (attribute_directions(
        codes[0], read_attributes(dataset.root, names)), None))


def in_16_bits(fitted):
    return {name: value.half() for name, value in fitted.items()}


def measured(name, root):
    """What `evaluate` gives for bundled weights."""
    with tempfile.TemporaryDirectory() as folder:
        run('evaluate', '--ckpt_path', name, '--data_root', root, '--work_dir', folder)
        return json.loads((Path(folder) / 'evaluate.json').read_text())


@torch.no_grad()
def without_data(model):
    """Metrics that anyone can check who has the weights alone, of 64 samples with seed 0."""
    model.eval()
    torch.manual_seed(0)
    faces = model.sample('cpu', 64)
    return {'parameters': sum(p.numel() for p in model.parameters()),
            'mean_of_64_samples': round(faces.mean().item(), 5),
            'std_of_64_samples': round(faces.std().item(), 5)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('name', choices=TRAINING)
    parser.add_argument('root')
    parser.add_argument('--weights', help='weights that are trained already')
    args, options = parser.parse_known_args()
    work_dir = REPOSITORY / 'work_dirs' / args.name
    trained = args.weights or work_dir / 'model.pth'
    if not args.weights:
        run('train', *TRAINING[args.name].split(), '--data_root', args.root, '--work_dir',
            str(work_dir), *options)
    model = VAE()
    load_weights(trained, model)
    bundled = weights_file(args.name)
    shutil.copyfile(trained, bundled)
    for ending, _ in (PRIOR, DIRECTIONS):
        beside_weights(bundled, ending).unlink(missing_ok=True)
    dataset = CelebADataset(args.root)
    training, held_out = split(dataset, 0.1)
    manifest = read_manifest(trained)
    images, looks = trained_on(training)
    with atomic_write(looks_file(bundled)) as file:
        np.save(file, looks)
    about = {
        'data': f'the first {len(dataset):,} images of CelebA, aligned and cropped, from half-size '
                f'copies of 89 x 109 pixels',
        'terms': TERMS,
        'trained_on': {**images, 'root': 'CelebA'},
        'held_out': {'n_images': len(held_out)},
        'epochs': manifest['epochs'], 'steps': manifest['steps'],
        'command': f'python -m dldemos.VAE.main train {TRAINING[args.name]}',
        'settings': {name: value for name, value in manifest['settings'].items()
                     if name not in (*FREE_SETTINGS, 'images')},
        'metrics_without_data': without_data(model),
        'versions': {'python': platform.python_version(), 'torch': torch.__version__,
                     'torchvision': torchvision.__version__},
        'sha256': {Path(bundled).name: sha256(bundled)},
    }
    write(beside_weights(bundled, '.json'), about)              # by which evaluate knows them
    fit(bundled, model, training)
    about['metrics'] = measured(args.name, args.root)
    about['sha256'] |= {path.name: sha256(path) for path in (
        beside_weights(bundled, '.prior.pth'), beside_weights(bundled, '.directions.pth'))}
    write(beside_weights(bundled, '.json'), about)


def write(path, about):
    with atomic_write(path, 'w') as file:
        file.write(json.dumps(about, indent=2) + '\n')


if __name__ == '__main__':
    main()
