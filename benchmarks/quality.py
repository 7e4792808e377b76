"""How good: models and recipes by the metrics of `evaluate`, what sample faces teach, glasses.

    python benchmarks/quality.py models FOLDER
    python benchmarks/quality.py --help            # the others

FOLDER is that of CelebA's images, of which the first nine tenths are trained on.
"""
import json
import math
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import balanced_accuracy, main, make_parser, python, spread, table, train
from torch import nn
from torch.utils.data import Subset

from dldemos.VAE.images.looks import are_known
from dldemos.VAE.latent.attributes import read_attributes
from dldemos.VAE.latent.codes import encode_all
from dldemos.VAE.load_celebA import CelebADataset, batches, split
from dldemos.VAE.main import loss_fn
from dldemos.VAE.model import VAE
from dldemos.VAE.pretrained import vae
from dldemos.VAE.pretrained.sample_faces import DRAWN_BY, draw_sample_faces
from dldemos.VAE.training.steps import average_terms
from dldemos.VAE.weights import load_weights, read_looks, read_manifest, weights_file

MODELS = ('--ckpt_path pretrained', '--ckpt_path sharp', '--ckpt_path calibrated')
METRICS = {'loss': 5, 'mse_sampled': 5, 'mse_mean': 5, 'psnr': 2, 'ssim': 3, 'kl': 1,
           'active_units': 0, 'linear_probe': 3, 'frechet_reconstructions': 1, 'swd_halves': 1,
           'frechet_halves': 1, 'precision_halves': 3, 'recall_halves': 3}     # and their digits
DISTANCES = {'frechet': 1, 'precision': 3, 'recall': 3, 'swd': 1}
PRIORS = ('normal', 'gaussian', 'flow')


def models(root, options=MODELS, temperatures=(1.0, 0.85, 0.7), seeds=3):
    """The metrics of `evaluate` at the article's kl_weight; the options of each model in quotes.

    Options without --ckpt_path are trained with, a run for each seed: mean (lowest - highest) over
    the seeds, which are those of random codes where the weights are there already.
    """
    root = os.path.abspath(root)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [[pool.submit(evaluations, root, of_model, seed, temperatures)
                    for seed in range(seeds)] for of_model in options]
        results = [[run.result() for run in of_model] for of_model in running]

    def cells(name, digits, temperature):            # nan: there were too few images for it
        return [spread([of_seed[temperature].get(name, math.nan) for of_seed in of_model], digits)
                for of_model in results]

    names, first = [f'`{of_model}`' for of_model in options], temperatures[0]
    table(['', *names], ([name, *cells(name, digits, first)] for name, digits in METRICS.items()))
    for distance, digits in DISTANCES.items():
        table([f'{distance}: prior', 'temperature', *names], (
            [prior, str(temperature), *cells(f'{distance}_{prior}', digits, temperature)]
            for prior in PRIORS for temperature in temperatures))
    judged = [set(of_seed[first]['attributes']) for of_model in results for of_seed in of_model]
    table(['attribute', *names], ([name, *cells(name, 2, first)]
                                  for name in sorted(set.intersection(*judged))))


def evaluations(root, options, seed, temperatures):
    """{temperature: metrics and balanced accuracies} of weights, which may be trained first."""
    options, found = [*options.split(), '--data_root', root, '--seed', str(seed)], {}
    with tempfile.TemporaryDirectory() as folder:
        def run(*arguments):                 # on one core: its losses are those of any run
            python('-m', 'dldemos.VAE.main', *arguments, folder=folder, OMP_NUM_THREADS='1')

        if '--ckpt_path' not in options:
            run('train', *options)
        for temperature in temperatures:
            run('evaluate', *options, '--temperature', str(temperature), '--kl_weight', '0.00025')
            metrics = json.loads((Path(folder) / 'work_dirs/evaluate.json').read_text())
            found[temperature] = {**metrics, **metrics['attributes']}
    return found


