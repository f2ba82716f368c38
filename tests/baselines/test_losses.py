import json
import math

import pytest

torch = pytest.importorskip("torch")

from tests.baselines import reference_losses  # noqa: E402 - needs torch
from vlagen.baselines import losses  # noqa: E402

TABLE = json.loads(reference_losses.TABLE.read_text(encoding="utf-8"))


def tensor(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


# torchrl keeps gamma, lambda and its clip ranges in float32.
FLOAT32 = 1e-6


def close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=tolerance, atol=tolerance, equal_nan=True
    )


@pytest.fixture
def given():
    """The inputs of the committed table."""
    flags = ("terminated", "ended")
    return {
        name: torch.tensor(values, dtype=torch.bool if name in flags else torch.float64)
        for name, values in TABLE["inputs"].items()
    }


def advantages_of(given, **changes):
    arguments = {name: given[name] for name in ("rewards", "values", "next_values", "terminated", "ended")} | changes
    return losses.generalized_advantages(**arguments, discount=0.97, trace_decay=0.9)


# --- advantages


def one_episode(rewards, values, next_values, terminated, discount=0.5, trace_decay=0.5):
    def column(numbers, dtype=torch.float64):
        return torch.tensor(numbers, dtype=dtype)[:, None]

    ended = [0] * (len(rewards) - 1) + [1]
    result = losses.generalized_advantages(
        column(rewards),
        column(values),
        column(next_values),
        column([0] * (len(rewards) - 1) + [terminated], torch.bool),
        column(ended, torch.bool),
        discount=discount,
        trace_decay=trace_decay,
    )
    return [part[:, 0].tolist() for part in result]


def test_advantages_of_an_episode_that_terminates_by_hand():
    # errors: 0 + 0.5 * 2 - 1 = 0; 1 + 0 - 2 = -1. Advantages: -1, and 0 + 0.25 * -1.
    advantages, returns = one_episode([0, 1], [1, 2], [2, 100], terminated=1)
    assert (advantages, returns) == ([-0.25, -1.0], [0.75, 1.0])


def test_advantages_of_an_episode_that_is_cut_off_count_what_would_have_come():
    # errors: 0; 1 + 0.5 * 8 - 2 = 3. Advantages: 3, and 0 + 0.25 * 3.
    advantages, returns = one_episode([0, 1], [1, 2], [2, 8], terminated=0)
    assert (advantages, returns) == ([0.75, 3.0], [1.75, 5.0])


def test_with_neither_discount_nor_decay_the_return_is_the_sum_of_what_is_to_come():
    _, returns = one_episode([0, 0.1, -1, 1], [5, 6, 7, 8], [6, 7, 8, 9], terminated=1, discount=1, trace_decay=1)
    assert returns == pytest.approx([0.1, 0.1, 0, 1])


def test_what_the_critic_says_beyond_a_terminal_state_does_not_matter_not_even_nan():
    advantages, _ = one_episode([0, 1], [1, 2], [2, math.nan], terminated=1)
    assert advantages == [-0.25, -1.0]


def test_no_credit_passes_from_one_episode_to_the_one_before(given):
    changed = given["rewards"].clone()
    changed[8:, 1] += 100  # episode 1 is cut off at step 7
    close(advantages_of(given, rewards=changed).advantages[:8, 1], advantages_of(given).advantages[:8, 1])


def test_advantages_agree_with_torchrl(given):
    result = advantages_of(given)
    close(result.advantages, TABLE["torchrl"]["advantages"], FLOAT32)
    close(result.returns, TABLE["torchrl"]["targets"], FLOAT32)


def test_the_values_after_a_step_are_those_before_the_next_one():
    close(
        losses.successor_values(tensor([1, 2], [3, 4]), tensor(5, 6)),
        [[3, 4], [5, 6]],
    )


def test_shapes_that_only_agree_by_broadcasting_are_refused(given):
    with pytest.raises(ValueError, match=r"shapes must agree: .*next_values \(12, 1\)"):
        advantages_of(given, next_values=given["next_values"][:, :1])
    with pytest.raises(ValueError, match=r"advantages \(6, 1\), steps \(6,\)"):
        losses.clipped_policy_loss(given["log_probabilities"], given["log_probabilities"], given["advantages"][:, None])
    with pytest.raises(ValueError, match=r"old_log_probabilities \(6, 1\)"):
        losses.clipped_policy_loss(
            given["log_probabilities"], given["old_log_probabilities"][:, :1], given["advantages"]
        )


# --- normalization


