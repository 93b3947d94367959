"""The null of a mean absolute tau against scipy, permutation by permutation."""

import numpy as np
import scipy.stats

from gradflow.analysis.width_null import null_of_width, permuted_within, scaled_signs


def test_the_null_is_scipys_tau_of_permuted_targets() -> None:
    generator = np.random.default_rng(0)
    units = np.array([(width, seed) for width in (10, 50, 90) for seed in range(3)])
    orders = permuted_within(units, permutations=12)
    measures = generator.integers(0, 6, (2, 4, 3, 9)).astype(float)  # with ties
    targets = generator.standard_normal((2, 4, 2, 9))
    targets[1, 2, 0] = 1.0  # all ties: a configuration that does not count

    null = null_of_width(scaled_signs(measures), scaled_signs(targets), orders)

    expected = np.full((12, 2, 3, 2), np.nan)
    for permutation, study, measure, target in np.ndindex(expected.shape):
        taus = [
            scipy.stats.kendalltau(
                measures[study, configuration, measure],
                targets[study, configuration, target][orders[permutation]],
            ).statistic
            for configuration in range(4)
        ]
        expected[permutation, study, measure, target] = np.nanmean(np.abs(taus))
    np.testing.assert_allclose(null, expected, atol=1e-6)
