"""Train the VAE of the article, and look at what it draws.

    python -m dldemos.VAE.main                        # train, reconstruct, generate
    python -m dldemos.VAE.main train --n_epochs 2     # any setting below is an option
    python -m dldemos.VAE.main generate --seed 1      # with weights trained before
    python -m dldemos.VAE.main --help
"""
import torch
import torch.nn.functional as F
from tqdm import tqdm

from dldemos.VAE.command_line import run, with_settings
from dldemos.VAE.images.grids import labelled_rows, pairs, save_picture
from dldemos.VAE.images.saved import draw_and_save
from dldemos.VAE.latent.codes import decode_batches, first_images
from dldemos.VAE.latent.elbo import calibrated_kl_weight
from dldemos.VAE.support.errors import exit_status
from dldemos.VAE.support.settings import current_settings, in_force
from dldemos.VAE.training import processes
from dldemos.VAE.training.run import Run, completed
from dldemos.VAE.training.steps import make_optimizer, make_schedule

# Hyperparameters. Edit them here, or give them as options: --n_epochs 2

# Training
n_epochs = 10                       # passes over the training images
kl_weight = 0.00025                 # of the KL divergence; smaller: sharper faces; or auto
lr = 0.005                          # learning rate of Adam, at its peak
batch_size = 16                     # images per step (and per process)
optimizer = 'adam'                  # adam; muon: fewer images to the same loss
adam_betas = (0.9, 0.999)           # how long Adam remembers gradients, and their squares
lr_schedule = 'linear'              # linear: up from 0, down to 0; constant: as in the article
warm_up = 0.5                       # share of the run in which the learning rate goes up
mirror = False                      # flip half of the images horizontally, others every epoch

# Model
hiddens = (16, 32, 64, 128, 256)    # channels after each stage of the encoder
latent_dim = 128                    # length of a latent code
image_size = 64                     # pixels of a side; every stage halves it
init = None                         # weights to start from: a file, or bundled ones; None: random

# Data and pictures
data_root = None                    # folder, zip ... of images; None: CelebA, else sample faces
crop = 'auto'                       # middle square: pixels; auto: 168 of CelebA's; or face
n_images = None                     # use the first so many images; None: all
held_out = 0.1                      # share not trained on; CelebA as a whole: its test split
cache_dir = None                    # folder for decoded images; None: beside the images, or data/
n_samples = 64                      # faces that generate draws
prior = 'auto'                      # of random codes: normal, gaussian, flow; auto: by the weights
temperature = 1.0                   # standard deviation of random codes; lower: more usual faces
attribute = None                    # that attributes adds, in more steps; None: several
save_images = None                  # folder: generate also writes each face there as a PNG
code = None                         # file: generate draws its codes, saved by the page of explore

# Run
work_dir = 'work_dirs'              # folder of an experiment; another one has its weights too
seed = 0                            # of everything random: same seed, same run
device = 'auto'                     # auto: CUDA, Apple's MPS ..., else cpu; or cuda:1 ...
compile = False                     # torch.compile: may gain on a GPU, gains nothing on a CPU
resume = False                      # resume the unfinished run in run_path
run_path = None                     # state of the run to resume; None: run.pth in work_dir
ckpt_path = 'dldemos/VAE/model.pth'  # weights: a file, or pretrained, sharp, calibrated
recipe = 'default'                  # settings that belong together, in place of those above
RECIPES = {
    'default': {},
    'article': {'n_epochs': 10, 'kl_weight': 0.00025, 'lr': 0.005, 'batch_size': 16,
                'optimizer': 'adam', 'adam_betas': (0.9, 0.999), 'lr_schedule': 'constant',
                'held_out': 0.0},
    'quick': {'n_epochs': 2, 'lr': 0.005, 'batch_size': 32, 'optimizer': 'muon',
              'adam_betas': (0.9, 0.99), 'lr_schedule': 'linear', 'warm_up': 0.4},
    'long': {'n_epochs': 80, 'lr': 0.005, 'batch_size': 32, 'optimizer': 'muon', 'mirror': True,
             'adam_betas': (0.9, 0.99), 'lr_schedule': 'linear', 'warm_up': 0.3},
}


