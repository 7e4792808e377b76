"""Train the VAE of the article, and look at what it draws.

    python -m dldemos.VAE.main                        # train, reconstruct, generate
    python -m dldemos.VAE.main train --n_epochs 2     # any setting below is an option
    python -m dldemos.VAE.main generate --seed 1      # with weights trained before
    python -m dldemos.VAE.main --help
"""
import time
from functools import partial

import torch
import torch.nn.functional as F
from tqdm import tqdm

from dldemos.VAE import session as inputs
from dldemos.VAE.images.grids import grid, labelled_rows, pairs, save_picture
from dldemos.VAE.latent import walks as latent
from dldemos.VAE.latent.metrics import evaluate
from dldemos.VAE.latent.priors import PRIORS
from dldemos.VAE.load_celebA import batches
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.support.settings import as_text, parse
from dldemos.VAE.training import checkpoint, processes
from dldemos.VAE.training import log as progress
from dldemos.VAE.training.muon import Muon
from dldemos.VAE.training.speed import compile_loss, keep_freed_memory

# Hyperparameters. Edit them here, or give them as options: --n_epochs 2

# Training
n_epochs = 10                       # passes over the training images
kl_weight = 0.00025                 # larger: better random faces; smaller: sharper; or 'auto'
lr = 0.005                          # learning rate of Adam, at its peak
batch_size = 16                     # images a step (and a process)
optimizer = 'adam'                  # or 'muon': fewer images to the same loss
adam_betas = (0.9, 0.999)           # how long Adam remembers gradients, and their squares
lr_schedule = 'linear'              # up from 0 and down to 0; constant: as in the article
warm_up = 0.5                       # share of the run in which the learning rate goes up
mirror = False                      # mirror half of the images, others in every epoch

# Model
hiddens = (16, 32, 64, 128, 256)    # channels after each stage of the encoder
latent_dim = 128                    # length of a code
init = None                         # weights to start from: a file, or 'pretrained'; None: random

# Data and pictures
data_root = None                    # folder or zip of images; None: CelebA, else drawn faces
crop = 168                          # pixels: side of the middle square; small images: all of it
n_images = None                     # use the first so many; None: all
held_out = 0.1                      # share not trained on; CelebA as a whole: its test split
cache_dir = None                    # folder for decoded images; None: beside the images
n_samples = 64                      # faces that generate draws
prior = 'normal'                    # where random codes come from; gaussian, flow: fitted ones

# Run
seed = 0                            # of everything random
device = 'auto'                     # auto: CUDA, else Apple's MPS, else the CPU
compile = 'auto'                    # on, off; auto: where a run is long enough to gain by it
resume = False                      # go on with the unfinished run in work_dirs/run.pth
ckpt_path = 'dldemos/VAE/model.pth'  # the weights
recipe = 'default'                  # or one of these, instead of what stands above:
RECIPES = {
    'default': {},
    'article': {'n_epochs': 10, 'kl_weight': 0.00025, 'lr': 0.005, 'batch_size': 16,
                'optimizer': 'adam', 'adam_betas': (0.9, 0.999), 'lr_schedule': 'constant',
                'held_out': 0.0},
    'quick': {'n_epochs': 2, 'lr': 0.005, 'batch_size': 32, 'optimizer': 'muon',
              'adam_betas': (0.9, 0.99), 'lr_schedule': 'linear', 'warm_up': 0.4},
    'long': {'n_epochs': 80, 'lr': 0.003, 'batch_size': 32, 'optimizer': 'adam',
             'adam_betas': (0.9, 0.999), 'lr_schedule': 'linear', 'warm_up': 0.3,
             'mirror': True},
}

# What the program can do, in the order in which it does it
ACTIONS = {
    'train': 'fit the model to the images',
    'reconstruct': 'draw images beside what the model makes of their codes',
    'generate': 'draw faces from random codes',
    'interpolate': 'draw walks between faces, and between random codes',
    'traverse': 'draw a face while one dimension of its code changes',
    'attributes': 'add glasses, a smile ... to faces, by directions in the code space',
    'evaluate': 'print figures of the model on images not trained on',
}

