"""Numbers published by Cui et al. (2025, arXiv 2505.22617v1), for comparison; never mixed with ours.

The paper prints no table of its curves: points and coefficients were read off its figures by pixel measurement, to
about 0.3 points of accuracy, 0.003 in a and 0.005 in b.
"""

from __future__ import annotations

# Fig. 1 right, mathematics: (policy entropy in nats, mean validation accuracy in %) of Qwen2.5 models.
LAW_POINTS: dict[str, tuple[tuple[float, float], ...]] = {
    "32B": (
        (0.615, 23.8), (0.590, 26.8), (0.464, 30.7), (0.380, 34.8), (0.311, 38.4), (0.262, 40.2), (0.228, 41.0),
        (0.190, 41.6), (0.095, 42.4), (0.064, 42.9), (0.059, 43.2), (0.051, 43.3), (0.048, 43.3), (0.043, 43.6),
        (0.034, 43.4), (0.029, 43.9), (0.027, 44.1), (0.0135, 46.0),
    ),
    "7B": (
        (0.547, 21.5), (0.53, 25.0), (0.43, 27.3), (0.342, 32.0), (0.27, 32.9), (0.221, 34.2), (0.096, 36.0),
        (0.058, 36.8), (0.053, 36.9), (0.042, 37.0), (0.0185, 38.6),
    ),
    "3B": ((0.628, 13.0), (0.61, 16.1), (0.379, 23.2), (0.29, 25.5), (0.2, 27.2), (0.079, 28.3), (0.026, 30.1)),
    "0.5B": (
        (1.402, 3.1), (1.35, 4.1), (0.958, 6.8), (0.691, 7.9), (0.548, 8.8), (0.445, 9.7), (0.374, 11.0),
        (0.323, 11.9), (0.295, 12.7), (0.183, 13.1), (0.054, 14.9),
    ),
}  # fmt: skip

# Fig. 7: coefficients of R = -a e^H + b (fractions) against non-embedding parameters (billions), Qwen2.5.
COEFFICIENTS: dict[str, dict[str, tuple[float, float, float]]] = {
    "mathematics": {
        "0.5B": (0.36, 0.043, 0.192), "1.5B": (1.31, 0.095, 0.353), "3B": (2.77, 0.176, 0.478),
        "7B": (6.53, 0.211, 0.600), "32B": (31.0, 0.237, 0.689),
    },
    "code": {
        "0.5B": (0.36, 0.036, 0.212), "1.5B": (1.31, 0.113, 0.363), "3B": (2.77, 0.142, 0.426),
        "7B": (6.53, 0.170, 0.519), "32B": (31.0, 0.194, 0.620),
    },
}  # fmt: skip

# Table 1: mean token covariance of the top share of tokens, Qwen2.5-7B, first step (printed in the paper).
TOP_COVARIANCE: dict[float, float] = {2e-4: 5.654, 2e-3: 3.112, 2e-2: 1.385, 0.2: 0.351, 0.5: 0.152, 1.0: 0.003}
