"""A linear probe: how well attributes can be told from a code by a linear model."""
import torch

LEAST_FITTED, LEAST_JUDGED = 20, 5     # images with an attribute, and without it


class LinearProbe:
    """Tells attributes from codes that it was not fitted to, and keeps count.

    For each attribute the linear discriminant of Fisher 1936: along the difference of the mean
    codes with and without it, in the metric of the codes' covariance, cut half-way between.

    Args:
        mean: codes that it is fitted to, (N, latent_dim).
        fitted: their attributes, {name: bool tensor (N,)}.
        judged: those of the codes that it will be given, {name: bool tensor (M,)}, in order.
    """

    def __init__(self, mean, fitted, judged):
        self.names = [name for name, has in fitted.items()
                      if rarer(has) >= LEAST_FITTED and rarer(judged[name]) >= LEAST_JUDGED]
        self.n_seen = 0
        if not self.names:
            return
        self.judged = torch.stack([judged[name] for name in self.names], dim=1)
        self.n_right = torch.zeros(2, len(self.names))
        mean = mean.double()
        covariance = torch.cov(mean.T).view(mean.shape[1], -1)
        covariance.diagonal().add_(1e-6 * covariance.diagonal().mean() + 1e-12)
        with_it, without = (torch.stack([mean[fitted[name] == has].mean(0) for name in self.names])
                            for has in (True, False))
        self.weight = torch.linalg.solve(covariance, (with_it - without).T)
        self.bias = -((with_it + without).T / 2 * self.weight).sum(0)

    def add(self, mean):
        """Judge the next codes (n, latent_dim)."""
        if not self.names:
            return
        has = self.judged[self.n_seen:self.n_seen + len(mean)]
        self.n_seen += len(mean)
        right = (mean.cpu().double() @ self.weight + self.bias > 0) == has
        self.n_right += torch.stack([(right & has).sum(0), (right & ~has).sum(0)])

    def balanced_accuracy(self):
        """{attribute: mean of the shares of those with and those without it that were told}.

        0.5 is chance. Attributes that too few images have, or lack, are left out.
        """
        if not self.names:
            return {}
        n_with = self.judged.sum(0)
        shares = self.n_right / torch.stack([n_with, len(self.judged) - n_with])
        return dict(zip(self.names, shares.mean(0).tolist()))


def rarer(has):
    """Of a bool tensor, how often the rarer value comes."""
    return min(int(has.sum()), int((~has).sum()))
