"""The sliced Wasserstein distance between two sets of images, of their patches alone.

Karras, Aila, Laine and Lehtinen, "Progressive Growing of GANs", 2018, section 5. The images
themselves are not kept, so that a set may pass by in batches.
"""
import torch
import torch.nn.functional as F

PER_IMAGE, SIDE = 64, 7        # patches of an image at each level, and their pixels a side
CHUNK = 32                     # images, or projections, that are looked at in one go


class Patches:
    """Random patches of the images of a set, at each level of their Laplacian pyramids.

    Sets of as many images, with the same seed, have their patches at the same places.

    Args:
        n_images: how many images the set has.
        n_levels: of the pyramids; None: down to 16 pixels a side.
    """

    def __init__(self, n_images, n_levels=None, seed=0):
        self.n_images, self.n_levels, self.seed = n_images, n_levels, seed
        self.levels = []                           # (n_images, PER_IMAGE, 3, SIDE, SIDE) each

    def add(self, images, which):
        """Take the patches of images (N, 3, H, W) in [0, 1], which are these of the set (N,)."""
        n_levels = self.n_levels or max(1, (images.shape[-1] // 16).bit_length())
        pyramid = laplacian_pyramid(images.float().cpu(), n_levels)
        if not self.levels:
            self.places = [random_places(self.n_images, details.shape[-2:], self.seed)
                           for details in pyramid]
            self.levels = [torch.empty(self.n_images, PER_IMAGE, images.shape[1], SIDE, SIDE)
                           for _ in pyramid]
        of_image = torch.arange(len(images)).unsqueeze(1)
        for patches, details, (rows, columns) in zip(self.levels, pyramid, self.places):
            windows = details.unfold(2, SIDE, 1).unfold(3, SIDE, 1)   # (N, 3, rows, columns, 7, 7)
            patches[which] = windows[of_image, :, rows[which], columns[which]]

    def add_all(self, batches):
        """Take the patches of all images of the set, in batches; returns the set."""
        start = 0
        for images in batches:
            self.add(images, torch.arange(start, start + len(images)))
            start += len(images)
        return self

    def descriptors(self):
        """The patches, normalised by channel: (N * PER_IMAGE, 3 * SIDE * SIDE) for each level.

        The set has no patches left afterwards.
        """
        found = []
        while self.levels:
            patches = self.levels.pop(0).flatten(0, 1)
            patches -= patches.mean((0, 2, 3), keepdim=True)
            patches /= patches.std((0, 2, 3), keepdim=True)
            found.append(patches.flatten(1))
        return found


def laplacian_pyramid(images, n_levels):
    """Images -> their details at full size, half size ..., and what is left at the smallest.

    Fewer levels where the smallest would have no room for a patch.
    """
    levels = []
    while len(levels) < n_levels - 1 and min(images.shape[-2:]) >= 2 * SIDE:
        smaller = F.avg_pool2d(images, 2)
        enlarged = F.interpolate(smaller, size=images.shape[-2:], mode='bilinear')
        levels.append(images - enlarged)
        images = smaller
    return [*levels, images]


def random_places(n_images, size, seed):
    """Rows and columns where patches of images of this size begin, (n_images, PER_IMAGE) each."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(pixels - SIDE + 1, (n_images, PER_IMAGE), generator=generator)
            for pixels in size]


@torch.no_grad()
def sliced_wasserstein(x, y, n_levels=None, n_projections=256, seed=0):
    """The sliced Wasserstein distance between two sets of as many images, times 1000.

    Patches of 7 x 7 at each level of a Laplacian pyramid, projected on random directions; the
    mean distance between the sorted projections, a mean over the levels ... 64, 32 and 16. Here
    with 64 patches of an image and 256 directions, and the same places and directions for both.

    Args:
        x, y: images (N, 3, H, W) in [0, 1], or what Patches.descriptors returned for a set.

    Raises:
        ValueError: the sets differ in shape.
    """
    if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) and x.shape != y.shape:
        raise ValueError(f'sets of the same shape are compared, not {x.shape} and {y.shape}')
    x, y = (Patches(len(some), n_levels, seed).add_all(some.split(CHUNK)).descriptors()
            if isinstance(some, torch.Tensor) else some for some in (x, y))
    distances = [projected_distance(a, b, n_projections, seed + 1) for a, b in zip(x, y)]
    return 1000 * sum(distances) / len(distances)


def projected_distance(a, b, n_projections, seed):
    """The mean distance between the sorted projections of descriptors (N, D) on directions."""
    directions = torch.randn(a.shape[1], n_projections,
                             generator=torch.Generator().manual_seed(seed))
    directions = directions / directions.norm(dim=0)
    total = 0.0
    for some in directions.T.split(CHUNK):
        projections = [some @ descriptors.T for descriptors in (a, b)]    # (CHUNK, N) each
        for values in projections:
            values.numpy().sort(axis=1)            # in place, unlike torch's
        total += projections[0].sub_(projections[1]).abs_().sum(dtype=torch.float64).item()
    return total / (n_projections * len(a))
