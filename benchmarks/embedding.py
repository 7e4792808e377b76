"""Make the network whose embedding of faces `evaluate` measures distances in.

    python benchmarks/embedding.py data/celebA/img_align_celeba

trains it to tell the 40 attributes of the first nine tenths of the images, prints how well it
does so on the others, and writes embedding.pth in dldemos/VAE/pretrained/, in half precision.
"""
import argparse

import runs  # noqa: F401  (puts this repository on the path)
import torch
import torch.nn.functional as F
from tqdm import tqdm

from dldemos.VAE.latent.attributes import read_attributes
from dldemos.VAE.latent.embedding import EMBEDDING, SIDE, FaceEmbedding
from dldemos.VAE.load_celebA import CelebADataset, split
from dldemos.VAE.support.files import atomic_write

N_EPOCHS, BATCH_SIZE, LR, SHIFT, DROPOUT = 30, 64, 0.002, 3, 0.3


def varied(images):
    """Images (N, 3, H, W), half of them flipped, all moved by up to SHIFT pixels."""
    chosen = torch.rand(len(images)) < 0.5
    images[chosen] = images[chosen].flip(-1)
    rows, columns = torch.randint(2 * SHIFT + 1, (2,)).tolist()
    padded = F.pad(images, (SHIFT,) * 4, mode='replicate')
    return padded[..., rows:rows + SIDE, columns:columns + SIDE]


def fit(network, images, attributes):
    """Train the network on images and their attributes, a bool tensor (N, 40)."""
    optimizer = torch.optim.AdamW(network.parameters(), LR, weight_decay=0.02)
    n_steps = N_EPOCHS * (len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, n_steps)
    for _ in tqdm(range(N_EPOCHS), desc='training', disable=None):
        network.train()
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE)[:len(images) // BATCH_SIZE]:
            embedding = network(varied(images[chosen.tolist()]))
            scores = network.classify(F.dropout(embedding, DROPOUT))
            loss = F.binary_cross_entropy_with_logits(scores, attributes[chosen].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def embed_all(network, images):
    network.eval()
    return torch.cat([network(images[some]) for some in
                      torch.arange(len(images)).split(BATCH_SIZE)])


@torch.no_grad()
def normalise(network, embedding):
    """Shift and scale the embedding, whose mean becomes 0 and total variance 1."""
    mean, scale = embedding.mean(0), embedding.var(0).sum().sqrt()
    network.classify.bias += network.classify.weight @ mean
    network.classify.weight *= scale
    network.embed.bias -= mean
    network.embed.bias /= scale
    network.embed.weight /= scale


def balanced_accuracy(predicted, attributes):
    """(n_attributes,), the mean of the shares of those with and those without it found."""
    return torch.stack([(predicted == attributes)[attributes[:, i] == has, i].float().mean()
                        for has in (True, False) for i in range(attributes.shape[1])]
                       ).view(2, -1).mean(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--out', default=EMBEDDING)
    args = parser.parse_args()
    torch.manual_seed(0)
    dataset = CelebADataset(args.root)
    training, held_out = (dataset[list(part.indices)] for part in split(dataset, 0.1))
    known = read_attributes(dataset.root, dataset.names)
    attributes = torch.stack(list(known.values()), dim=1)
    network = FaceEmbedding()
    print(f'{sum(p.numel() for p in network.parameters()):,} parameters')
    fit(network, training, attributes[:len(training)])
    normalise(network, embed_all(network, training))
    network.half().float()                               # as it will be read
    of_training = attributes[:len(training)].float().mean(0)
    scores = network.classify(embed_all(network, held_out))
    found = balanced_accuracy(scores.sigmoid() > of_training, attributes[len(training):])
    for name, value in zip(known, found):
        print(f'{name:<24}{value:.3f}')
    print(f'{"mean":<24}{found.mean():.3f}')
    with atomic_write(args.out) as file:
        torch.save({name: value.half() if value.is_floating_point() else value
                    for name, value in network.state_dict().items()}, file)


if __name__ == '__main__':
    main()
