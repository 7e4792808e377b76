"""Muon: orthogonalized updates of weight matrices, of which fewer are needed."""
import torch
from torch import nn

MATRIX_LR = 8.0            # the learning rate of the matrices, in those of Adam
BIAS_LR = 32.0             # and of the biases of batch normalisation
MOMENTUM = 0.8
LARGEST = 128              # shorter side of a matrix: the work grows with its square
N_ITERATIONS = 5
COEFFICIENTS = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Adam):
    """Muon for the hidden weights of a VAE, Adam for its other parameters.

    A step of Adam, or of gradient descent, goes far in the few directions in which the
    gradients of a matrix are large. Muon sets all singular values of the step near to 1.
    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; that of
    torch.optim computes in bfloat16, which most CPUs only imitate (30 times slower), and takes
    no convolutions. The faster learning rate for the biases of batch normalisation is that of
    Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, half as fast.

    Args:
        model: a VAE; a convolution's weight (a, b, 3, 3) counts as a matrix (a, 9 b).
        lr: learning rate of Adam; the matrices get MATRIX_LR times it, the biases of batch
            normalisation BIAS_LR times.
        betas: of Adam.
    """

    def __init__(self, model, lr, betas):
        matrices = hidden_weights(model)
        biases = [layer.bias for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
        chosen = {id(value) for value in matrices + biases}
        others = [value for value in model.parameters() if id(value) not in chosen]
        super().__init__([{'params': others}, {'params': biases, 'lr': BIAS_LR * lr},
                          {'params': matrices, 'lr': MATRIX_LR * lr}], lr, betas, fused=True)

    @torch.no_grad()
    def step(self, closure=None):
        *_, matrices = self.param_groups
        directions = []
        trained = [weight for weight in matrices['params'] if weight.grad is not None]
        for weight in trained:
            gradient, weight.grad = weight.grad, None       # Adam leaves it alone
            state = self.state[weight]
            if not state:
                state['step'] = torch.zeros(())
                state['momentum'] = torch.zeros_like(gradient)
            state['step'] += 1
            momentum = state['momentum'].lerp_(gradient, 1 - MOMENTUM)
            directions.append(gradient.lerp(momentum, MOMENTUM).reshape(len(weight), -1))
        for weight, update in zip(trained, orthogonalized(directions)):
            length = max(1, update.shape[0] / update.shape[1]) ** 0.5
            weight.add_(update.reshape(weight.shape), alpha=-matrices['lr'] * length)
        return super().step(closure)


def hidden_weights(model):
    """The weights that Muon is for: those of layers between other layers.

    Left out are the layers that see images or make them, the one that gives log-variances,
    and matrices that would take too long.
    """
    first, *_, last = [layer for layer in model.modules()
                       if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    left_out = first, last, model.var_linear
    return [layer.weight for layer in model.modules()
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))
            and layer not in left_out and min(layer.weight.flatten(1).shape) <= LARGEST]


def orthogonalized(matrices):
    """Matrices of the same shapes and singular vectors, their singular values from 0.7 to 1.2.

    Newton-Schulz iterations: each puts the singular values through an odd polynomial, whose
    fixed point is near 1. Values that are tiny beside the largest come out smaller. All of it
    happens in the small square matrices x @ x.T and `power`, where x is power @ (the input), for
    all matrices of one shorter side at once: many small products take longer one by one.
    """
    flat = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    flat = [x / (x.norm() + 1e-12) for x in flat]           # no singular value above 1
    for side in {len(x) for x in flat}:
        alike = [i for i, x in enumerate(flat) if len(x) == side]
        square = torch.stack([flat[i] @ flat[i].T for i in alike])
        power = factor = polynomial(square)
        for _ in range(N_ITERATIONS - 1):
            square = factor @ square @ factor
            factor = polynomial(square)
            power = factor @ power
        for i, its_power in zip(alike, power):
            flat[i] = its_power @ flat[i]
    return [x if x.shape == matrix.shape else x.T for x, matrix in zip(flat, matrices)]


def polynomial(square):
    """a + b square + c square @ square of each (N, side, side): what an iteration multiplies by."""
    a, b, c = COEFFICIENTS
    result = torch.baddbmm(square, square, square, beta=b, alpha=c)
    result.diagonal(dim1=1, dim2=2).add_(a)
    return result
