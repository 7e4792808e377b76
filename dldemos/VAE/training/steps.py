"""What surrounds the steps of training: optimizer, learning rate, checks, averages."""
import torch

from dldemos.VAE.support.errors import UserError
from dldemos.VAE.training import processes
from dldemos.VAE.training.muon import Muon
from dldemos.VAE.training.random_state import forked
from dldemos.VAE.weights import is_finite


def make_optimizer(model, settings):
    """The optimizer of the settings, for all parameters of a model."""
    if settings.optimizer == 'muon':
        return Muon(model, settings.lr, settings.adam_betas)
    return torch.optim.Adam(model.parameters(), settings.lr, settings.adam_betas, fused=True)


def make_schedule(optimizer, n_steps, settings):
    """A scheduler that gives each of n_steps its learning rate."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_factor(step, n_steps, settings.lr_schedule, settings.warm_up))


def lr_factor(step, n_steps, lr_schedule, warm_up):
    """The learning rate of a step (0, 1 ... n_steps - 1) as a share of its peak."""
    if lr_schedule == 'constant':
        return 1.0
    rising = max(1, round(warm_up * n_steps))
    return min((step + 1) / rising, (n_steps - step) / max(1, n_steps - rising))


def check_batches(dataloader, model):
    """UserError where there is nothing to train on, or a batch that cannot be normalised.

    Batch normalisation needs two values of a channel: a batch of one image has them only
    where the last stage of the encoder leaves more than one pixel.
    """
    if not len(dataloader):
        raise UserError('there is no image to train on: take more images')
    smallest = smallest_batch(dataloader)
    if smallest == 1 and getattr(model, 'feature_shape', (0, 0))[1] == 1:
        raise UserError(f'a batch of one image cannot be normalised by a model of '
                        f'{len(model.encoder)} stages, whose last one leaves one pixel: take '
                        f'more images, larger batches, or a stage less in hiddens')


def smallest_batch(dataloader):
    """Images in the smallest batch of an epoch; None where that is not known before."""
    sampler = getattr(dataloader, 'sampler', None)
    if hasattr(sampler, 'smallest'):
        return sampler.smallest()
    size = getattr(dataloader, 'batch_size', None)
    if size is None or not hasattr(sampler, '__len__'):
        return None
    return size if dataloader.drop_last else len(sampler) % size or size


@torch.no_grad()
def average_terms(loss_fn, device, dataloader, model):
    """[loss, reconstruction, KL] of main's loss_fn per image, in evaluation mode.

    The codes are drawn from a seed of their own: the same weights give the same losses,
    and the random numbers of the training stay as they were.
    """
    model.eval()
    totals = torch.zeros(3, device=device)
    n_images = 0
    with forked(device, seed=0):
        for images in dataloader:
            images = to_device(images, device)
            terms = loss_fn(images, *model(images), return_terms=True)
            totals += len(images) * torch.stack(terms)
            n_images += len(images)
    return (totals / n_images).tolist()


def set_epoch(dataloader, epoch):
    """Tell a loader that shuffles by the epoch which one begins."""
    sampler = getattr(dataloader, 'sampler', None)
    if hasattr(sampler, 'set_epoch'):
        sampler.set_epoch(epoch)


def to_device(images, device):
    """A batch on its device, in the layout of memory that is fastest.

    Raises:
        UserError: it is no batch of images (N, 3, H, W) in floating point.
    """
    if not isinstance(images, torch.Tensor):
        raise UserError(f'a batch is a {type(images).__name__}, and must be a tensor of images '
                        f'(N, 3, H, W): leave labels out of the dataset')
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UserError(f'a batch has the shape {tuple(images.shape)} and {images.dtype}, and must '
                        f'be images (N, 3, H, W) in floating point, from 0 to 1')
    return moved(images, device).to(memory_format=torch.channels_last)


def moved(tensor, device):
    """A tensor on a device; a copy to CUDA goes on beside what the program does next."""
    if tensor.device.type == 'cpu' and torch.device(device).type == 'cuda':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Totals:
    """Sums of the loss terms over the images of an epoch, kept on their device.

    Args:
        steps_before: those of earlier epochs, to count the step of a mistake from the first.
    """

    def __init__(self, device, steps_before):
        self.sums = torch.zeros(4, device=device)     # loss, reconstruction, KL; images
        self.good_steps = torch.zeros((), device=device)
        self.steps, self.steps_before = 0, steps_before

    def add(self, n_images, loss, reconstruction, kl):
        """Add the terms of a batch, each a mean over its images."""
        terms = torch.stack([loss, reconstruction, kl, torch.ones_like(loss)]).detach()
        self.sums += n_images * terms
        self.good_steps += terms.isfinite().all()
        self.steps += 1

    def average_loss(self):
        """The loss per image so far, in this process."""
        return (self.sums[0] / self.sums[3]).item()

    def averages(self):
        """([loss, reconstruction, KL] per image, number of images), over all processes."""
        *sums, n_images = processes.all_reduce(self.sums).tolist()
        return [total / n_images for total in sums], n_images

    def stop_if_nan(self, model=None):
        """UserError unless all steps so far, and the model if given, are finite."""
        first_bad = int(self.good_steps) + 1
        if first_bad > self.steps and (model is None or is_finite(model)):
            return
        raise UserError(f'the loss became NaN or infinite at step '
                        f'{self.steps_before + min(first_bad, self.steps)}, and the training '
                        f'stopped: try a lower --lr or another --kl_weight; the weights of the '
                        f'last whole epoch, if there was one, are still in place')
