"""The unlearning loop: one objective on a stack of models, every seed with its own order of examples."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from entropy_utils.lab.errors import ParameterError
from entropy_utils.language_model.vector_adamw import VectorAdamW

from .answer_tokens import IGNORED, answer_places, check_answers
from .diverged import Diverged, finite
from .objectives import Objective, Output, Retained, objective
from .stacked_gpt2 import StackedGPT2


class Unlearner:
    """Unlearn the examples of `forget` from copies of `models`, step by step.

    `forget` and `retain` are batches (N, L) as of `encode`; `method` an objective or its text. AdamW at a constant rate.
    The frozen models are read once, here. Each seed draws its own order of the forget examples (a new one when fewer
    than `batch` are left) and its own retain examples, so that it does the same in any stack.

    `models` is the stack under training: read it between steps. If a loss, or a weight after an update, is no finite
    number, `Diverged` names the step, and `models` goes back to the last weights whose loss was finite. ParameterError,
    before any work: no forget or retain examples, one without answer, texts longer than the model, coefficients that do
    not fit it.
    """

    def __init__(
        self,
        models: StackedGPT2,
        forget: Mapping[str, Tensor],
        method: Objective | str,
        *,
        retain: Mapping[str, Tensor] | None = None,
        batch: int = 4,
        lr: float = 3e-4,
        weight_decay: float = 0.01,
        seeds: Sequence[int] | None = None,
    ):
        self.objective = objective(method)
        self.objective.check(models.config.vocab_size, models.config.n_layer)
        self.seeds = list(range(models.replicas)) if seeds is None else list(seeds)
        if len(self.seeds) != models.replicas:
            raise ParameterError.of("seeds", self.seeds, f"one for each of the {models.replicas} models")
        if self.objective.needs_retain and retain is None:
            raise ParameterError.of("retain", retain, f"a batch to keep, for {self.objective.name} has retain_weight > 0")
        given = {"forget": forget} | ({"retain": retain} if self.objective.needs_retain else {})
        for name, texts in given.items():
            check_answers(name, texts, models.config.n_positions)
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise ParameterError.of("batch", batch, "an integer of at least 1")
        self.device = next(models.parameters()).device
        self.batch, self.step_count = min(batch, len(forget["input_ids"])), 0
        self.generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        self._order = [torch.empty(0, dtype=torch.long) for _ in self.seeds]
        whole = "hidden" in self.objective.needs  # activations are wanted at other places than the logits of the answers
        self._texts = _texts(given, self.device, whole)
        self._targets = self._prepare(models)
        self.models = copy.deepcopy(models)
        self._parameters = list(self.models.parameters())
        self._good_count = 0  # updates that the weights have seen which `undo` goes back to
        self.optimizer = VectorAdamW(self._parameters, lr, weight_decay)

    @torch.no_grad()
    def _prepare(self, models: StackedGPT2) -> dict[str, dict[str, Tensor]]:
        """The objective's targets per example, each (S, N, ...)."""
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self._texts}
        if self.objective.prepares:
            texts = self._texts["forget"]
            frozen, parts = self._output(models, texts), []
            for s, generator in enumerate(self.generators):  # one by one: random choices do not depend on other models
                one = Output(*(None if x is None else x[s : s + 1] for x in frozen))
                parts.append(self.objective.prepare(one, texts.labels, generator))
            found["forget"] = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        if self.objective.prepares_retain:
            texts = self._texts["retain"]
            found["retain"] = self.objective.prepare_retain(self._output(models, texts), texts.labels)
        return found

    def _output(self, models: StackedGPT2, texts: _Texts) -> Output:
        if texts.places is None:
            return models.output(texts.ids, layer=self.objective.layer)
        return models.output(texts.ids, places=texts.places.expand(models.replicas, -1, -1))

    def step(self, active: Tensor | None = None) -> Tensor:
        """One update; the loss of each model before it, (S,). Models that are not `active` (S,) stay as they are."""
        rows = torch.stack([self._next(s) for s in range(len(self.seeds))]).to(self.device)
        loss = self._loss(rows)
        counted = loss if active is None else loss[active]
        bad = ~loss.detach().isfinite() if active is None else ~loss.detach().isfinite() & active
        if bad.any():
            self._stop(bad, f"loss {loss[bad][0].item()} in update")
        self.optimizer.backward(counted.sum())
        self.optimizer.step()
        self._good_count = self.step_count
        if active is not None:
            self.optimizer.undo(~active)
        if not self.optimizer.finite() and (bad := ~finite(self._parameters)).any():
            self._stop(bad, "weights that are no finite numbers after update")
        self.step_count += 1
        return loss.detach()

    def run(self, steps: int) -> Iterator[tuple[int, Tensor]]:
        """`steps` updates; after each its number, from 1 on over the life of the unlearner, and the losses (S,)."""
        for _ in range(steps):
            loss = self.step()
            yield self.step_count, loss

    def _loss(self, rows: Tensor) -> Tensor:
        seen = [self._texts["forget"].cut(rows)]
        if "retain" in self._texts:
            count = len(self._texts["retain"].ids)
            drawn = [torch.randint(count, (self.batch,), generator=generator) for generator in self.generators]
            retain = torch.stack(drawn).to(self.device)
            seen.append(self._texts["retain"].cut(retain))
        together = _Texts(*(None if part[0] is None else torch.cat(part, 1) for part in zip(*seen, strict=True)))
        output, retained = self._output(self.models, together), None  # one pass for both kinds of text
        parts = [Output(*(x if x is None else x[:, at : at + self.batch] for x in output)) for at in (0, self.batch)]
        if "retain" in self._texts:
            retained = Retained(parts[1], seen[1].labels, self._cut("retain", retain))
        return self.objective.loss(parts[0], seen[0].labels, self._cut("forget", rows), retained)

    def _cut(self, name: str, rows: Tensor) -> dict[str, Tensor]:
        """Targets (S, B, ...) of the rows (S, B) that each model sees."""
        models = torch.arange(len(rows), device=rows.device)[:, None]
        return {key: value[models, rows] for key, value in self._targets[name].items()}

    def _next(self, s: int) -> Tensor:
        """The forget examples of the next batch of model number s."""
        if len(self._order[s]) < self.batch:
            self._order[s] = torch.randperm(len(self._texts["forget"].ids), generator=self.generators[s])
        rows, self._order[s] = self._order[s][: self.batch], self._order[s][self.batch :]
        return rows

    def _stop(self, bad: Tensor, what: str) -> None:
        """Put the last good weights back and raise; `bad` (S,) are the models that broke."""
        self.optimizer.undo()
        which = ", ".join(str(seed) for seed, is_bad in zip(self.seeds, bad.tolist(), strict=True) if is_bad)
        step, good = self.step_count + 1, self._good_count
        self.step_count = good
        where = f"models are back at the last finite loss, after {good} updates" if good else "models are as given"
        raise Diverged(f"{what} {step} of {self.objective.name}, seed {which}: {where}", step, good)