def test_normalized_by_hand():
    # mean 2, sample standard deviation sqrt(2)
    close(losses.normalized(tensor(1, 3), epsilon=0), [-(0.5**0.5), 0.5**0.5])
    masked = losses.normalized(tensor(1, 99, 3), torch.tensor([True, False, True]), epsilon=0)
    close(masked, [-(0.5**0.5), 0, 0.5**0.5])


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0]])
def test_what_has_no_spread_is_normalized_to_nothing(values):
    close(losses.normalized(tensor(*values)), [0.0] * len(values))


def test_a_mean_over_nothing_is_zero_and_what_is_masked_out_has_no_gradient():
    values = tensor(2, math.nan, 4).requires_grad_()
    valid = torch.tensor([True, False, True])
    losses.masked_mean(values, valid).backward()
    close(values.grad, [0.5, 0, 0.5])
    close(losses.masked_mean(values.detach(), valid), 3.0)
    close(losses.masked_mean(values.detach(), torch.zeros(3, dtype=torch.bool)), 0.0)


# --- the policy's loss


def test_the_clipped_loss_of_actions_by_hand():
    # Sums of the tokens' differences give ratios 2, 2, 1/2, 1/2; half a factor each token.
    step = math.log(2) / 2
    now = tensor([step, step], [step, step], [-step, -step], [-step, -step])
    result = losses.clipped_policy_loss(now, torch.zeros(4, 2, dtype=torch.float64), tensor(1, -1, 1, -1))
    # gains: min(2, 1.2) = 1.2; min(-2, -1.2) = -2; min(0.5, 0.8) = 0.5; min(-0.5, -0.8) = -0.8
    close(result.loss, -(1.2 - 2 + 0.5 - 0.8) / 4)
    close(result.clip_fraction, 1.0)
    # r - 1 - log r: 1 - log 2 twice, -1/2 + log 2 twice
    close(result.divergence, 0.25)


def test_the_clipped_loss_of_tokens_by_hand():
    now = tensor([math.log(2), 0.0])
    result = losses.clipped_policy_loss(now, torch.zeros(1, 2, dtype=torch.float64), tensor(3), level="token")
    close(result.loss, -(1.2 * 3 + 3) / 2)
    close(result.clip_fraction, 0.5)


def test_clipping_up_and_down_are_apart():
    now = tensor([math.log(1.25)], [math.log(0.75)])
    old = torch.zeros(2, 1, dtype=torch.float64)

    def loss(gain, **clip):
        return float(losses.clipped_policy_loss(now, old, tensor(gain, gain), **clip).loss)

    assert loss(1, clip_high=0.28) == pytest.approx(-(1.25 + 0.75) / 2)
    assert loss(1, clip_high=0.2) == pytest.approx(-(1.2 + 0.75) / 2)
    assert loss(-1, clip_low=0.1) == pytest.approx((1.25 + 0.9) / 2)


def test_before_the_first_update_the_loss_is_the_mean_advantage_and_nothing_has_moved(given):
    now = given["log_probabilities"]
    for level in ("action", "token"):
        result = losses.clipped_policy_loss(now, now.clone(), given["advantages"], level=level)
        close(result.loss, -given["advantages"].mean())
        assert float(result.divergence) == float(result.clip_fraction) == 0.0


def test_before_the_first_update_the_gradient_is_that_of_the_policy_gradient(given):
    now = given["log_probabilities"].requires_grad_()
    losses.clipped_policy_loss(now, now.detach(), given["advantages"]).loss.backward()
    close(now.grad, (-given["advantages"] / 6)[:, None].expand(6, 4))


def test_an_action_counts_once_however_many_tokens_it_has(given):
    # The study's released code counts it once for each token: its loss is 7 times this one.
    whole = given["log_probabilities"].sum(1, keepdim=True)
    old = given["old_log_probabilities"]
    seven = losses.clipped_policy_loss(given["log_probabilities"], old, given["advantages"])
    one = losses.clipped_policy_loss(whole, old.sum(1, keepdim=True), given["advantages"])
    close(seven.loss, one.loss)


def test_steps_that_do_not_count_leave_no_trace(given):
    valid = torch.tensor([True, True, False, True, False, True])
    now, old, gains = (given[name] for name in ("log_probabilities", "old_log_probabilities", "advantages"))
    spoiled = now.clone()
    spoiled[2] = math.nan
    for level in ("action", "token"):
        kept = losses.clipped_policy_loss(now[valid], old[valid], gains[valid], level=level)
        masked = losses.clipped_policy_loss(spoiled, old, gains, level=level, valid=valid)
        for one, other in zip(kept, masked, strict=True):
            close(one, other)


