"""Many images to latent codes and back, a batch at a time."""
import torch
from tqdm import tqdm

BATCH_SIZE = 64


@torch.no_grad()
def encode_all(model, device, dataloader):
    """Mean and log-variance of the codes of all images, on the CPU, in the loader's order."""
    model.to(device).eval()
    pairs = [[part.cpu() for part in model.encode(images.to(device))] for images in dataloader]
    return tuple(torch.cat(parts) for parts in zip(*pairs))


@torch.no_grad()
def decode_batches(model, device, code):
    """Yield the images decoded from codes (N, latent_dim), on the CPU, some at a time."""
    model.to(device).eval()
    for some in tqdm(code.split(BATCH_SIZE), desc='decoding', leave=False,
                     disable=None if len(code) > 20 * BATCH_SIZE else True):
        yield model.decode(some.to(device)).cpu()


def first_images(dataloader, n):
    """The first n images of a loader of batches, or all there are: (n, 3, H, W)."""
    batches = []
    for images in dataloader:
        batches.append(images)
        if sum(map(len, batches)) >= n:
            break
    return torch.cat(batches)[:n]
