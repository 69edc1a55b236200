"""Trains the table of embeddings: one vector a token, so that a request's sum of vectors points where the tool's does.

    python train.py --sets FOLDER --out ../crates/discovery/src/embed/table.bin [--leave-out SET,SET]

The table begins as the teacher's own vectors of single tokens (as Model2Vec makes them), reduced to 256 dimensions, and is
then trained by two losses at once: requests are drawn to their tools among other tools of the same source (InfoNCE, van den
Oord et al. 2018), and similarities follow those of the teacher (Kullback-Leibler divergence of the softmax of both).
"""

import argparse
import hashlib
import json
import pathlib

import numpy as np
import scipy.sparse as sparse

import corpus
import teacher

DIMENSIONS = 256
SEED = 7
# How sharp a choice is: of the student, of the teacher.
TEMPERATURE = 0.05
TEACHER_TEMPERATURE = 0.03


class Source:
    """Requests, tools, and which tool each request means."""

    def __init__(self, name, pairs, share, trust):
        """`share`: how often it is drawn; `trust`: how much its own answers count beside what the teacher says."""
        self.name, self.share, self.trust = name, share, trust
        self.requests, rows = distinct(said for said, _ in pairs)
        self.tools, columns = distinct(tool for _, tool in pairs)
        self.means = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(self.requests), len(self.tools)))
        self.means.data[:] = 1

    def draw(self, rng, most=256, tools=768):
        """Some requests of tools as different as can be, and tools to choose from; the wanted ones among them."""
        order = rng.permutation(len(self.tools))[:most]
        by_tool = self.by_tool
        requests = np.unique([by_tool.indices[rng.integers(by_tool.indptr[t], by_tool.indptr[t + 1])] for t in order])
        others = rng.permutation(len(self.tools))[:tools]
        wanted = self.means[requests]
        return requests, np.unique(np.concatenate([others, wanted.indices])), wanted

    def prepare(self, encode, vectors):
        self.by_tool = self.means.T.tocsr()
        self.request_tokens, self.tool_tokens = encode(self.requests), encode(self.tools)
        self.request_taught, self.tool_taught = vectors(self.requests), vectors(self.tools)


def distinct(texts):
    numbers, found = {}, []
    for text in texts:
        found.append(numbers.setdefault(text, len(numbers)))
    return list(numbers), found


def vocabulary(tokenizer):
    """The tokens that are kept, those of ASCII letters and digits, and for each of the teacher's its number here or -1."""
    everything = tokenizer.get_vocab()
    kept = sorted((number, token) for token, number in everything.items()
                  if token.isascii() and token.removeprefix("##").isalnum())
    numbers = np.full(max(everything.values()) + 1, -1)
    for here, (there, _) in enumerate(kept):
        numbers[there] = here
    return [token for _, token in kept], [there for there, _ in kept], numbers


def encoder(tokenizer, numbers, count):
    tokenizer.no_truncation()

    def encode(texts):
        """A row a text, identifiers taken apart: the square root of how often each token is in it."""
        pointers, indices, data = [0], [], []
        for encoded in tokenizer.encode_batch([corpus.words(text) for text in texts], add_special_tokens=False):
            ids = numbers[encoded.ids] if encoded.ids else np.zeros(0, int)
            found, times = np.unique(ids[ids >= 0], return_counts=True)
            indices.extend(found)
            data.extend(np.sqrt(times))
            pointers.append(len(indices))
        return sparse.csr_matrix((np.array(data, np.float32), np.array(indices, np.int32), np.array(pointers)), (len(texts), count))

    return encode


def unit(rows):
    lengths = np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6
    return rows / lengths, lengths


def softmax(rows):
    rows = np.exp(rows - rows.max(1, keepdims=True))
    return rows / rows.sum(1, keepdims=True)


class Student:
    """The table, and Adam over the rows that a step touches."""

    def __init__(self, table, rate):
        self.table, self.rate, self.steps = table, rate, 0
        self.mean, self.square = np.zeros_like(table), np.zeros_like(table)

    def step(self, source, rng, scale):
        requests, tools, wanted = source.draw(rng)
        asked, told = source.request_tokens[requests], source.tool_tokens[tools]
        (a, a_lengths), (t, t_lengths) = unit(asked @ self.table), unit(told @ self.table)
        likeness = a @ t.T / TEMPERATURE
        given = wanted[:, tools].toarray()
        right = given / given.sum(1, keepdims=True)
        taught = source.request_taught[requests] @ source.tool_taught[tools].T
        target = source.trust * right + (1 - source.trust) * softmax(taught / TEACHER_TEMPERATURE)
        # What the teacher finds as fitting as the wanted one may be as right: it isn't pushed away.
        level = (taught * given).sum(1, keepdims=True) / given.sum(1, keepdims=True)
        likeness[(taught > np.maximum(level, 0.6)) & (given == 0)] -= 8.0
        found = softmax(likeness)
        loss = -(target * np.log(found + 1e-9)).sum() / len(requests)
        slope = (found - target) / len(requests) / TEMPERATURE
        for tokens, gradient, rows, lengths in ((asked, slope @ t, a, a_lengths), (told, slope.T @ a, t, t_lengths)):
            gradient = (gradient - (gradient * rows).sum(1, keepdims=True) * rows) / lengths
            self.apply(tokens, gradient.astype(np.float32), scale)
        return loss

    def apply(self, tokens, gradient, scale):
        self.steps += 1
        touched = np.unique(tokens.indices)
        slope = tokens[:, touched].T @ gradient
        self.mean[touched] = 0.9 * self.mean[touched] + 0.1 * slope
        self.square[touched] = 0.99 * self.square[touched] + 0.01 * slope**2
        self.table[touched] -= scale * self.rate * self.mean[touched] / (np.sqrt(self.square[touched]) + 1e-7)


