"""A network: what is deployed (`forward`) and what is trained (`losses`), put together from a method's parts."""

from __future__ import annotations

from autofocus_training.batch import Batch
from autofocus_training.config import Config
from autofocus_training.losses import scheduled
from autofocus_training.methods.objectives import Look
from torch import Tensor, nn

#: Factors of terms that are a part of a policy or a method and no knob: "kl" as in ACT's paper; the others train parts
#: that get no gradient from anything else.
TERM_WEIGHTS = {"kl": 10.0, "predictor": 1.0, "vqvae": 1.0}


class Actor(nn.Module):
    """Vision (images to features), pooling (features to keypoints) and head (keypoints and state to actions)."""

    def __init__(self, vision: nn.Module, pooling: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.vision = vision
        self.pooling = pooling
        self.head = head

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See Network.forward."""
        z = self.vision(images.flatten(0, 1))
        tokens, log_attention = self.pooling(z)
        batch = images.shape[0]
        actions = self.head(tokens.reshape(batch, -1, tokens.shape[2]), state)
        return actions, log_attention.reshape(batch, -1, z.shape[2], z.shape[3])


class Network(nn.Module):
    """An actor and what it is trained for."""

    def __init__(self, actor: Actor, objective: nn.Module | None, config: Config) -> None:
        super().__init__()
        self.actor = actor
        self.objective = objective
        self.action_loss = config.action_loss
        self.weight = config.saliency_weight
        self.schedule = config.saliency_schedule

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, N, 3, h, w) float32 in [0, 1], state (B, P * A) z-scores -> actions (B, T, A) z-scores, log
        attention (B, M, h', w'): M maps, each one's exp sums to 1, one for each camera or for each camera and object.

        In eval mode the same input gives the same output, and a sample's does not depend on the rest of its batch.
        """
        return self.actor(images, state)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars: "imitation", the policy's and the method's own terms before their weights, and "total", which is to
        be minimised. Random draws come from torch's default generator, which the loop seeds for every step."""
        count = len(batch.state)
        seen = self.actor.vision.see(batch)
        tokens, log_attention = self.actor.pooling(seen.z)
        tokens = tokens.reshape(seen.copies * count, -1, tokens.shape[2])
        state, actions = batch.state.repeat(seen.copies, 1), batch.actions.repeat(seen.copies, 1, 1)
        terms = self.actor.head.errors(tokens, state, actions, self.action_loss) | seen.terms
        weights = TERM_WEIGHTS
        if self.objective is not None:
            look = Look(seen.z, tokens, log_attention.reshape(count, -1, *seen.z.shape[2:]))
            terms["saliency"] = self.objective.loss(look, batch, self.actor.vision)
            weights = weights | {"saliency": self.weight * scheduled(self.schedule, batch.progress)}
        return terms | {"total": sum(weights.get(name, 1.0) * term for name, term in terms.items())}
