"""Action chunking with transformers (ACT; Zhao et al., arXiv 2304.13705): learned queries, one for each point of the
chunk, attend to the keypoints, the state and a latent that says in which of several styles the operator did it.

In training the latent comes from a CVAE encoder that sees the recorded chunk; when deployed it is the mean of its
prior, zero. Unlike there, the tokens of an image are keypoints and not cells: with a gate, what lies beside the objects
must not come back as a cell.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from autofocus_core.errors import AutofocusError
from autofocus_training.config import Config
from autofocus_training.losses import action_error
from autofocus_training.policies.shapes import HeadShapes
from torch import Tensor, nn

HEADS = 4
LATENT = 16
DROPOUT = 0.1  # the paper's
SPREAD = 0.02  # standard deviation of what is learned from nothing: positions and queries


class Attention(nn.Module):
    """Multi-head attention of x (B, L, W) to memory (B, S, W), projected back to W."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = HEADS
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """-> (B, L, W)."""
        batch, length, width = x.shape[0], x.shape[1], x.shape[2]
        per_head = width // self.heads
        query = self.query(x).view(batch, length, self.heads, per_head).transpose(1, 2)
        both = self.key_value(memory).view(batch, memory.shape[1], 2, self.heads, per_head)
        key, value = both[:, :, 0].transpose(1, 2), both[:, :, 1].transpose(1, 2)
        found = F.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Attend and add; MLP and add; each after a LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x (B, L, W) attends to itself and to memory (B, S, W), S may be 0 -> (B, L, W)."""
        normal = self.norm1(x)
        x = x + self.dropout(self.attention(normal, torch.cat([normal, memory], dim=1)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Blocks(nn.Module):
    """Several blocks and a last LayerNorm."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """As `Block.forward`."""
        for block in self.blocks:
            x = block(x, memory)
        return self.norm(x)


class ActPolicy(nn.Module):
    """Encoder over keypoints, state and latent; decoder from learned queries; CVAE encoder for training."""

    def __init__(self, config: Config, shapes: HeadShapes) -> None:
        super().__init__()
        width = config.model_width
        if width % HEADS:
            raise AutofocusError(
                "model_width", str(width), f"a multiple of {HEADS}, the heads of a transformer",
                f"set model_width to {width - width % HEADS or HEADS}",
            )  # fmt: skip
        self.latent = LATENT
        self.token_in = nn.Linear(shapes.width, width)
        self.state_in = nn.Linear(shapes.states, width)
        self.latent_in = nn.Linear(LATENT, width)
        self.place = _learned(shapes.tokens + 2, width)
        self.encoder = Blocks(width, config.model_layers)
        self.queries = _learned(shapes.horizon, width)
        self.decoder = Blocks(width, config.model_layers)
        self.out = nn.Linear(width, shapes.joints)
        # The CVAE encoder, gone from an exported file.
        self.seen_state = nn.Linear(shapes.states, width)
        self.seen_action = nn.Linear(shapes.joints, width)
        self.seen_place = _learned(shapes.horizon + 2, width)
        self.posterior = Blocks(width, config.model_layers)
        self.posterior_out = nn.Linear(width, 2 * LATENT)

    def forward(self, tokens: Tensor, state: Tensor) -> Tensor:
        """See policies/__init__.py; the latent is zero."""
        return self.decode(tokens, state, torch.zeros(state.shape[0], self.latent, device=state.device))

    def decode(self, tokens: Tensor, state: Tensor, latent: Tensor) -> Tensor:
        """The chunk (B, T, A) for a latent (B, 16)."""
        seen = [self.latent_in(latent)[:, None], self.state_in(state)[:, None], self.token_in(tokens)]
        x = torch.cat(seen, dim=1) + self.place
        memory = self.encoder(x, x[:, :0])
        queries = self.queries.expand(state.shape[0], -1, -1)
        return self.out(self.decoder(queries, memory))

    def errors(self, tokens: Tensor, state: Tensor, actions: Tensor, kind: str) -> dict[str, Tensor]:
        """Imitation with a latent drawn from the posterior, and "kl": KL(posterior, N(0, 1)), in nats."""
        seen = [torch.zeros_like(self.seen_place[:, :1]).expand(len(state), -1, -1), self.seen_state(state)[:, None],
                self.seen_action(actions)]  # fmt: skip
        x = torch.cat(seen, dim=1) + self.seen_place
        mean, log_var = self.posterior_out(self.posterior(x, x[:, :0])[:, 0]).float().chunk(2, dim=-1)
        latent = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).sum(-1).mean()
        return {"imitation": action_error(self.decode(tokens, state, latent), actions, kind), "kl": kl}


def _learned(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(1, count, width) * SPREAD)