def sample_faces(root, options='', n_faces=4000, seeds=3):
    """The loss on photographs of weights that were trained on sample faces.

    On those of CelebA that `sharp`, which drew the faces, was not trained on. `options`: of train.
    """
    photographs, path = CelebADataset(root), weights_file(DRAWN_BY)
    known = are_known(photographs.looks, *read_looks(path, read_manifest(path)))
    held_out = batches(Subset(photographs, np.flatnonzero(~known).tolist()), 64, shuffle=False)
    model, found = VAE(), []
    with tempfile.TemporaryDirectory() as folder:
        faces, weights = Path(folder) / 'faces', f'{folder}/model.pth'
        draw_sample_faces(faces, n_faces)
        for seed in range(seeds):
            train(faces, f'{options} --ckpt_path {weights}', seed)
            load_weights(weights, model)
            found.append(average_terms(loss_fn, torch.device('cpu'), held_out, model))
    table([f'{len(held_out.dataset):,} photographs', 'loss', 'MSE', 'KL'],
          [[f'{seeds} seeds', *(spread(values, digits)
                                for values, digits in zip(zip(*found), (5, 5, 1)))]])


DECAY = 1e-2                   # of the weights of linear classifiers


def glasses(root, weights=('pretrained', 'sharp'), attribute='Eyeglasses', few=500, seeds=3,
            n_steps=1000):
    """Who wears glasses: classifiers that are trained on codes alone, and on pixels.

    Balanced accuracy on the last tenth of the images. All others have labels, or `few` of them,
    drawn for each seed. `n_steps`: of the convolutional classifier, 64 images each.
    """
    dataset = CelebADataset(root)
    n = len(split(dataset, 0.1)[0])
    has = read_attributes(dataset.root, dataset.names)[attribute]
    images = dataset[:]
    inputs = {f'codes of `{name}`': encode_all(vae(name), 'cpu', images.split(64))[0]
              for name in weights}
    rows = [(name, x, 'linear', linear_classifier)
            for name, x in {**inputs, 'pixels': images.flatten(1)}.items()]
    rows.append(('pixels', images, "the VAE's encoder", partial(convolutional_classifier, n_steps)))

    def accuracy(x, fit, n_labels, seed):
        torch.manual_seed(seed)
        chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:n_labels]
        classifier = fit(x[chosen], has[chosen])
        with torch.no_grad():
            return balanced_accuracy(classifier(x[n:]) > 0, has[n:])

    print(f'{attribute}: {int(has[n:].sum())} of the last {len(has) - n} images')
    table(['trained on', 'numbers', 'classifier', f'{few} labels', f'{n:,} labels'], (
        [name, f'{x[0].numel():,}', kind,
         *(spread([accuracy(x, fit, n_labels, seed) for seed in range(seeds)], 3)
           for n_labels in (few, n))] for name, x, kind, fit in rows))


def linear_classifier(x, has):
    """Logistic regression on x (N, n_features), standardised; both classes count alike."""
    shift, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x, classifier = (x - shift) / scale, nn.Linear(x.shape[1], 1)
    nn.init.zeros_(classifier.weight)
    optimizer = torch.optim.LBFGS(classifier.parameters(), max_iter=100,
                                  line_search_fn='strong_wolfe')

    def loss():
        optimizer.zero_grad()
        total = wrong(classifier(x), has, has) + DECAY * classifier.weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return lambda other: classifier((other - shift) / scale).squeeze(1)


def convolutional_classifier(n_steps, images, has):
    """The VAE's encoder, untrained, with one output; learns from pixels (N, 3, 64, 64)."""
    network = nn.Sequential(VAE().encoder, nn.Flatten(), nn.Linear(1024, 1))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(n_steps):
        some = torch.randint(len(images), (64,))
        loss = wrong(network(images[some]), has[some], has)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    return lambda other: torch.cat([network(some) for some in other.split(64)]).squeeze(1)


def wrong(score, has, all_have):
    """Cross entropy of scores (N, 1), in which the rarer class of all weighs as much."""
    weight = (~all_have).sum() / all_have.sum()
    return F.binary_cross_entropy_with_logits(score.squeeze(1), has.float(), pos_weight=weight)


parser = make_parser(__doc__, models, sample_faces, glasses)

if __name__ == '__main__':
    sys.exit(main(parser))
