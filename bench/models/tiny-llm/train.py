"""Makes model-repository/tiny_llm/1/model.gguf: a Llama-architecture model of 3.2 million parameters that continues text in the manner of the King James Bible.

The text is in the public domain; Debian's package bible-kjv has it. Needs that package and, from PyPI, torch, tokenizers, numpy and gguf:

    apt-get install bible-kjv && pip install torch tokenizers numpy gguf
    python bench/models/tiny-llm/train.py --minutes 90 --out model-repository/tiny_llm/1/model.gguf

An hour and a half on one core gives verses that read like verses. A run that is stopped goes on from its checkpoint (--checkpoint).
Half of what it sees is chapters; the other half is conversations made from them, where the user begins a passage and the assistant goes on.
"""

import argparse
import math
import os
import random
import re
import subprocess
import time

import gguf
import numpy
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional

VOCABULARY = 1024
DIM, LAYERS, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 256, 4, 8, 4, 704, 512
EPSILON, ROPE_BASE = 1e-5, 10000.0
BOS, EOS, SYSTEM, USER, ASSISTANT = SPECIALS = ["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
# The last user message is what is gone on with; a model of this size remembers no conversation, but is shown it.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def chapters() -> list[list[str]]:
    """Verses, by chapter."""
    lines = subprocess.run(["bible", "-f", "Gen1:1-Rev22:21"], check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        match = re.match(r"(\d?[A-Za-z]+\d+):\d+ (.*)", line)
        if match:
            found.setdefault(match[1], []).append(match[2].strip())
    return list(found.values())


def train_tokenizer(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(DIM))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, (DIM,), self.weight, EPSILON)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        head = DIM // HEADS
        self.attn_norm, self.ffn_norm = Norm(), Norm()
        self.attn_q = nn.Linear(DIM, DIM, bias=False)
        self.attn_k = nn.Linear(DIM, head * KV_HEADS, bias=False)
        self.attn_v = nn.Linear(DIM, head * KV_HEADS, bias=False)
        self.attn_output = nn.Linear(DIM, DIM, bias=False)
        self.ffn_gate = nn.Linear(DIM, FEED_FORWARD, bias=False)
        self.ffn_up = nn.Linear(DIM, FEED_FORWARD, bias=False)
        self.ffn_down = nn.Linear(FEED_FORWARD, DIM, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        normed = self.attn_norm(x)
        q, k, v = (
            layer(normed).view(batch, length, heads, DIM // HEADS).transpose(1, 2)
            for layer, heads in ((self.attn_q, HEADS), (self.attn_k, KV_HEADS), (self.attn_v, KV_HEADS))
        )
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, dim=1) for t in (rotate(k, cos, sin), v))
        attended = functional.scaled_dot_product_attention(rotate(q, cos, sin), k, v, is_causal=True)
        x = x + self.attn_output(attended.transpose(1, 2).reshape(batch, length, DIM))
        normed = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions over neighbouring pairs, as llama.cpp has them for this architecture."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_embd = nn.Embedding(VOCABULARY, DIM)
        self.blk = nn.ModuleList(Block() for _ in range(LAYERS))
        self.output_norm = Norm()
        head = DIM // HEADS
        angles = torch.outer(torch.arange(CONTEXT).float(), ROPE_BASE ** (-torch.arange(0, head, 2).float() / head))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
        for block in self.blk:
            for layer in (block.attn_output, block.ffn_down):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * LAYERS))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token_embd(tokens)
        length = tokens.shape[1]
        for block in self.blk:
            x = block(x, self.cos[:length], self.sin[:length])
        # The embedding is the output layer too.
        return functional.linear(self.output_norm(x), self.token_embd.weight)


