"""The basis of amaq-rd against torch.linalg.eigh of the same rows."""

import math
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy
import torch

import parity_lib  # noqa: F401  (settings of the environment)

CHANNELS = 96
ROWS = 3000


def rows():
    """Rows of falling variance along directions that are no channels; the first is an outlier."""
    generator = torch.Generator().manual_seed(5)
    scales = 30 * 0.95 ** torch.arange(CHANNELS)
    rotation = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS, generator=generator))[0]
    x = torch.randn(ROWS, CHANNELS, generator=generator) * scales @ rotation + 5
    x[0] = 1e4
    return x


def fitted(x, expected_rows):
    with tempfile.TemporaryDirectory() as folder:
        source, made = pathlib.Path(folder) / "x.npy", pathlib.Path(folder) / "b.npy"
        numpy.save(source, x.numpy())
        binary = os.environ["AMAQ_BASIS_RUN"]
        subprocess.run([binary, str(source), str(expected_rows), str(made)], check=True)
        return torch.from_numpy(numpy.load(made)).double()


def shrunk_covariance(x):
    kept = x[1:].double()
    covariance = torch.cov(kept.T, correction=0)
    share = 0.25 * CHANNELS / (CHANNELS + len(kept))
    return covariance * (1 - share) + share * torch.diag(covariance.diagonal())


class BasisParity(unittest.TestCase):
    def test_a_fine_basis_is_the_eigenbasis(self):
        x = rows()
        covariance = shrunk_covariance(x)
        vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1)
        basis = fitted(x, 10**15)
        self.assertLess((basis @ basis.T - torch.eye(CHANNELS)).abs().max(), 1e-6)
        # Up to signs. Neighbouring variances differ by a tenth, so rounding turns them a little.
        self.assertGreater((basis @ vectors).diagonal().abs().min(), 0.999)

    def test_a_coarse_basis_keeps_most_of_the_coding_gain(self):
        x = rows()
        covariance = shrunk_covariance(x)

        def mean_log(variances):
            return variances.log2().mean().item()

        ideal = mean_log(covariance.diagonal()) - mean_log(torch.linalg.eigvalsh(covariance))

        def gain(basis):
            return mean_log(covariance.diagonal()) - mean_log((basis @ covariance @ basis.T).diagonal())

        self.assertGreater(gain(fitted(x, 30_000)), 0.95 * ideal)
        self.assertLess(gain(fitted(x, 30_000)), 0.9999 * ideal)
        self.assertTrue(math.isclose(gain(torch.eye(CHANNELS).double()), 0, abs_tol=1e-9))


if __name__ == "__main__":
    unittest.main()
