"""What surrounds the steps of training: optimizer, learning rate, checks, averages."""
import torch

from dldemos.VAE.support.errors import UserError
from dldemos.VAE.training import processes
from dldemos.VAE.training.devices import moved, random_state, set_random_state
from dldemos.VAE.training.muon import Muon
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


@torch.no_grad()
def average_terms(loss_fn, device, dataloader, model):
    """[loss, reconstruction, KL] of main's loss_fn per image, in evaluation mode.

    The codes are drawn from a seed of their own: the same weights give the same losses,
    and the random numbers of the training stay as they were.
    """
    device = torch.device(device)
    before = random_state(device)
    torch.manual_seed(0)
    model.eval()
    sums, n_images = torch.zeros(3, device=device), 0
    for images in dataloader:
        images = to_device(images, device)
        sums += len(images) * torch.stack(loss_fn(images, *model(images), return_terms=True))
        n_images += len(images)
    set_random_state(before, device)
    return (sums / n_images).tolist()


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
    return moved(images, torch.device(device)).to(memory_format=torch.channels_last)


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
