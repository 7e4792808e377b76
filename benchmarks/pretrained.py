"""Make the weights that come with the program: train, fit their priors, write down what they are.

    python benchmarks/pretrained.py data/celebA/img_align_celeba

trains with `--recipe long` in work_dirs/pretrained/, where --resume goes on with an interrupted
run, and then writes dldemos/VAE/pretrained.pth, .prior.pth and .json. With --weights FILE it
takes these weights instead, which an earlier call trained.
"""
import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import torch
import torchvision

REPOSITORY = Path(__file__).absolute().parents[1]
sys.path.insert(0, str(REPOSITORY))
from dldemos.VAE import main as program  # noqa: E402
from dldemos.VAE.latent.metrics import evaluate  # noqa: E402
from dldemos.VAE.latent.priors import PRIORS, fitted_prior, sample_codes  # noqa: E402
from dldemos.VAE.latent.walks import encode_all  # noqa: E402
from dldemos.VAE.load_celebA import CelebADataset, batches, split  # noqa: E402
from dldemos.VAE.model import VAE  # noqa: E402
from dldemos.VAE.support.files import whole_file  # noqa: E402
from dldemos.VAE.training.checkpoint import PRETRAINED, load_weights  # noqa: E402

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


def figures(model, weights_path, seen, unseen):
    """Fit both priors beside the weights, and evaluate on the held-out images."""
    device = torch.device('cpu')

    def draw(prior):
        def codes(n):
            torch.manual_seed(0)
            fitted = None if prior == 'normal' else fitted_prior(
                prior, weights_path,
                lambda: encode_all(model, device, batches(seen, 64, shuffle=False)))
            torch.manual_seed(0)
            return sample_codes(prior, fitted, n, model.latent_dim)
        return codes

    return evaluate(device, model, batches(unseen, 64, shuffle=False), program.kl_weight,
                    {prior: draw(prior) for prior in PRIORS})


@torch.no_grad()
def without_data(model):
    """Figures that anyone can check who has the weights alone."""
    model.eval()
    torch.manual_seed(0)
    faces = model.sample('cpu', 64)
    return {'parameters': sum(p.numel() for p in model.parameters()),
            'mean of 64 samples, seed 0': round(faces.mean().item(), 5),
            'standard deviation of 64 samples, seed 0': round(faces.std().item(), 5)}


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
    seen, unseen = split(dataset, program.held_out)
    table = figures(model, PRETRAINED, seen, unseen)
    prior = Path(PRETRAINED).with_suffix('.prior.pth')
    about = {
        'data': f'the first {len(dataset):,} images of CelebA, aligned and cropped, from half-size '
                f'copies of 89 x 109 pixels',
        'terms': TERMS,
        'trained on': f'{seen.dataset.names[0]} to {dataset.names[len(seen) - 1]}, '
                      f'{len(seen)} images, mirrored at random',
        'held out': f'{dataset.names[len(seen)]} to {dataset.names[-1]}, {len(unseen)} images',
        'command': f'python -m dldemos.VAE.main train --recipe {RECIPE}',
        'settings': {**program.RECIPES[RECIPE], 'kl_weight': program.kl_weight,
                     'seed': program.seed},
        'versions': {'python': platform.python_version(), 'torch': torch.__version__,
                     'torchvision': torchvision.__version__},
        'figures on the held-out images': table,
        'figures without data': without_data(model),
        'sha256': {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                   for path in (Path(PRETRAINED), prior)},
    }
    with whole_file(Path(PRETRAINED).with_suffix('.json'), 'w') as file:
        file.write(json.dumps(about, indent=2) + '\n')


if __name__ == '__main__':
    main()