class Samples:
    """Stretches of CONTEXT + 1 tokens: of chapters, and of conversations made from them."""

    def __init__(self, tokenizer: Tokenizer, verses: list[list[str]], seed: int) -> None:
        self.random = random.Random(seed)
        self.encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self.id = {name: tokenizer.token_to_id(name) for name in SPECIALS}
        self.verses = verses
        self.plain = [token for chapter in verses for token in [self.id[BOS], *self.encode(" ".join(chapter)), self.id[EOS]]]

    def conversation(self) -> list[int]:
        chapter = self.random.choice(self.verses)
        at = self.random.randrange(len(chapter))
        words = chapter[at].split()
        cut = self.random.randint(1, max(1, min(len(words) - 1, 14)))
        asked, told = " ".join(words[:cut]), " ".join([" ".join(words[cut:]), *chapter[at + 1 : at + self.random.randint(1, 5)]]).strip()
        system = [self.id[SYSTEM], *self.encode("Go on with the text."), self.id[EOS]] if self.random.random() < 0.2 else []
        turn = [self.id[USER], *self.encode(asked), self.id[EOS], self.id[ASSISTANT], *self.encode(told), self.id[EOS]]
        return [self.id[BOS], *system, *turn]

    def stretch(self) -> list[int]:
        if self.random.random() < 0.5:
            at = self.random.randrange(len(self.plain) - CONTEXT - 1)
            return self.plain[at : at + CONTEXT + 1]
        tokens: list[int] = []
        while len(tokens) <= CONTEXT:
            tokens += self.conversation()
        return tokens[: CONTEXT + 1]

    def batch(self, size: int) -> torch.Tensor:
        return torch.tensor([self.stretch() for _ in range(size)])


def write_gguf(model: Model, tokenizer: Tokenizer, path: str) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny LLM")
    writer.add_description("3.2 million parameters, trained on the King James Bible by bench/models/tiny-llm/train.py")
    writer.add_license("CC0-1.0")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(DIM)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(DIM // HEADS)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    writer.add_token_list([text for text, _ in vocabulary])
    writer.add_token_types([gguf.TokenType.CONTROL if text in SPECIALS else gguf.TokenType.NORMAL for text, _ in vocabulary])
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.token_to_id(BOS))
    writer.add_eos_token_id(tokenizer.token_to_id(EOS))
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in model.state_dict().items():
        values = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            quantised = gguf.quants.quantize(values.astype(numpy.float32), gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--checkpoint", default="tiny-llm.checkpoint")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(7)

    verses = chapters()
    tokenizer = train_tokenizer([" ".join(chapter) for chapter in verses])
    held_out, seen = verses[::50], [chapter for at, chapter in enumerate(verses) if at % 50]
    samples, checks = Samples(tokenizer, seen, seed=1), Samples(tokenizer, held_out, seed=2)
    check = checks.batch(16)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.95), weight_decay=0.05)
    spent, step = 0.0, 0
    if os.path.exists(options.checkpoint):
        saved = torch.load(options.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        spent, step = saved["spent"], saved["step"]
        samples.random.seed(step)
    budget = options.minutes * 60
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(samples.plain):,} tokens of text")
    last = time.monotonic()
    while spent < budget:
        # By time, not by steps: a slow machine ends its schedule as well.
        warm, fraction = min(1.0, (step + 1) / 100), spent / budget
        for group in optimizer.param_groups:
            group["lr"] = options.rate * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * fraction)))
        tokens = samples.batch(options.batch)
        loss = functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        now = time.monotonic()
        spent, last = spent + now - last, now
        if step % 100 == 0:
            with torch.no_grad():
                unseen = functional.cross_entropy(model(check[:, :-1]).flatten(0, 1), check[:, 1:].flatten())
            print(f"step {step}, {spent / 60:.1f} min, loss {loss.item():.3f}, on text it has not seen {unseen.item():.3f}", flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "spent": spent, "step": step}
            torch.save(state, options.checkpoint + ".new")
            os.replace(options.checkpoint + ".new", options.checkpoint)
            write_gguf(model, tokenizer, options.out)
    write_gguf(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
