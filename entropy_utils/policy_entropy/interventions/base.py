"""What every entropy intervention is: a choice before the update, and a per-token loss during it.

`prepare` sees a whole rollout once, before any update: it may change advantages, take tokens out of the loss and keep a
memory from rollout to rollout. `token_loss` sees one minibatch at a time. Both are plain functions of tensors: they draw
no random numbers and keep nothing, so a method works in any training loop and in a stack of replicas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from entropy_utils.lab.experiment import Parameters

from ..covariance import masked_mean


@dataclass(frozen=True)
class Sampled:
    """One rollout before its update: G responses of T tokens to each of P prompts, all under the policy that sampled.

    Leading axes are separate rollouts (replicas): means and shares are taken inside each of them.
    """

    logp: Tensor  # log pi(y_t) of the sampled tokens, (..., P, G, T)
    entropy: Tensor  # of the distribution that each token was drawn from, nats, (..., P, G, T)
    mask: Tensor  # True where a token is part of the response, (..., P, G, T)
    rewards: Tensor  # in [0, 1], (..., P, G)
    advantages: Tensor  # normalised inside each group, (..., P, G)
    memory: Tensor  # what `prepare` returned for the rollout before, (...,); at first `first_memory`
    step: int = 0  # number of this rollout, from 0
    steps: int = 1  # how many there will be
    sum_p2: Tensor | None = None  # sum_j p_j^2 of each distribution, (..., P, G, T), if the method uses "moments"
    sum_p2_log_p: Tensor | None = None  # sum_j p_j^2 log p_j, likewise
    random: Tensor | None = None  # uniform numbers in [0, 1), (..., P, G, T), if the method uses "random"

    @property
    def mean_entropy(self) -> Tensor:
        """Mean entropy of all sampled tokens, (...,), nats: the policy entropy that controllers steer."""
        return masked_mean(self.entropy.flatten(-3, -2), self.mask.flatten(-3, -2))[..., 0, 0]


class Prepared(NamedTuple):
    """What the update is to use: as in `Sampled`, changed where the method says so."""

    advantages: Tensor  # (..., P, G); a group with advantages of zero only may be left out of the update
    mask: Tensor  # (..., P, G, T): the tokens that count in the loss and in its denominator
    memory: Tensor  # (...,), handed to `token_loss` and to the next `prepare`


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
    old_entropy: Tensor | None = None  # entropy under the policy that sampled, nats, no gradient
    memory: Tensor | None = None  # of `prepare`, (..., 1, 1)

    @property
    def log_ratio(self) -> Tensor:
        return self.logp - self.old_logp


class Intervention(Parameters):
    """A way to act on the entropy. Fields are its coefficients, with bounds; `uses` names what it needs besides logp:

    "entropy" (with gradient) and "reference" in `token_loss`; "moments" and "random" in `prepare`.
    """

    name: ClassVar[str]
    uses: ClassVar[frozenset[str]] = frozenset()

    @property
    def first_memory(self) -> float:
        """The memory before the first rollout."""
        return 0.0

    def check(self, vocabulary: int, steps: int) -> None:
        """Raise a `ParameterError` if the coefficients do not fit a policy over `vocabulary` tokens and `steps` rollouts."""

    def prepare(self, sampled: Sampled) -> Prepared:
        """Advantages, counted tokens and memory for the update on this rollout; by default all as they are."""
        return Prepared(sampled.advantages, sampled.mask, sampled.memory)

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
