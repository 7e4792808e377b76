"""Who wears glasses: classifiers that are trained on codes alone, and on pixels.

    python benchmarks/glasses.py data/celebA/img_align_celeba

The first nine tenths of the images have labels, or a few hundred of them, drawn for each seed;
balanced accuracy on the last tenth: the mean of the shares of faces with and without glasses that
are told rightly. The bundled weights know those nine tenths too, but no labels.
"""
import argparse

import torch
import torch.nn.functional as F
from runs import spread, table
from torch import nn

from dldemos.VAE.latent.attributes import read_attributes
from dldemos.VAE.latent.codes import encode_all
from dldemos.VAE.load_celebA import CelebADataset, batches, split
from dldemos.VAE.model import VAE
from dldemos.VAE.pretrained import vae

DECAY = 1e-2                   # of the weights of linear classifiers
N_STEPS = 1000                 # of the convolutional one, 64 images each


def linear_classifier(x, has, seed):
    """Logistic regression on x (N, n_features), standardised; both classes count alike."""
    shift, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x, classifier = (x - shift) / scale, nn.Linear(x.shape[1], 1)
    nn.init.zeros_(classifier.weight)
    optimizer = torch.optim.LBFGS(classifier.parameters(), max_iter=100,
                                  line_search_fn='strong_wolfe')

    def loss():
        optimizer.zero_grad()
        total = wrong(classifier(x), has) + DECAY * classifier.weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return lambda other: classifier((other - shift) / scale)


def convolutional_classifier(images, has, seed):
    """The VAE's encoder, untrained, with one output; learns from pixels (N, 3, 64, 64)."""
    torch.manual_seed(seed)
    network = nn.Sequential(VAE().encoder, nn.Flatten(), nn.Linear(1024, 1))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(N_STEPS):
        some = torch.randint(len(images), (64,))
        loss = wrong(network(images[some]), has[some], (~has).sum() / has.sum())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    return lambda other: torch.cat([network(some) for some in other.split(64)])


def wrong(score, has, weight=None):
    """Cross entropy of scores (N, 1), in which the rarer class weighs as much as the other."""
    weight = (~has).sum() / has.sum() if weight is None else weight
    return F.binary_cross_entropy_with_logits(score.squeeze(1), has.float(), pos_weight=weight)


@torch.no_grad()
def balanced_accuracy(classifier, x, has):
    says = classifier(x).squeeze(1) > 0
    return (says[has].float().mean().item() + (~says[~has]).float().mean().item()) / 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--weights', nargs='*', default=['pretrained', 'sharp'])
    parser.add_argument('--attribute', default='Eyeglasses')
    parser.add_argument('--few', type=int, default=500, help='labels of the middle column')
    parser.add_argument('--seeds', type=int, default=3)
    args = parser.parse_args()
    dataset = CelebADataset(args.root)
    n = len(split(dataset, 0.1)[0])
    has = read_attributes(dataset.root, dataset.names)[args.attribute]
    images = torch.cat(list(batches(dataset, 64, shuffle=False)))
    print(f'{args.attribute}: {int(has[n:].sum())} of the last {len(has) - n} images')

    def row(trained_on, x, what, make):
        accuracies = []
        for n_labels in (args.few, n):
            of_seeds = []
            for seed in range(args.seeds):
                chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:n_labels]
                classifier = make(x[chosen], has[chosen], seed)
                of_seeds.append(balanced_accuracy(classifier, x[n:], has[n:]))
                if n_labels == n and make is linear_classifier:    # no seed matters
                    break
            accuracies.append(spread(of_seeds, 3))
        return trained_on, f'{x[0].numel():,}', what, *accuracies

    def rows():
        for name in args.weights:
            mean, _ = encode_all(vae(name), 'cpu', batches(dataset, 64, shuffle=False))
            yield row(f'codes of `{name}`', mean, 'linear', linear_classifier)
        yield row('pixels', images.flatten(1), 'linear', linear_classifier)
        yield row('pixels', images, "the VAE's encoder", convolutional_classifier)

    table(('trained on', 'numbers', 'classifier', f'{args.few} labels', f'{n:,} labels'), rows())


if __name__ == '__main__':
    main()
