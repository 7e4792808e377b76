"""The order in which images are trained on, for a seed, in one process or in several; flips."""
import torch

from dldemos.VAE.support.errors import UserError


class ShuffledBatches:
    """The indices of an epoch in batches, in an order that seed and epoch decide.

    Several processes get parts that have no image in common and that together have all of
    them, in the same number of batches. A last batch of one image joins the batch before it,
    since batch normalisation cannot always do with one. Every pass is the next epoch; set_epoch
    jumps to one.
    """

    def __init__(self, n_images, batch_size, seed=0, rank=0, n_processes=1):
        if n_processes > 1 and (batch_size == 1 or n_images < n_processes):
            raise UserError(f'{n_images} images in batches of {batch_size} cannot be shared '
                            f'among {n_processes} processes: take larger batches, or fewer '
                            f'processes')
        self.n_images, self.batch_size, self.seed = n_images, batch_size, seed
        self.rank, self.n_processes = rank, n_processes
        self.epoch = 1

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        most = -(-self.n_images // self.n_processes)       # images of rank 0
        return len(in_batches(range(most), self.batch_size))

    def __iter__(self):
        seed = ((self.seed << 20) + self.epoch) % 2**64    # as large as a seed can be
        order = torch.randperm(self.n_images, generator=torch.Generator().manual_seed(seed))
        self.epoch += 1
        parts = in_batches(order.tolist()[self.rank::self.n_processes], self.batch_size)
        if len(parts) < len(self):                         # an image less than rank 0
            half = len(parts[-1]) // 2
            parts[-1:] = [parts[-1][:half], parts[-1][half:]]
        return iter(parts)


def in_batches(indices, batch_size):
    """A list of batches; a last one of a single index joins the one before."""
    parts = [indices[i:i + batch_size] for i in range(0, len(indices), batch_size)]
    if batch_size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        last = len(parts) - 2
        parts[last:] = [indices[last * batch_size:]]
    return parts


def flip_half(images):
    """Flip each image (N, 3, H, W) horizontally in one of two cases: other faces, for free."""
    chosen = (torch.rand(len(images)) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)