RUN_PATH = 'work_dirs/run.pth'      # the whole state of a run, for --resume
# Besides the settings of train, what a run and the one that resumes it must share
RUN_SETTINGS = ('batch_size', 'mirror', 'hiddens', 'latent_dim', 'init', 'data_root', 'crop',
                'n_images', 'held_out', 'seed')


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
        kl_weight: a number, or 'auto': that of the best decoder variance for this batch.

    Returns:
        The loss; with return_terms, (loss, reconstruction, kl). The reconstruction is the
        squared error, a mean over all pixels and channels of the batch; the KL divergence
        is a sum over the code, a mean over the batch, in nats.
    """
    reconstruction = F.mse_loss(y_hat, y)
    kl = kl_divergence(mean, logvar).mean()
    if kl_weight == 'auto':
        kl_weight = calibrated_kl_weight(reconstruction.detach(), y[0].numel())
    loss = reconstruction + kl_weight * kl
    return (loss, reconstruction, kl) if return_terms else loss


def calibrated_kl_weight(reconstruction, n_values):
    """The kl_weight at which the loss is the negative ELBO of the best Gaussian decoder.

    With variance s, -log N(y; y_hat, s) of the n_values of an image is n_values / 2s times the
    mean squared error, and a constant; the best s is that error itself. Scaled to the mean
    squared error, the KL divergence gets the weight 2s / n_values. Rybkin, Daniilidis and
    Levine, "Simple and Effective VAE Training with Calibrated Decoders" (sigma-VAE), 2021.
    """
    return 2 * reconstruction / n_values


def lr_factor(step, n_steps, lr_schedule=lr_schedule, warm_up=warm_up):
    """The learning rate of a step (0, 1 ... n_steps - 1) as a share of its peak."""
    if lr_schedule == 'constant':
        return 1.0
    rising = max(1, round(warm_up * n_steps))
    return min((step + 1) / rising, (n_steps - step) / max(1, n_steps - rising))


def train(device, dataloader, model, n_epochs=n_epochs, lr=lr, kl_weight=kl_weight,
          lr_schedule=lr_schedule, warm_up=warm_up, compile=compile, ckpt_path=ckpt_path,
          held_out=None, resume=resume, settings=None, adam_betas=adam_betas,
          optimizer=optimizer):
    """Fit `model` to the images (N, 3, 64, 64) of `dataloader`.

    At the end of each epoch the weights go to `ckpt_path`, and the whole state of the run to
    work_dirs/run.pth, from which `resume` goes on as if it had never stopped.

    Args:
        held_out: a dataloader of images not trained on; each epoch's line gives their loss.
        settings: {name: value} kept with the run; only equal ones can go on with it.

    Raises:
        UserError: the loss became NaN or infinite (the weights of the last good epoch stay),
            or there is no run like this one to resume.
    """
    device = torch.device(device)
    model.to(device, memory_format=torch.channels_last)
    network = processes.share(model, device)
    n_steps = n_epochs * len(dataloader)
    settings = {**(settings or {}), 'n_epochs': n_epochs, 'lr': lr, 'kl_weight': kl_weight,
                'lr_schedule': lr_schedule, 'warm_up': warm_up, 'adam_betas': tuple(adam_betas),
                'optimizer': optimizer, 'processes': processes.n_processes(), 'steps': n_steps}
    optimizer = (Muon(model, lr, adam_betas) if optimizer == 'muon' else
                 torch.optim.Adam(model.parameters(), lr, adam_betas, fused=True))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_factor(step, n_steps, lr_schedule, warm_up))
    parts = {'model': model, 'optimizer': optimizer, 'schedule': schedule}
    rows = checkpoint.start_run(RUN_PATH, parts, settings, device, resume)
    step_loss = compile_loss(partial(compute_loss, kl_weight=kl_weight), network, dataloader,
                             device, n_epochs, compile)

    progress.print_header()
    start = time.time() - (rows[-1]['seconds'] if rows else 0)
    for epoch in range(len(rows) + 1, n_epochs + 1):
        row = train_epoch(device, dataloader, network, step_loss, optimizer, schedule,
                          kl_weight, epoch)
        if held_out and processes.is_first():
            row |= named_losses(average_loss(device, held_out, model, kl_weight), 'held_out_')
        rows.append({**row, 'seconds': time.time() - start})
        random_states = processes.collect(checkpoint.random_state(device))
        if processes.is_first():
            checkpoint.save_weights(ckpt_path, model)
            checkpoint.save_run(RUN_PATH, parts, settings, rows, random_states)
            progress.show_epoch(rows, n_epochs, model, device)
    if processes.is_first():
        progress.show_run(rows)
    print(f'kl_weight at the end: {rows[-1]["kl_weight"]:.3g}')
    print(f'weights: {ckpt_path}')


def train_epoch(device, dataloader, network, step_loss, optimizer, schedule, kl_weight, epoch):
    """One pass over the images; returns its row of the log."""
    if hasattr(dataloader.batch_sampler, 'set_epoch'):
        dataloader.batch_sampler.set_epoch(epoch)
    network.train()
    steps_before = (epoch - 1) * len(dataloader)
    totals = torch.zeros(4, device=device)     # loss, reconstruction, KL over images; images
    good_steps = torch.zeros((), device=device)
    start = time.time()
    bar = tqdm(dataloader, leave=False, disable=None if processes.is_first() else True)
    for step, images in enumerate(bar, 1):
        images = images.to(device, memory_format=torch.channels_last)
        loss, reconstruction, kl = step_loss(network, images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

        terms = torch.stack([loss, reconstruction, kl, torch.ones_like(loss)]).detach()
        totals += len(images) * terms
        good_steps += terms.isfinite().all()
        if step % 50 == 0:                     # seldom: a device has to be waited for
            stop_if_nan(steps_before, good_steps, step)
            bar.set_postfix(loss=f'{totals[0] / totals[3]:.4f}', refresh=False)
    stop_if_nan(steps_before, good_steps, step, network)
    *sums, n_images = processes.add_up(totals).tolist()
    losses = [total / n_images for total in sums]
    if kl_weight == 'auto':
        kl_weight = calibrated_kl_weight(losses[1], images[0].numel())
    return {'epoch': epoch, **named_losses(losses), 'kl_weight': kl_weight,
            'lr': schedule.get_last_lr()[0],
            'images_per_second': n_images / (time.time() - start)}


def compute_loss(model, images, kl_weight):
    """(loss, reconstruction, KL) of `loss_fn` for a batch of images, one code each."""
    decoded, mean, logvar = model(images)
    return loss_fn(images, decoded, mean, logvar, kl_weight, return_terms=True)


def named_losses(values, prefix=''):
    return dict(zip([f'{prefix}loss', f'{prefix}reconstruction', f'{prefix}kl'], values))


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
            images = images.to(device, memory_format=torch.channels_last)
            terms = compute_loss(model, images, kl_weight)
            totals += len(images) * torch.stack(terms)
            n_images += len(images)
    return (totals / n_images).tolist()


def stop_if_nan(steps_before, good_steps, step, model=None):
    """UserError unless all steps of the epoch, and the model if given, are finite."""
    first_bad = int(good_steps) + 1
    if first_bad > step and (model is None or checkpoint.is_finite(model)):
        return
    raise UserError(f'the loss became NaN or infinite at step '
                    f'{steps_before + min(first_bad, step)}, and the training stopped: try a '
                    f'lower --lr or another --kl_weight; the weights of the last whole epoch, '
                    f'if there was one, are still in place')


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
def generate(device, model, n_samples=n_samples, code=None, prior='normal'):
    """Draw faces that the model decodes from codes of N(0, I), or from the given codes."""
    model.to(device).eval()
    faces = model.sample(device, n_samples) if code is None else model.decode(code.to(device))
    name = 'generate' if prior == 'normal' else f'generate_{prior}'
    save_picture(grid(faces, columns=8), f'work_dirs/{name}.jpg')


def run_training(settings, device, model):
    """Open the images and train as the settings say; returns all images and their two parts."""
    if checkpoint.is_pretrained(settings.ckpt_path):
        raise UserError('training would overwrite the pretrained weights: give another '
                        '--ckpt_path; --init pretrained starts from them')
    if settings.init is not None:
        checkpoint.load_weights(checkpoint.PRETRAINED if settings.init == 'pretrained'
                                else settings.init, model)
    dataset, seen, unseen = inputs.open_images(settings)
    torch.manual_seed(settings.seed + processes.rank())
    dataloader = batches(seen, settings.batch_size, seed=settings.seed, rank=processes.rank(),
                         n_processes=processes.n_processes(), mirror=settings.mirror)
    held_out = batches(unseen, 64, shuffle=False) if len(unseen) else None
    try:
        train(device, dataloader, model, settings.n_epochs, settings.lr, settings.kl_weight,
              settings.lr_schedule, settings.warm_up, settings.compile, settings.ckpt_path,
              held_out, settings.resume,
              {name: getattr(settings, name) for name in RUN_SETTINGS}, settings.adam_betas,
              settings.optimizer)
    except KeyboardInterrupt:
        print(checkpoint.how_to_go_on(RUN_PATH))
        raise
    return dataset, seen, unseen


def main(argv=None):
    actions, settings = parse(argv, ACTIONS, RECIPES, defaults=globals())
    keep_freed_memory()
    device = processes.join_processes(processes.choose_device(settings.device))
    print(f'{", ".join(actions)} on {device}: '
          + ' '.join(f'{name}={as_text(value)}' for name, value in vars(settings).items()
                     if value is not None and name != 'device'))
    torch.manual_seed(settings.seed)
    try:
        model = VAE(settings.hiddens, settings.latent_dim)
    except ValueError as error:
        raise UserError(error) from error
    if 'train' in actions:
        weights_path = settings.ckpt_path
        dataset, seen, unseen = run_training(settings, device, model)
    else:
        weights_path = inputs.load_trained(settings.ckpt_path, model, ckpt_path)
        dataset, seen, unseen = inputs.images_to_draw(actions, settings, weights_path)
    first = processes.is_first()
    processes.leave_processes()
    if not first:
        return

    shown = None
    if dataset is not None:                    # faces to look at: of those not trained on
        shown = batches(unseen if len(unseen) else seen, 64, seed=settings.seed)
    draw_codes = partial(inputs.draw_codes, settings, device, model, weights_path, seen)
    if 'reconstruct' in actions:
        reconstruct(device, shown, model)
    if 'generate' in actions:
        code = draw_codes(settings.prior, settings.n_samples)
        generate(device, model, code=code, prior=settings.prior)
    if 'interpolate' in actions:
        latent.interpolate(device, model, shown and next(iter(shown)), seed=settings.seed)
    if 'traverse' in actions:
        latent.traverse(device, model, shown and next(iter(shown)))
    if 'attributes' in actions:
        known_of = seen if len(seen) else unseen
        names = [dataset.names[i] for i in known_of.indices]
        known = latent.read_attributes(dataset.root, names)
        mean, _ = latent.encode_all(model.to(device), device,
                                    batches(known_of, 64, shuffle=False))
        directions = latent.attribute_directions(mean, known)
        latent.draw_attributes(device, model, next(iter(shown)), directions)
    if 'evaluate' in actions:
        evaluate(device, model, batches(unseen if len(unseen) else seen, 64, shuffle=False),
                 settings.kl_weight, {prior: partial(draw_codes, prior) for prior in PRIORS})


if __name__ == '__main__':
    processes.end_process(exit_status(main))
