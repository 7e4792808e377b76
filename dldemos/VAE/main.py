"""Train the VAE of the article, and look at what it draws.

    python -m dldemos.VAE.main                        # train, reconstruct, generate
    python -m dldemos.VAE.main train --n_epochs 2     # any setting below is an option
    python -m dldemos.VAE.main generate --seed 1      # with weights trained before
    python -m dldemos.VAE.main --help
"""
import sys
import time

import torch
import torch.nn.functional as F
from tqdm import tqdm

from dldemos.VAE.checkpoint import is_finite, load_weights, save_weights
from dldemos.VAE.command_line import as_text, parse
from dldemos.VAE.errors import UserError, exit_status
from dldemos.VAE.load_celebA import CelebADataset, batches, find_images, split
from dldemos.VAE.model import VAE
from dldemos.VAE.pictures import grid, labelled_rows, pairs, save_picture

# Hyperparameters. Edit them here, or give them as options: --n_epochs 2

# Training
n_epochs = 10                       # passes over the training images
kl_weight = 0.00025                 # larger: better random faces; smaller: sharper copies
lr = 0.005                          # learning rate of Adam
batch_size = 16                     # images a step

# Model
hiddens = (16, 32, 64, 128, 256)    # channels after each stage of the encoder
latent_dim = 128                    # length of a code

# Data and pictures
data_root = None                    # folder or zip of images; None: CelebA, else drawn faces
crop = 168                          # pixels: side of the middle square; small images: all of it
n_images = None                     # use the first so many; None: all
held_out = 0.1                      # share not trained on; CelebA as a whole: its test split
cache_dir = None                    # folder for decoded images; None: beside the images
n_samples = 64                      # faces that generate draws

# Run
seed = 0                            # of everything random
device = 'auto'                     # auto: CUDA, else Apple's MPS, else the CPU
ckpt_path = 'dldemos/VAE/model.pth'  # the weights

# What the program can do, in the order in which it does it
ACTIONS = {
    'train': 'fit the model to the images',
    'reconstruct': 'draw images beside what the model makes of their codes',
    'generate': 'draw faces from random codes',
}


def kl_divergence(mean, logvar):
    """KL(N(mean, exp(logvar)) || N(0, I)) of each code, in nats: (N, latent_dim) -> (N,).

    The closed form of Kingma and Welling 2013, appendix B.
    """
    return -0.5 * torch.sum(1 + logvar - mean**2 - torch.exp(logvar), dim=1)


def loss_fn(y, y_hat, mean, logvar, kl_weight=kl_weight, return_terms=False):
    """The loss of the article: reconstruction + kl_weight * KL.

    Args:
        y, y_hat: images and decoded images, (N, 3, 64, 64).
        mean, logvar: the codes' distributions, (N, latent_dim).

    Returns:
        The loss; with return_terms, (loss, reconstruction, kl). The reconstruction is the
        squared error, a mean over all pixels and channels of the batch; the KL divergence
        is a sum over the code, a mean over the batch, in nats.
    """
    reconstruction = F.mse_loss(y_hat, y)
    kl = kl_divergence(mean, logvar).mean()
    loss = reconstruction + kl_weight * kl
    return (loss, reconstruction, kl) if return_terms else loss