def test_the_policy_loss_agrees_with_torchrl_and_trl(given):
    now, old, gains = (given[name] for name in ("log_probabilities", "old_log_probabilities", "advantages"))
    of_actions = losses.clipped_policy_loss(now, old, gains)
    close(of_actions.loss, TABLE["torchrl"]["policy_loss"], FLOAT32)
    close(of_actions.clip_fraction, TABLE["torchrl"]["clip_fraction"], FLOAT32)
    of_tokens = losses.clipped_policy_loss(now, old, gains, clip_high=0.28, level="token")
    close(of_tokens.loss, TABLE["trl"]["token_loss"])


# --- the critic's loss


def test_the_value_loss_by_hand():
    # Errors 3 and 1; clipped values are 0.2 and 1, whose errors are 2.8 and 0 (value equal to the old one).
    close(losses.clipped_value_loss(tensor(0, 1), tensor(0, 1), tensor(3, 2), huber_delta=10), (4.5 + 0.5) / 2)
    # The value moved from 0 to 1; clipped it is at 0.2, and 1.8 from the target: the worse counts.
    close(losses.clipped_value_loss(tensor(1), tensor(0), tensor(2)), 1.8**2 / 2)
    close(losses.clipped_value_loss(tensor(1), tensor(0), tensor(2), clip=None), 0.5)
    # Beyond delta the loss is linear: delta * (error - delta / 2).
    close(losses.clipped_value_loss(tensor(0), tensor(0), tensor(3), huber_delta=1), 2.5)


def test_the_value_loss_agrees_with_torchrl(given):
    loss = losses.clipped_value_loss(given["critic"], given["old_critic"], given["targets"])
    # torchrl's is the squared error, ours half of it.
    close(2 * loss, TABLE["torchrl"]["value_loss"], FLOAT32)


# --- groups


def test_group_advantages_by_hand():
    returns, groups = tensor(0, 1.2, 1, 1, 0.5), torch.tensor([7, 7, 3, 3, 5])
    result = losses.group_advantages(returns, groups, epsilon=0)
    close(result.advantages, [-(0.5**0.5), 0.5**0.5, 0, 0, 0])
    assert result.informative.tolist() == [True, True, False, False, False]
    close(losses.group_advantages(returns, groups, scale=False).advantages, [-0.6, 0.6, 0, 0, 0])


def test_equal_returns_are_no_signal_even_where_their_mean_rounds():
    returns = torch.full((3,), 0.1, dtype=torch.float32)
    result = losses.group_advantages(returns, torch.zeros(3, dtype=torch.int64), epsilon=0)
    assert result.advantages.tolist() == [0, 0, 0]
    assert not result.informative.any()


def test_group_advantages_ignore_where_the_members_stand():
    returns = tensor(0, 1.1, 0.2, 1.2, 0, 0.1)
    groups = torch.tensor([0, 1, 0, 1, 0, 1])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    straight = losses.group_advantages(returns, groups).advantages
    close(losses.group_advantages(returns[order], groups[order]).advantages, straight[order])
    for group in (0, 1):
        close(straight[groups == group].mean(), 0.0)


def test_the_study_normalizes_steps_by_hand():
    # Two episodes of three steps; rewards that are not zero: 0.1, 1, -1, with mean 1/30 and standard deviation s.
    rewards = tensor([0, 0.1], [1, 0], [-1, 0])
    spread = math.sqrt(((0.1 - 1 / 30) ** 2 + (1 - 1 / 30) ** 2 + (-1 - 1 / 30) ** 2) / 2)
    a, b, c = ((value - 1 / 30) / spread for value in (0.1, 1, -1))
    close(losses.step_advantages(rewards, epsilon=0), [[b + c, a], [b + c, 0], [c, 0]])


def test_the_study_can_normalize_all_steps():
    rewards = tensor([0, 0], [0, 2])
    # mean 1/2, sample standard deviation 1
    close(losses.step_advantages(rewards, nonzero_only=False, epsilon=0), [[-1, 1], [-0.5, 1.5]])


def test_without_any_reward_there_is_no_signal():
    close(losses.step_advantages(torch.zeros(3, 2)), [[0, 0]] * 3)


# --- preferences


