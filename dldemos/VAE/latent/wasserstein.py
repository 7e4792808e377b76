"""The sliced Wasserstein distance between two sets of images: of their patches, whatever they show.

Karras, Aila, Laine and Lehtinen, "Progressive Growing of GANs", 2018, section 5.
"""
import torch
import torch.nn.functional as F

PER_IMAGE, SIDE = 64, 7        # patches of an image at each level, and their pixels a side
CHUNK = 32                     # projections that are looked at in one go


@torch.no_grad()
def sliced_wasserstein(x, y, n_levels=None, n_projections=256, seed=0):
    """The sliced Wasserstein distance between two sets of as many images, times 1000.

    Patches of 7 x 7 at each level of a Laplacian pyramid, projected on random directions; the
    mean distance between the sorted projections, a mean over the levels ... 64, 32 and 16. Here
    with 64 patches of an image and 256 directions, and the same places and directions for both.

    Args:
        x, y: images (N, 3, H, W) in [0, 1].
        n_levels: of the pyramids; None: down to 16 pixels a side.

    Raises:
        ValueError: the sets differ in shape.
    """
    if x.shape != y.shape:
        raise ValueError(f'sets of the same shape are compared, not {x.shape} and {y.shape}')
    n_levels = n_levels or max(1, (x.shape[-1] // 16).bit_length())
    distances = [projected_distance(patches(a, seed), patches(b, seed), n_projections, seed + 1)
                 for a, b in zip(laplacian_pyramid(x, n_levels), laplacian_pyramid(y, n_levels))]
    return 1000 * sum(distances) / len(distances)


def laplacian_pyramid(images, n_levels):
    """Yield the details of images at full size, half size ..., and what is left at the smallest.

    Fewer levels where the smallest would have no room for a patch.
    """
    images = images.float().cpu()
    for _ in range(n_levels - 1):
        if min(images.shape[-2:]) < 2 * SIDE:
            break
        smaller = F.avg_pool2d(images, 2)
        yield images - F.interpolate(smaller, size=images.shape[-2:], mode='bilinear')
        images = smaller
    yield images


def patches(images, seed):
    """Random patches of images (N, 3, H, W), normalised by channel: (N * PER_IMAGE, 3 * 7 * 7).

    Sets of as many images have them at the same places, for the same seed.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randint(pixels - SIDE + 1, (len(images), PER_IMAGE), generator=generator)
                     for pixels in images.shape[-2:])
    windows = images.unfold(2, SIDE, 1).unfold(3, SIDE, 1)          # (N, 3, rows, columns, 7, 7)
    found = windows[torch.arange(len(images)).unsqueeze(1), :, rows, columns].flatten(0, 1)
    found -= found.mean((0, 2, 3), keepdim=True)
    found /= found.std((0, 2, 3), keepdim=True)
    return found.flatten(1)


def projected_distance(a, b, n_projections, seed):
    """The mean distance between the sorted projections of patches (N, D) on random directions."""
    directions = torch.randn(a.shape[1], n_projections,
                             generator=torch.Generator().manual_seed(seed))
    directions = directions / directions.norm(dim=0)
    total = 0.0
    for some in directions.T.split(CHUNK):
        projections = [some @ of_set.T for of_set in (a, b)]              # (CHUNK, N) each
        for values in projections:
            values.numpy().sort(axis=1)            # in place, unlike torch's
        total += projections[0].sub_(projections[1]).abs_().sum(dtype=torch.float64).item()
    return total / (n_projections * len(a))