def train(device, dataloader, model, n_epochs=n_epochs, lr=lr, kl_weight=kl_weight,
          ckpt_path=ckpt_path, held_out=None):
    """Fit `model` to the images (N, 3, 64, 64) of `dataloader`; save its weights each epoch.

    Args:
        held_out: a dataloader of images not trained on; each epoch's line gives their loss.

    Raises:
        UserError: the loss became NaN or infinite; the weights of the last good epoch stay.
    """
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    step = 0
    good_steps = torch.zeros((), device=device)
    start = time.time()
    print('  epoch      loss     recon       KL  held-out  images/s   time')
    for epoch in range(1, n_epochs + 1):
        epoch_start = time.time()
        totals = torch.zeros(3, device=device)     # loss, reconstruction, KL over images
        n_images = 0
        model.train()
        for images in (bar := tqdm(dataloader, leave=False, disable=None)):
            images = images.to(device)
            decoded, mean, logvar = model(images)
            loss, *terms = loss_fn(images, decoded, mean, logvar, kl_weight, return_terms=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            step += 1
            n_images += len(images)
            totals += len(images) * torch.stack([loss, *terms]).detach()
            good_steps += torch.isfinite(loss.detach())
            if step % 50 == 0:
                stop_if_nan(good_steps, step)
                bar.set_postfix(loss=f'{totals[0] / n_images:.4f}', refresh=False)

        stop_if_nan(good_steps, step, model)
        save_weights(ckpt_path, model)
        loss, reconstruction, kl = (totals / n_images).tolist()
        speed = n_images / (time.time() - epoch_start)
        unseen = f'{average_loss(device, held_out, model, kl_weight)[0]:8.5f}' if held_out else '-'
        print(f'{epoch:>3}/{n_epochs:<3}  {loss:8.5f}  {reconstruction:8.5f}  {kl:7.2f}'
              f'  {unseen:>8}  {speed:8.0f}  {minutes(time.time() - start):>5}', flush=True)
    print(f'weights: {ckpt_path}')


@torch.no_grad()
def average_loss(device, dataloader, model, kl_weight=kl_weight):
    """(loss, reconstruction, KL) of `loss_fn` over images, in evaluation mode, one code each.

    The codes are drawn from a seed of their own: the same weights give the same figures,
    and the random numbers of the training stay as they were.
    """
    model.eval()
    totals = torch.zeros(3, device=device)
    n_images = 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for images in dataloader:
            images = images.to(device)
            decoded, mean, logvar = model(images)
            terms = loss_fn(images, decoded, mean, logvar, kl_weight, return_terms=True)
            totals += len(images) * torch.stack(terms)
            n_images += len(images)
    return (totals / n_images).tolist()


def stop_if_nan(good_steps, step, model=None):
    """UserError unless the loss of all steps, and the model if given, are finite."""
    first_bad = int(good_steps) + 1
    if first_bad > step and (model is None or is_finite(model)):
        return
    raise UserError(f'the loss became NaN or infinite at step {min(first_bad, step)}, and the '
                    f'training stopped: try a lower --lr or another --kl_weight; the weights '
                    f'of the last whole epoch, if there was one, are still in place')


def minutes(seconds):
    return f'{int(seconds) // 60:02}:{int(seconds) % 60:02}'


@torch.no_grad()
def reconstruct(device, dataloader, model, n_images=16):
    """Draw images, each above what the model decodes from the mean of its code."""
    model.to(device).eval()
    batches = []
    for images in dataloader:
        batches.append(images)
        if sum(map(len, batches)) >= n_images:
            break
    images = torch.cat(batches)[:n_images]
    mean, _ = model.encode(images.to(device))
    decoded = model.decode(mean).cpu()
    save_picture(labelled_rows(pairs(images, decoded)), 'work_dirs/reconstruct.jpg')


@torch.no_grad()
def generate(device, model, n_samples=n_samples):
    """Draw faces that the model decodes from codes of N(0, I)."""
    model.to(device).eval()
    faces = model.sample(device, n_samples)
    save_picture(grid(faces, columns=8), 'work_dirs/generate.jpg')


def choose_device(name):
    """'auto' or a name of torch's -> torch.device that works here; UserError otherwise."""
    if name == 'auto':
        if torch.cuda.is_available():
            return torch.device('cuda')
        return torch.device('mps' if torch.backends.mps.is_available() else 'cpu')
    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f'the device {name} cannot be used here '
                        f'({str(error).splitlines()[0]}): try --device auto') from error


def main(argv=None):
    actions, settings = parse(argv, ACTIONS, defaults=globals())
    device = choose_device(settings.device)
    print(f'{", ".join(actions)} on {device}: '
          + ' '.join(f'{name}={as_text(value)}' for name, value in vars(settings).items()
                     if value is not None and name != 'device'))
    torch.manual_seed(settings.seed)
    try:
        model = VAE(settings.hiddens, settings.latent_dim)
    except ValueError as error:
        raise UserError(error) from error
    if 'train' not in actions:
        load_weights(settings.ckpt_path, model)
    if 'train' in actions or 'reconstruct' in actions:
        dataset = CelebADataset(find_images(settings.data_root), crop=settings.crop,
                                n_images=settings.n_images, cache_dir=settings.cache_dir)
        seen, unseen = split(dataset, settings.held_out)
        dataloader = batches(seen, settings.batch_size, seed=settings.seed)
        held_out = batches(unseen, 64, shuffle=False) if len(unseen) else None

    if 'train' in actions:
        train(device, dataloader, model, settings.n_epochs, settings.lr, settings.kl_weight,
              settings.ckpt_path, held_out)
    if 'reconstruct' in actions:
        reconstruct(device, held_out or dataloader, model)
    if 'generate' in actions:
        torch.manual_seed(settings.seed)           # the same faces, trained in this run or not
        generate(device, model, settings.n_samples)


if __name__ == '__main__':
    sys.exit(exit_status(main))