def test_the_preference_loss_by_hand():
    # Margins beta * ((chosen - reference) - (rejected - reference)): 0.5 * (2 + 4) = 3 and 0.5 * (0 - 2) = -1.
    result = losses.preference_loss(tensor(-8, -5), tensor(-9, -3), tensor(-10, -5), tensor(-5, -5), beta=0.5)
    close(result.margins, [3, -1])
    close(result.loss, (math.log(1 + math.exp(-3)) + math.log(1 + math.exp(1))) / 2)
    close(result.accuracy, 0.5)


def test_a_policy_that_is_its_own_reference_has_log_two_and_ranks_half():
    chosen, rejected = tensor(-3, -9), tensor(-5, -1)
    result = losses.preference_loss(chosen, rejected, chosen, rejected, beta=0.1)
    close(result.loss, math.log(2))
    close(result.accuracy, 0.5)


def test_preferences_of_thousands_of_nats_stay_finite():
    result = losses.preference_loss(tensor(-9000), tensor(0), tensor(0), tensor(-9000), beta=1)
    close(result.loss, 18000.0)


def test_the_preference_loss_agrees_with_trl(given):
    chosen, rejected, *reference = given["trajectories"].sum(2)
    close(losses.preference_loss(chosen, rejected, *reference, beta=0.1).loss, TABLE["trl"]["preference_loss"])


def test_a_weighted_sum_has_the_gradient_of_the_preference_loss(given):
    chosen, rejected, *reference = given["trajectories"].sum(2)
    chosen.requires_grad_()
    rejected.requires_grad_()
    result = losses.preference_loss(chosen, rejected, *reference, beta=0.1)
    result.loss.backward()
    weights = losses.preference_weights(result.margins, 0.1)
    close(chosen.grad, -weights / 5)
    close(rejected.grad, weights / 5)


# --- gradients, and what is logged


def checked_functions():
    def policy(level):
        return lambda now, old, gains, **_: losses.clipped_policy_loss(now, old, gains, level=level).loss

    names = ("log_probabilities", "old_log_probabilities", "advantages")
    yield "action", policy("action"), names
    yield "token", policy("token"), names
    yield "value", losses.clipped_value_loss, ("critic", "old_critic", "targets")
    yield "huber", lambda *v: losses.clipped_value_loss(*v, huber_delta=0.1), ("critic", "old_critic", "targets")


@pytest.mark.parametrize(("function", "names"), [pytest.param(f, n, id=name) for name, f, n in checked_functions()])
def test_gradients_are_those_of_finite_differences(given, function, names):
    now, *fixed = (given[name] for name in names)
    assert torch.autograd.gradcheck(lambda moving: function(moving, *fixed), now.requires_grad_())


def test_the_gradient_of_preferences_is_that_of_finite_differences(given):
    chosen, rejected, *reference = given["trajectories"].sum(2)
    assert torch.autograd.gradcheck(
        lambda a, b: losses.preference_loss(a, b, *reference, beta=0.1).loss,
        (chosen.requires_grad_(), rejected.requires_grad_()),
    )


def test_nothing_flows_into_what_was_sampled(given):
    old = given["old_log_probabilities"].requires_grad_()
    now = given["log_probabilities"].requires_grad_()
    losses.clipped_policy_loss(now, old, given["advantages"]).loss.backward()
    assert old.grad is None


def test_explained_variance_by_hand():
    returns = tensor(0, 2, 4)
    close(losses.explained_variance(returns, returns), 1.0)
    close(losses.explained_variance(returns - 7, returns), 1.0)
    close(losses.explained_variance(torch.zeros_like(returns), returns), 0.0)
    close(losses.explained_variance(-returns, returns), -3.0)
    assert math.isnan(losses.explained_variance(returns, torch.ones_like(returns)))


# --- the libraries themselves, where they are installed


def test_the_table_is_what_torchrl_computes():
    pytest.importorskip("torchrl")
    given = reference_losses.inputs()
    advantages, targets = reference_losses.torchrl_advantages(given)
    close(advantages, TABLE["torchrl"]["advantages"], FLOAT32)
    close(targets, TABLE["torchrl"]["targets"], FLOAT32)
    policy, clip_fraction, value = reference_losses.torchrl_clipped(given)
    close(policy, TABLE["torchrl"]["policy_loss"], FLOAT32)
    close(clip_fraction, TABLE["torchrl"]["clip_fraction"], FLOAT32)
    close(value, TABLE["torchrl"]["value_loss"], FLOAT32)


def test_the_table_is_what_trl_computes():
    pytest.importorskip("trl")
    given = reference_losses.inputs()
    close(reference_losses.trl_token_loss(given), TABLE["trl"]["token_loss"])
    close(reference_losses.trl_preference(given), TABLE["trl"]["preference_loss"])
