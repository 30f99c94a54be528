"""What every entropy intervention is: a per-token loss over per-token statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from entropy_utils.lab.experiment import Parameters


@dataclass(frozen=True)
class Tokens:
    """One minibatch, token by token, as an intervention sees it. Every tensor is (..., sequences, tokens).

    Leading axes are separate minibatches (replicas): means and shares are taken over the last two axes only.
    """

    logp: Tensor  # log pi(y_t), with gradient
    old_logp: Tensor  # the same under the policy that sampled, no gradient
    advantages: Tensor  # one number per response, repeated over its tokens
    mask: Tensor  # True where a token counts
    entropy: Tensor  # entropy of the next-token distribution, nats; with gradient if the method uses "entropy"
    random: Tensor  # uniform numbers in [0, 1): the only randomness a method may use
    reference_logp: Tensor | None = None  # under the frozen reference policy, if the method uses "reference"

    @property
    def log_ratio(self) -> Tensor:
        return self.logp - self.old_logp


class Intervention(Parameters):
    """A way to act on the entropy. Fields are its coefficients, with bounds; `uses` names what it needs besides logp."""

    name: ClassVar[str]
    uses: ClassVar[frozenset[str]] = frozenset()

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """The loss of every token, and a boolean mask of the tokens that the method acted on, both (..., N, T).

        The caller takes the mean over the valid tokens. Entries outside `tokens.mask` are ignored.
        """
        raise TypeError(f"{type(self).__name__} does not define token_loss")


def clipped_loss(tokens: Tokens, low: float, high: float) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate max(-A r, -A clip(r, 1 - low, 1 + high)), and where the clip takes the gradient away."""
    ratio = tokens.log_ratio.exp()
    plain = -tokens.advantages * ratio
    clipped = -tokens.advantages * ratio.clamp(1 - low, 1 + high)
    return plain.maximum(clipped), (clipped > plain) & tokens.mask
