"""What the trainers minimize, and the numbers that say how learning goes: pure torch, no model and no simulator.

T is the number of control steps of an episode, B that of episodes, N that of steps in a minibatch, A that of action
tokens a step, P that of pairs. Quantities are never left to broadcast against each other: shapes that differ raise.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Level = Literal["action", "token"]


class Advantages(NamedTuple):
    """Advantages and value targets, (T, B) each."""

    advantages: Tensor
    returns: Tensor


class PolicyLoss(NamedTuple):
    """The loss () and, detached, how far the policy has moved since the roll-out ().

    Attributes:
        loss: to be minimized.
        divergence: estimate of KL(old || new) of whole actions, never negative.
        clip_fraction: share of the ratios that lie outside the clip range.
    """

    loss: Tensor
    divergence: Tensor
    clip_fraction: Tensor


class GroupAdvantages(NamedTuple):
    """Advantages (B,), and whether an episode's group tells better from worse, (B,) bool."""

    advantages: Tensor
    informative: Tensor


class PreferenceLoss(NamedTuple):
    """The loss (), and detached the margins (P,) and the share of pairs () that the policy ranks as it should."""

    loss: Tensor
    margins: Tensor
    accuracy: Tensor


def _same_shape(**tensors: Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes must agree: {', '.join(f'{name} {shape}' for name, shape in shapes.items())}")


def masked_mean(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean () over the entries where ``valid`` (same shape, bool) holds; over all if it is None, 0 if it never holds.

    What is masked out may be NaN or infinite and still leaves no trace in the mean or in its gradient.
    """
    if valid is None:
        return values.mean()
    _same_shape(values=values, valid=valid)
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp_min(1)


def normalized(values: Tensor, valid: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    """Brings the valid entries to mean 0 and (sample) standard deviation 1; others become 0. Same shape.

    Fewer than two valid entries have no spread and become 0.
    """
    chosen = values if valid is None else values[valid]
    if chosen.numel() < 2:
        return torch.zeros_like(values)
    scaled = (values - chosen.mean()) / (chosen.std() + epsilon)
    return scaled if valid is None else torch.where(valid, scaled, 0.0)


def successor_values(values: Tensor, final_values: Tensor) -> Tensor:
    """Values (T, B) of the states after each step of B episodes that take T steps each.

    Args:
        values: of the states before each step, (T, B).
        final_values: of the states after the last step, (B,).
    """
    _same_shape(values=values[0], final_values=final_values)
    return torch.cat([values[1:], final_values[None]])


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    *,
    discount: float,
    trace_decay: float,
) -> Advantages:
    """Generalized advantage estimation (arXiv 1506.02438, equation 16), (T, B) each.

    An episode that terminates is worth nothing afterwards; one that is cut off by a time limit goes on unseen, and is
    worth what the critic says of the state it was cut off in.

    Args:
        rewards: (T, B).
        values: of the states before each step, (T, B).
        next_values: of the states after each step, which after the end of an episode is not the first of the next one,
            (T, B).
        terminated: the step ended its episode for good, (T, B) bool.
        ended: the step was the last of its episode for whatever reason, (T, B) bool; no credit passes it.
        discount: gamma.
        trace_decay: lambda.
    """
    _same_shape(rewards=rewards, values=values, next_values=next_values, terminated=terminated, ended=ended)
    # Selected rather than multiplied: what lies beyond a terminal state may be NaN.
    errors = rewards + discount * torch.where(terminated, 0.0, next_values) - values
    advantages = torch.empty_like(errors)
    running = torch.zeros_like(errors[0])
    for step in reversed(range(len(errors))):
        running = errors[step] + discount * trace_decay * torch.where(ended[step] | terminated[step], 0.0, running)
        advantages[step] = running
    return Advantages(advantages, advantages + values)


def clipped_policy_loss(
    log_probabilities: Tensor,
    old_log_probabilities: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    level: Level = "action",
    valid: Tensor | None = None,
) -> PolicyLoss:
    """PPO's clipped surrogate (arXiv 1707.06347, equation 7), averaged over steps.

    Args:
        log_probabilities: of the tokens of each action, with gradient, (N, A).
        old_log_probabilities: when they were sampled, (N, A).
        advantages: of the actions, (N,).
        clip_low: the ratio counts down to 1 - clip_low ...
        clip_high: ... and up to 1 + clip_high (clip-higher of arXiv 2503.14476 where it is larger).
        level: ``action`` takes the ratio of whole actions, whose log-probability is the sum over the tokens (what the
            study does); ``token`` takes one of each token, and the action's advantage for all of them.
        valid: which steps count, (N,) bool; None for all.
    """
    old = old_log_probabilities.detach()
    _same_shape(log_probabilities=log_probabilities, old_log_probabilities=old)
    _same_shape(advantages=advantages, steps=log_probabilities[:, 0])
    difference = log_probabilities - old
    of_actions = difference.sum(1)
    if level == "action":
        logarithm, gain = of_actions, advantages
    else:
        logarithm, gain = difference, advantages[:, None].expand_as(difference)
    counted = None if valid is None else valid.reshape(-1, *[1] * (logarithm.ndim - 1)).expand_as(logarithm)
    ratio = logarithm.exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = -masked_mean(torch.minimum(ratio * gain, clipped * gain), counted)
    with torch.no_grad():
        divergence = masked_mean(of_actions.expm1() - of_actions, valid)
        clip_fraction = masked_mean((ratio != clipped).to(ratio), counted)
    return PolicyLoss(loss, divergence, clip_fraction)


def clipped_value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    *,
    clip: float | None = 0.2,
    huber_delta: float = 10.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Huber loss of the critic, pessimistic about moves of more than ``clip`` since the roll-out, ().

    Args:
        values: with gradient, (N,).
        old_values: at roll-out, (N,).
        returns: targets, (N,).
        clip: None for the plain Huber loss.
        huber_delta: errors beyond it count linearly; as returns stay below 2, the study's 10 is half the squared error.
        valid: which steps count, (N,) bool; None for all.
    """
    _same_shape(values=values, old_values=old_values, returns=returns)
    loss = functional.huber_loss(values, returns, reduction="none", delta=huber_delta)
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        loss = torch.maximum(loss, functional.huber_loss(near, returns, reduction="none", delta=huber_delta))
    return masked_mean(loss, valid)


def group_advantages(returns: Tensor, groups: Tensor, *, scale: bool = True, epsilon: float = 1e-5) -> GroupAdvantages:
    """GRPO's advantage of whole episodes: the return against those of the same group (arXiv 2402.03300, section 4.1).

    Args:
        returns: sum of rewards of each episode, (B,).
        groups: which episodes are compared with each other, (B,) integers.
        scale: divide by the group's sample standard deviation; False only subtracts the mean (arXiv 2503.20783).
        epsilon: added to the standard deviation.

    Returns:
        Zeros for the episodes of degenerate groups, in which all have one return or which have one episode only.
    """
    _same_shape(returns=returns, groups=groups)
    advantages, informative = torch.zeros_like(returns), torch.zeros_like(groups, dtype=torch.bool)
    for group in groups.unique():
        members = groups == group
        own = returns[members]
        # Compared exactly: equal returns must not become advantages through a rounded mean.
        if bool((own == own[0]).all()):
            continue
        centred = own - own.mean()
        advantages[members] = centred / (own.std() + epsilon) if scale else centred
        informative[members] = True
    return GroupAdvantages(advantages, informative)


def step_advantages(rewards: Tensor, *, nonzero_only: bool = True, epsilon: float = 1e-5) -> Tensor:
    """The study's GRPO: rewards of single steps are normalized over the whole batch and summed to the end, (T, B).

    Args:
        rewards: (T, B); episodes take T steps each.
        nonzero_only: normalize the rewards that are not 0, and leave the others at 0 (the study's "fix", its default);
            else all.
        epsilon: added to the standard deviation.
    """
    chosen = rewards != 0 if nonzero_only else torch.ones_like(rewards, dtype=torch.bool)
    return normalized(rewards, chosen, epsilon).flip(0).cumsum(0).flip(0)


def preference_loss(
    preferred: Tensor,
    rejected: Tensor,
    reference_preferred: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
) -> PreferenceLoss:
    """Trajectory-wise preference optimization (GRAPE, arXiv 2411.19309, equation 3): DPO's loss of whole episodes.

    Args:
        preferred: log-probability of the better episode's actions, summed over its steps and tokens, (P,).
        rejected: of the worse one's, (P,).
        reference_preferred: the better one's under the reference policy, (P,).
        reference_rejected: the worse one's, (P,).
        beta: how hard the policy is held to the reference.
    """
    _same_shape(
        preferred=preferred,
        rejected=rejected,
        reference_preferred=reference_preferred,
        reference_rejected=reference_rejected,
    )
    margins = beta * ((preferred - reference_preferred) - (rejected - reference_rejected))
    # A tie is half right, so that an untrained policy, which is its own reference, scores 0.5.
    accuracy = ((margins > 0).to(margins) + (margins >= 0).to(margins)).mean() / 2
    return PreferenceLoss(-functional.logsigmoid(margins).mean(), margins.detach(), accuracy.detach())


def preference_weights(margins: Tensor, beta: float) -> Tensor:
    """How strongly each pair pulls, (P,): minus the derivative of its loss by the better episode's log-probability.

    The loss depends on an episode through one sum only. So its gradient is this weight times the gradient of a sum,
    which may be taken a few steps at a time: an episode of 80 pictures need not fit into memory at once.
    """
    return beta * torch.sigmoid(-margins)


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """Share of the returns' variance that the critic explains, (): 1 perfect, 0 no better than a constant, or less.

    NaN if the returns do not vary.
    """
    _same_shape(values=values, returns=returns)
    variance = returns.var(correction=0)
    return torch.where(variance > 0, 1 - (returns - values).var(correction=0) / variance, torch.nan)