def begin(tokens, numbers_there, seen, projection, learned):
    """The teacher's vectors of single tokens, those of frequent tokens shorter (Arora et al. 2017)."""
    vectors = learned.single(numbers_there) @ projection
    often = (seen + 1) / (seen.sum() + len(tokens))
    return (vectors * (1e-3 / (1e-3 + often))[:, None]).astype(np.float32)


def sources(folder, left_out, rng):
    found = []
    some = lambda pairs, most: [pairs[i] for i in sorted(rng.permutation(len(pairs))[:most])]
    found.append(Source("wordnet", some(corpus.wordnet(), 40_000), 2.0, 0.4))
    found.append(Source("botocore", some(corpus.botocore(), 9_000), 1.0, 0.5))
    found.append(Source("google", some(corpus.google(), 6_000), 1.0, 0.5))
    for name, (pairs, described) in corpus.sets(folder, left_out).items():
        found.append(Source(name, pairs, 1.0 + min(len(pairs) / 4000, 1.0), 0.8))
        if len(described) > 80 and pairs[0][1] != described[0][1]:
            found.append(Source(f"{name}, described", described, min(len(described) / 1500, 1.0), 0.5))
    return found


def quantised(table):
    """Four bits a number: -7 to 7, by the largest of its row."""
    scales = np.abs(table).max(1) / 7 + 1e-9
    return np.clip(np.round(table / scales[:, None]), -7, 7).astype(np.int8), scales.astype(np.float16)


def write(file, tokens, table):
    """Magic, how many tokens and dimensions; tokens of a line each; scales as float16; rows of nibbles, 8 above the number, low first."""
    rows, scales = quantised(table)
    nibbles = (rows + 8).astype(np.uint8)
    text = "\n".join(tokens).encode()
    head = b"TLE1" + np.array([len(tokens), table.shape[1], len(text)], "<u4").tobytes()
    data = head + text + scales.astype("<f2").tobytes() + (nibbles[:, 0::2] | nibbles[:, 1::2] << 4).tobytes()
    pathlib.Path(file).write_bytes(data)
    return hashlib.sha256(data).hexdigest(), len(data)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--sets", required=True)
    options.add_argument("--out", required=True)
    options.add_argument("--leave-out", default="")
    options.add_argument("--kept", default="kept", help="folder for the teacher's vectors")
    options.add_argument("--steps", type=int, default=3000)
    options.add_argument("--rate", type=float, default=0.004)
    given = options.parse_args()
    rng = np.random.default_rng(SEED)
    learned = teacher.Teacher()
    tokens, numbers_there, numbers = vocabulary(learned.tokenizer)
    everything = sources(given.sets, set(filter(None, given.leave_out.split(","))), rng)
    encode = encoder(teacher.tokenizer(), numbers, len(tokens))
    for source in everything:
        source.prepare(encode, lambda texts: teacher.kept(texts, given.kept, learned))
        print(source.name, len(source.requests), len(source.tools), flush=True)
    taught = np.concatenate([each for source in everything for each in (source.request_taught, source.tool_taught)])
    _, axes = np.linalg.eigh(np.cov(taught[rng.permutation(len(taught))[:20_000]].T))
    projection = axes[:, ::-1][:, :DIMENSIONS]
    seen = sum(np.asarray(each.sum(0)).ravel() for source in everything for each in (source.request_tokens, source.tool_tokens))
    student = Student(begin(tokens, numbers_there, seen, projection, learned), given.rate)
    shares = np.array([source.share for source in everything])
    shares /= shares.sum()
    losses = {}
    for step in range(given.steps):
        source = everything[rng.choice(len(everything), p=shares)]
        scale = min(1.0, (step + 1) / 100) * max(0.02, 1 - step / given.steps)
        losses.setdefault(source.name, []).append(student.step(source, rng, scale))
        if step % 500 == 499:
            print(step + 1, {name: round(float(np.mean(each[-30:])), 3) for name, each in losses.items()}, flush=True)
    digest, size = write(given.out, tokens, student.table)
    print(json.dumps({"tokens": len(tokens), "dimensions": DIMENSIONS, "bytes": size, "sha256": digest, "steps": given.steps, "left_out": given.leave_out}))


if __name__ == "__main__":
    main()
