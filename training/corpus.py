"""Texts to train the table of embeddings on, read from packages that anyone can fetch.

WordNet (Debian `wordnet-base`) says what words mean; botocore and google-api-python-client say what operations of APIs do.
Sets of tools with requests, in the form of `tools.jsonl`, `queries.jsonl` and `train.jsonl`, are read from a folder given on
the command line.

A pair is (what somebody might say, what a tool says of itself).
"""

import gzip
import html
import json
import pathlib
import re

TAG = re.compile(r"<[^>]+>")
SPACE = re.compile(r"\s+")
TURN = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])|[_\-./:]+")


def plain(text, most=400):
    """A text without markup, of one line, at most so long."""
    return SPACE.sub(" ", html.unescape(TAG.sub(" ", text or ""))).strip()[:most]


def words(name):
    """An identifier taken apart."""
    return SPACE.sub(" ", TURN.sub(" ", name or "")).strip()


def first_sentence(text):
    """Up to the first full stop that ends a sentence."""
    return re.split(r"(?<=[a-z)])\. ", text, maxsplit=1)[0]


def wordnet(folder="/usr/share/wordnet"):
    """Words and what they mean; examples of their use and what they mean."""
    pairs = []
    for kind in ("noun", "verb", "adj", "adv"):
        for line in pathlib.Path(folder, f"data.{kind}").read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):
                continue
            data, _, gloss = line.partition(" | ")
            fields = data.split(" ")
            lemmas = [fields[4 + 2 * i].replace("_", " ") for i in range(int(fields[3], 16))]
            lemmas = [re.sub(r"\([a-z]+\)$", "", lemma) for lemma in lemmas]
            # Names of places, people and species teach little.
            if kind == "noun" and lemmas[0][:1].isupper():
                continue
            parts = [part.strip() for part in gloss.split(";")]
            meaning = "; ".join(part for part in parts if part and not part.startswith('"'))
            uses = [part.strip('" ') for part in parts if part.startswith('"')]
            if meaning:
                pairs.append((", ".join(lemmas[:4]), plain(meaning)))
                pairs.extend((plain(use), ", ".join(lemmas[:3]) + ": " + plain(meaning)) for use in uses[:2])
    return pairs


def botocore():
    """Operations of the services that botocore describes."""
    import botocore

    pairs = []
    for folder in sorted(pathlib.Path(botocore.__file__).parent.joinpath("data").iterdir()):
        found = sorted(folder.glob("*/service-2.json*"))
        if not found:
            continue
        file = found[-1]
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        service = json.loads(raw)
        title = service["metadata"].get("serviceId") or folder.name
        for name, operation in sorted(service["operations"].items()):
            said = plain(operation.get("documentation"))
            shape = service["shapes"].get(operation.get("input", {}).get("shape"), {})
            given = " ".join(words(each) for each in list(shape.get("members", {}))[:6])
            if len(said) > 15:
                pairs.append((first_sentence(said), f"{title} {words(name)}: {given}"))
    return pairs


def google():
    """Methods of the services that google-api-python-client describes."""
    import googleapiclient

    pairs = []
    seen = set()

    def resources(document, node):
        for method in node.get("methods", {}).values():
            said = plain(method.get("description"))
            name = words(method["id"])
            if len(said) > 15 and (said, name.split()[-1]) not in seen:
                seen.add((said, name.split()[-1]))
                given = " ".join(words(each) for each in list(method.get("parameters", {}))[:6])
                pairs.append((first_sentence(said), f"{document.get('title', '')} {name}: {given}"))
        for below in node.get("resources", {}).values():
            resources(document, below)

    folder = pathlib.Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    for file in sorted(folder.glob("*.json")):
        document = json.loads(file.read_bytes())
        resources(document, document)
    return pairs


def tool_text(tool):
    """What a tool says of itself: its name, what it does, names of its parameters."""
    given = tool.get("parameters", {}).get("properties", {})
    return plain(f"{words(tool['name'])}. {tool.get('description', '')} {' '.join(words(each) for each in given)}", 600)


def sets(folder, left_out):
    """Requests and the tools that answer them, by set, but for those left out."""
    found = {}
    for each in sorted(pathlib.Path(folder).iterdir()):
        if not each.joinpath("tools.jsonl").exists() or each.name in left_out:
            continue
        read = lambda name: [json.loads(line) for line in each.joinpath(name).open()] if each.joinpath(name).exists() else []
        tools = {tool["id"]: tool for tool in read("tools.jsonl")}
        pairs = []
        for query in read("queries.jsonl") + read("train.jsonl"):
            wanted = query.get("relevant") or [query.get("intent") or query.get("label")]
            pairs.extend((plain(query["text"], 600), tool_text(tools[tool])) for tool in wanted if tool in tools)
        # What a tool does, and how it is called.
        described = [(plain(tool["description"]), words(tool["name"])) for tool in tools.values() if tool.get("description")]
        found[each.name] = (pairs, described)
    return found
