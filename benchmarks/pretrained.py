"""Make the bundled weights: train, fit their priors and directions, write down what they are.

    python benchmarks/pretrained.py data/celebA/img_align_celeba

trains with `--recipe long` in work_dirs/pretrained/, where --resume goes on with an interrupted
run, and then writes pretrained.pth, .prior.pth, .directions.pth and .json in
dldemos/VAE/pretrained/. With --weights FILE it takes these weights instead, which an earlier call
trained.
"""
import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
import torchvision

REPOSITORY = Path(__file__).absolute().parents[1]
sys.path.insert(0, str(REPOSITORY))
from dldemos.VAE import main as program  # noqa: E402
from dldemos.VAE.images.described import describe  # noqa: E402
from dldemos.VAE.latent.attributes import kept_directions, read_attributes  # noqa: E402
from dldemos.VAE.latent.codes import encode_all  # noqa: E402
from dldemos.VAE.latent.metrics import evaluate  # noqa: E402
from dldemos.VAE.latent.priors import PRIORS, fitted_prior, sample_codes  # noqa: E402
from dldemos.VAE.load_celebA import CelebADataset, batches, split  # noqa: E402
from dldemos.VAE.model import VAE  # noqa: E402
from dldemos.VAE.support.files import atomic_write, beside_weights  # noqa: E402
from dldemos.VAE.training.checkpoint import PRETRAINED, load_weights, read_record  # noqa: E402

RECIPE = 'long'
TERMS = ('CelebA (Liu et al. 2015) is for non-commercial research; so are these weights, which '
         'were trained on it. No image of it is in them or beside them.')


def train(root, options):
    """Train in work_dirs/pretrained/; returns the path of the weights."""
    folder = REPOSITORY / 'work_dirs/pretrained'
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, '-m', 'dldemos.VAE.main', 'train', '--recipe', RECIPE,
                    '--data_root', root, *options],
                   cwd=folder, check=True, env={**os.environ, 'PYTHONPATH': str(REPOSITORY)})
    return folder / program.ckpt_path


def metrics_of(model, weights_path, training, held_out):
    """Fit both priors beside the weights, and evaluate on the held-out images."""
    device = torch.device('cpu')

    def codes(prior, n):
        torch.manual_seed(0)
        fitted = None if prior == 'normal' else fitted_prior(
            prior, weights_path, None,
            lambda: encode_all(model, device, batches(training, 64, shuffle=False)))
        torch.manual_seed(0)
        return sample_codes(prior, fitted, n, model.latent_dim)

    return evaluate(device, model, batches(held_out, 64, shuffle=False), program.kl_weight,
                    {prior: partial(codes, prior) for prior in PRIORS})


def fit_directions(model, weights_path, training):
    """Fit the directions of all attributes anew, beside the weights; returns their file."""
    path = beside_weights(weights_path, '.directions.pth')
    path.unlink(missing_ok=True)
    dataset = training.dataset
    kept_directions(weights_path, None, lambda: (
        encode_all(model, torch.device('cpu'), batches(training, 64, shuffle=False))[0],
        read_attributes(dataset.root, [dataset.names[i] for i in training.indices])))
    return path


@torch.no_grad()
def without_data(model):
    """Metrics that anyone can check who has the weights alone, of 64 samples with seed 0."""
    model.eval()
    torch.manual_seed(0)
    faces = model.sample('cpu', 64)
    return {'parameters': sum(p.numel() for p in model.parameters()),
            'mean_of_64_samples': round(faces.mean().item(), 5),
            'std_of_64_samples': round(faces.std().item(), 5)}


def described(split):
    """What `describe` says of a split, without what another machine cannot know."""
    about = describe(batches(split))
    del about['fingerprint']
    return {**about, 'root': 'CelebA'}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--weights', help='weights that are trained already')
    args, options = parser.parse_known_args()
    root = str(Path(args.root).absolute())
    trained = args.weights or train(root, options)
    model = VAE()
    load_weights(trained, model)
    shutil.copyfile(trained, PRETRAINED)
    dataset = CelebADataset(root)
    training, held_out = split(dataset, program.held_out)
    record = read_record(trained)
    about = {
        'data': f'the first {len(dataset):,} images of CelebA, aligned and cropped, from half-size '
                f'copies of 89 x 109 pixels',
        'terms': TERMS,
        'trained_on': described(training),
        'held_out': described(held_out),
        'epochs': record['epochs'], 'steps': record['steps'],
        'command': f'python -m dldemos.VAE.main train --recipe {RECIPE}',
        'settings': {**record['settings'], 'data_root': None, 'cache_dir': None},
        'metrics': metrics_of(model, PRETRAINED, training, held_out),
        'metrics_without_data': without_data(model),
        'versions': {'python': platform.python_version(), 'torch': torch.__version__,
                     'torchvision': torchvision.__version__},
        'sha256': {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                   for path in (Path(PRETRAINED), Path(PRETRAINED).with_suffix('.prior.pth'),
                                fit_directions(model, PRETRAINED, training))},
    }
    with atomic_write(Path(PRETRAINED).with_suffix('.json'), 'w') as file:
        file.write(json.dumps(about, indent=2) + '\n')


if __name__ == '__main__':
    main()
