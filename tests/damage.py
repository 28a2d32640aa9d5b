"""Damage to files, drawn at random: bits, lengths and holes of any file; values and names of JSON documents."""

import copy
import json
import random
import struct

from ppl_vae.files import CHECKSUM, checksum

STRANGE = (
    None, True, -1, 0, 7, 10**9, 10**30, 0.5, float("nan"), float("inf"), "", "x", "vae", "\ud800", [], [[]], [-1],
    ["x"], [10**9, 10**9], {}, {"name": 3}, {"name": "mlp"}, {"name": "flow", "num_transforms": 10**9},
)  # fmt: skip


def damaged_bytes(content, rng):
    """Bits flipped, an end or a middle lost, a hole of zeros or noise, something behind the end."""
    content = bytearray(content)
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice((1, 4, 64, 4096)))
    kind = rng.randrange(7)
    if kind <= 1:
        content[start] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del content[start:]
    elif kind == 3:
        del content[start:end]
    elif kind == 4:
        content[start:end] = bytes(end - start)
    elif kind == 5:
        content[start:end] = rng.randbytes(end - start)
    else:
        content += rng.randbytes(rng.choice((1, 8, 100)))
    return bytes(content)


def damaged_tree(tree, rng):
    """One value of a JSON document replaced, left out, doubled, renamed or taken from elsewhere in it."""
    tree = copy.deepcopy(tree)
    places = list(_places(tree))
    if not places:
        return rng.choice(STRANGE)
    node, key = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        del node[key]
    elif kind == 1:
        other, elsewhere = rng.choice(places)
        node[key] = copy.deepcopy(other[elsewhere])
    elif kind == 2 and isinstance(node, dict):
        node[f"{key}x"] = node.pop(key)
    elif kind == 3:
        node[key] = [node[key]]
    else:
        node[key] = rng.choice(STRANGE)
    return tree


def _places(tree):
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key])


def damaged_header(content, rng, inner=None):
    """The header of a safetensors file damaged as JSON, or the JSON that its metadata hold under ``inner``."""
    (length,) = struct.unpack("<Q", content[:8])
    header, payload = json.loads(content[8 : 8 + length]), content[8 + length :]
    if inner is None:
        header = damaged_tree(header, rng)
    else:
        header["__metadata__"][inner] = json.dumps(damaged_tree(json.loads(header["__metadata__"][inner]), rng))
    return with_header(header, payload)


def with_header(header, payload):
    """A safetensors file of any header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def sealed_anew(content):
    """The file with the checksum of what it now says, as somebody would make it who wants to be believed."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__"), dict):
        return content
    header["__metadata__"][CHECKSUM] = checksum(content)
    return with_header(header, content[8 + length :])


def unsealed(content):
    """The file as version 0.1.0 wrote it, without a checksum."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = {k: v for k, v in header.pop("__metadata__", {}).items() if k not in (CHECKSUM, "config")}
    return with_header({**header, **({"__metadata__": metadata} if metadata else {})}, content[8 + length :])


def streams(number, seed=0):
    """Generators for that many damages."""
    return [random.Random(f"{seed} {index}") for index in range(number)]
