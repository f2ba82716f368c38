"""What torchrl and TRL make of the same numbers as ``losses.py``; run as a script, it writes ``reference_losses.json``.

python -m venv /tmp/reference && /tmp/reference/bin/pip install torch torchrl trl
/tmp/reference/bin/python tests/baselines/reference_losses.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

TABLE = Path(__file__).with_suffix(".json")


def inputs() -> dict[str, Tensor]:
    """Numbers of every kind that the losses take, in float64: 12 steps, 3 episodes, 6 actions of 4 tokens, 5 pairs."""
    generator = torch.Generator().manual_seed(20505)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

    terminated = torch.zeros(12, 3, dtype=torch.bool)
    truncated = torch.zeros(12, 3, dtype=torch.bool)
    terminated[4, 0] = truncated[7, 1] = terminated[8, 2] = truncated[11] = True
    log_probabilities = normal(6, 4) - 2
    return {
        "rewards": normal(12, 3),
        "values": normal(12, 3),
        "next_values": normal(12, 3),
        "terminated": terminated,
        "ended": terminated | truncated,
        "log_probabilities": log_probabilities,
        "old_log_probabilities": log_probabilities + normal(6, 4, scale=0.15),
        "advantages": normal(6),
        "critic": normal(6, scale=0.5),
        "old_critic": normal(6, scale=0.5),
        "targets": normal(6, scale=0.5),
        "trajectories": normal(4, 5, 7, scale=2.0) - 3,
    }


def torchrl_advantages(given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Advantages and value targets (T, B) at gamma 0.97 and lambda 0.9."""
    from torchrl.objectives.value.functional import generalized_advantage_estimate

    names = ("values", "next_values", "rewards", "ended", "terminated")
    value, following, reward, done, terminated = (given[name].T[..., None] for name in names)
    advantages, targets = generalized_advantage_estimate(0.97, 0.9, value, following, reward, done, terminated)
    return advantages[..., 0].T, targets[..., 0].T


def torchrl_clipped(given: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Policy loss of whole actions, its clip fraction, and the clipped value loss, at clip 0.2."""
    from tensordict import TensorDict
    from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
    from torchrl.objectives import ClipPPOLoss

    class Given(torch.distributions.Distribution):
        """Says of any action what it was told."""

        def __init__(self, told: Tensor) -> None:
            super().__init__(batch_shape=told.shape, validate_args=False)
            self.told = told

        def log_prob(self, _value: Tensor) -> Tensor:
            return self.told

    passed = TensorDictModule(torch.nn.Identity(), in_keys=["now"], out_keys=["told"])
    sampled = ProbabilisticTensorDictModule(in_keys=["told"], out_keys=["action"], distribution_class=Given)
    critic = TensorDictModule(torch.nn.Identity(), in_keys=["critic_now"], out_keys=["state_value"])
    loss = ClipPPOLoss(
        ProbabilisticTensorDictSequential(passed, sampled),
        critic,
        clip_epsilon=0.2,
        clip_value=0.2,
        loss_critic_type="l2",
        critic_coeff=1.0,
        entropy_bonus=False,
    )
    batch = TensorDict(
        {
            "now": given["log_probabilities"].sum(1),
            "action_log_prob": given["old_log_probabilities"].sum(1),
            "action": torch.zeros(6, dtype=torch.float64),
            "advantage": given["advantages"][:, None],
            "critic_now": given["critic"][:, None],
            "state_value": given["old_critic"][:, None],
            "value_target": given["targets"][:, None],
        },
        batch_size=[6],
    )
    result = loss(batch)
    return result["loss_objective"], result["clip_fraction"], result["loss_critic"]


class Trainer(SimpleNamespace):
    """Just enough of a TRL trainer to compute a loss: whatever option is not given is off."""

    def __getattr__(self, name: str) -> None:
        return None


def _trainer(**options: Any) -> Trainer:
    def same(value: Tensor, **_: Any) -> Tensor:
        return value

    return Trainer(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device="cpu", num_processes=1, gather=same, gather_for_metrics=same, reduce=same),
        _total_train_tokens=0,
        _tp_size=1,
        _metrics={"train": defaultdict(list)},
        **options,
    )


def trl_token_loss(given: dict[str, Tensor]) -> Tensor:
    """Policy loss of single tokens, clipped to 0.8 .. 1.28: TRL's GRPO with ``loss_type="bnpo"``."""
    from trl import GRPOTrainer

    tokens = given["log_probabilities"]
    trainer = _trainer(
        _get_per_token_logps_and_entropies=lambda *_, **__: (tokens, torch.zeros_like(tokens), None),
        args=Trainer(),
        top_entropy_quantile=1.0,
        importance_sampling_level="token",
        beta=0.0,
        loss_type="bnpo",
        epsilon_low=0.2,
        epsilon_high=0.28,
        current_gradient_accumulation_steps=1,
    )
    ids = torch.zeros(tokens.shape, dtype=torch.long)
    batch = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": torch.ones_like(ids[:, :1]),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "advantages": given["advantages"],
        "old_per_token_logps": given["old_log_probabilities"],
    }
    return GRPOTrainer._compute_loss(trainer, None, batch)


def trl_preference(given: dict[str, Tensor]) -> Tensor:
    """DPO's loss of five pairs at beta 0.1; the log-probability of an episode is the sum over its tokens."""
    from trl import DPOTrainer

    policy, reference = given["trajectories"][:2].flatten(0, 1), given["trajectories"][2:].flatten(0, 1)
    unread = torch.zeros_like(policy)  # for TRL's metrics
    output = Trainer(log_probs=policy, entropy=unread, mean_logits=unread, is_top1=unread.bool())
    trainer = _trainer(
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=0.1,
    )
    ids = torch.zeros(len(policy), policy.shape[1] + 1, dtype=torch.long)
    chosen, rejected = reference.sum(1).chunk(2)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": torch.ones_like(ids),
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    return DPOTrainer._compute_loss(trainer, lambda **_: output, batch, return_outputs=False)


def main() -> None:
    from importlib.metadata import version

    given = inputs()
    advantages, targets = torchrl_advantages(given)
    policy, clip_fraction, value = torchrl_clipped(given)
    table = {
        "origin": {name: version(name) for name in ("torch", "torchrl", "trl")},
        "inputs": {name: tensor.tolist() for name, tensor in given.items()},
        "torchrl": {
            "advantages": advantages.tolist(),
            "targets": targets.tolist(),
            "policy_loss": float(policy),
            "clip_fraction": float(clip_fraction),
            "value_loss": float(value),
        },
        "trl": {"token_loss": float(trl_token_loss(given)), "preference_loss": float(trl_preference(given))},
    }
    TABLE.write_text(json.dumps(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
