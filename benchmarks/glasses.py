"""Who wears glasses: classifiers that are trained on codes alone, and on pixels.

    python benchmarks/glasses.py data/celebA/img_align_celeba

Trained on the first nine tenths of the images, which the bundled weights know without their
attributes; balanced accuracy on the last tenth, which is the mean of the shares of faces with
and of faces without that are told rightly.
"""
import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from runs import spread
from torch import nn

REPOSITORY = Path(__file__).absolute().parents[1]
sys.path.insert(0, str(REPOSITORY))
from dldemos.VAE.latent.attributes import read_attributes  # noqa: E402
from dldemos.VAE.latent.codes import encode_all  # noqa: E402
from dldemos.VAE.load_celebA import CelebADataset, batches, split  # noqa: E402
from dldemos.VAE.model import VAE  # noqa: E402
from dldemos.VAE.pretrained import vae  # noqa: E402

DECAYS = (0, 1e-4, 1e-3, 1e-2, 1e-1)                   # tried on a tenth of the training images


def linear_classifier(x, has, decay=0.0):
    """Logistic regression on x (N, n_features), standardised; both classes count alike."""
    shift, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x, classifier = (x - shift) / scale, nn.Linear(x.shape[1], 1)
    nn.init.zeros_(classifier.weight)
    optimizer = torch.optim.LBFGS(classifier.parameters(), max_iter=200,
                                  line_search_fn='strong_wolfe')

    def loss():
        optimizer.zero_grad()
        wrong = F.binary_cross_entropy_with_logits(classifier(x).squeeze(1), has.float(),
                                                   pos_weight=(~has).sum() / has.sum())
        total = wrong + decay * classifier.weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return lambda other: classifier((other - shift) / scale).squeeze(1) > 0


def decayed_classifier(x, has):
    """The linear classifier with that of DECAYS which does best on the last tenth of x."""
    n = len(x) * 9 // 10
    best = max(DECAYS, key=lambda decay: balanced_accuracy(
        linear_classifier(x[:n], has[:n], decay)(x[n:]), has[n:]))
    return linear_classifier(x, has, best)


def convolutional_classifier(images, has, seed, n_epochs=10):
    """The VAE's encoder, untrained, with one output: learns glasses from pixels (N, 3, 64, 64)."""
    torch.manual_seed(seed)
    network = nn.Sequential(VAE().encoder, nn.Flatten(), nn.Linear(1024, 1))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(n_epochs):
        for some in torch.randperm(len(images)).split(64):
            wrong = F.binary_cross_entropy_with_logits(
                network(images[some]).squeeze(1), has[some].float(),
                pos_weight=(~has).sum() / has.sum())
            optimizer.zero_grad()
            wrong.backward()
            optimizer.step()
    network.eval()
    return lambda other: torch.cat([network(some).squeeze(1) > 0 for some in other.split(64)])


@torch.no_grad()
def balanced_accuracy(says, has):
    return (says[has].float().mean().item() + (~says[~has]).float().mean().item()) / 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--weights', nargs='*', default=['pretrained', 'sharp'])
    parser.add_argument('--attribute', default='Eyeglasses')
    parser.add_argument('--seeds', type=int, default=3)
    args = parser.parse_args()
    dataset = CelebADataset(args.root)
    n = len(split(dataset, 0.1)[0])
    has = read_attributes(dataset.root, dataset.names)[args.attribute]
    images = torch.cat(list(batches(dataset, 64, shuffle=False)))
    print(f'{args.attribute}: {int(has[n:].sum())} of the last {len(has) - n} images\n\n'
          '| trained on | numbers | classifier | balanced accuracy | seconds |\n' + '| --- ' * 5 + '|')

    def row(trained_on, x, what, make, seeds=1):
        start = time.time()
        found = [balanced_accuracy(make(x[:n], has[:n], *([seed] if seeds > 1 else []))(x[n:]),
                                   has[n:]) for seed in range(seeds)]
        print(f'| {trained_on} | {x[0].numel():,} | {what} | '
              f'{spread(found, 3) if seeds > 1 else format(found[0], ".3f")} | '
              f'{(time.time() - start) / seeds:.0f} |', flush=True)

    for name in args.weights:
        mean, _ = encode_all(vae(name), 'cpu', batches(dataset, 64, shuffle=False))
        row(f'codes of `{name}`', mean, 'linear', decayed_classifier)
    row('pixels', images.flatten(1), 'linear', decayed_classifier)
    row('pixels', images, "the VAE's encoder", convolutional_classifier, args.seeds)


if __name__ == '__main__':
    main()