def loss_fn(y, y_hat, mean, logvar, weight=None, return_terms=False):
    """The loss of the article: reconstruction + weight * KL.

    Args:
        y, y_hat: images and decoded images, (N, 3, 64, 64).
        mean, logvar: the codes' distributions, (N, latent_dim).
        weight: a number; 'auto': of the best decoder variance for this batch; None: kl_weight.

    Returns:
        The loss; with return_terms, (loss, reconstruction, kl): the squared error, a mean over
        all pixels and channels, and the KL divergence from N(0, I), summed over the code, in
        nats (the closed form of Kingma and Welling 2013, appendix B).
    """
    reconstruction = F.mse_loss(y_hat, y)
    kl = torch.mean(-0.5 * torch.sum(1 + logvar - mean**2 - torch.exp(logvar), dim=1))
    weight = kl_weight if weight is None else weight
    if weight == 'auto':
        weight = calibrated_kl_weight(reconstruction.detach(), y[0].numel())
    loss = reconstruction + weight * kl
    return (loss, reconstruction, kl) if return_terms else loss


def train(device, dataloader, model, held_out=None, settings=None, **changes):
    """Fit the model to the images, and save its weights after every epoch.

    The weights go to ckpt_path, what they are into a JSON file beside it, and the whole state
    of the run to run_path, from which `resume` goes on as if it had never stopped.

    Args:
        dataloader: of batches of images (N, 3, 64, 64) in [0, 1].
        held_out: a dataloader of images not trained on; each epoch's line gives their loss.
        settings: a namespace of all settings; None: those above, with changes as in n_epochs=2.

    Raises:
        UserError: see Run, training/run.py.
    """
    settings = settings or completed(current_settings(__file__, globals(), changes), changes)
    model.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(model, settings)
    schedule = make_schedule(optimizer, settings.n_epochs * len(dataloader), settings)
    with in_force(globals(), settings), Run(settings, device, dataloader, model, optimizer,
                                            schedule, loss_fn, held_out) as run:
        for _ in run.epochs():
            train_epoch(run.model, run.batches(), optimizer, schedule, run.count)
            run.end_epoch()


def train_epoch(model, dataloader, optimizer, schedule, count=None, weight=None):
    """One pass over batches of images (N, 3, 64, 64).

    Args:
        count: called after each step with its (loss, reconstruction, kl), if given.
        weight: as in loss_fn.
    """
    for x in dataloader:
        y_hat, mean, logvar = model(x)
        loss, reconstruction, kl = loss_fn(x, y_hat, mean, logvar, weight, return_terms=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if count is not None:
            count(loss, reconstruction, kl)
        schedule.step()


@torch.no_grad()
def reconstruct(device, dataloader, model, n_images=16):
    """Draw images above what is decoded from the means of their codes.

    reconstruct.jpg in work_dir. Returns the picture.
    """
    model.to(device).eval()
    images = first_images(dataloader, n_images)
    mean, _ = model.encode(images.to(device))
    decoded = model.decode(mean).cpu()
    return save_picture(labelled_rows(pairs(images, decoded)), f'{work_dir}/reconstruct.jpg')


@torch.no_grad()
def generate(device, model, code=None, prior='normal'):
    """Draw n_samples faces from random codes of N(0, I), or from given ones.

    generate.jpg in work_dir, or generate_flow.jpg, generate_code.jpg ... for given codes of another
    prior or a file; each face also as a PNG in the folder save_images. Returns the picture.

    Args:
        code: (N, latent_dim), of `prior`; without it they are of N(0, I).
    """
    if code is None and prior != 'normal':
        raise ValueError(f'give the codes of the prior {prior}; see latent/priors.py')
    model.to(device).eval()
    if code is None:
        n_faces = n_samples
        bar = tqdm(range(0, n_faces, 64), leave=False, disable=None if n_faces > 1280 else True)
        faces = (model.sample(device, min(64, n_faces - n_drawn), temperature).cpu()
                 for n_drawn in bar)
    else:
        n_faces, faces = len(code), decode_batches(model, device, code)
    name = 'generate' if prior == 'normal' else f'generate_{prior}'
    return save_picture(draw_and_save(faces, n_faces, save_images), f'{work_dir}/{name}.jpg')


# Other actions, for notebooks: as generate does, they follow the settings above
interpolate, traverse, evaluate, explore = with_settings(globals())


def main(argv=None):
    run(argv, globals())


if __name__ == '__main__':
    processes.end_process(exit_status(main))