class _Texts(NamedTuple):
    """Examples (N, L): only the logits at `places` (N, A) are worked out, and `labels` (N, A) is their sequence.

    So the shifted frame of the objectives holds the answer and nothing else. Without `places` it is that of the ids.
    """

    ids: Tensor
    labels: Tensor
    places: Tensor | None

    def cut(self, rows: Tensor) -> _Texts:
        """The rows (S, B) that each model sees."""
        return _Texts(*(None if part is None else part[rows] for part in self))


def _texts(given: Mapping[str, Mapping[str, Tensor]], device: torch.device, whole: bool) -> dict[str, _Texts]:
    """Batches by name as texts of one length, without columns that are padding in all; `whole`: without places.

    With places the last token of the longest text is left out: nothing is predicted from it.
    """
    length = max(int(texts["attention_mask"].sum(-1).max()) for texts in given.values())
    pairs, found = {}, {}
    for name, texts in given.items():
        labels = F.pad(texts["labels"], (0, length - texts["labels"].shape[1]), value=IGNORED)
        pairs[name] = (None, labels) if whole else answer_places(labels)
    most = max(tokens.shape[1] for _, tokens in pairs.values())
    for name, (places, labels) in pairs.items():
        ids = given[name]["input_ids"]
        ids = F.pad(ids, (0, length - ids.shape[1] - (not whole)))
        if places is not None:  # one place more than answer tokens: the frame drops its last
            after = most - places.shape[1]
            places, labels = F.pad(places, (0, after + 1), value=length - 2), F.pad(labels, (1, after), value=IGNORED)
        found[name] = _Texts(*(None if part is None else part.to(device) for part in (ids, labels, places)))
    return found
