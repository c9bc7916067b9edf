"""An outsider's reader of the log, from the specifications alone: RFC 6962, c2sp.org/{tlog-tiles,tlog-checkpoint,signed-note,tlog-proof}.

reader.py PREFIX VKEY PROOF LEAF_HEX   ->  one line "ok <size> <index>", or an exception
"""
import base64
import gzip
import hashlib
import subprocess
import sys
import tempfile
import urllib.request


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
        body = reply.read()
        return (gzip.decompress(body) if reply.headers.get("Content-Encoding") == "gzip" else body), reply.headers


def sha(data):
    return hashlib.sha256(data).digest()


def ed25519(key, signature, message):
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except ImportError:
        with tempfile.TemporaryDirectory() as d:
            der = bytes.fromhex("302a300506032b6570032100") + key
            for name, data in (("key", der), ("sig", signature), ("msg", message)):
                open(f"{d}/{name}", "wb").write(data)
            command = f"openssl pkeyutl -verify -pubin -keyform DER -inkey {d}/key -rawin -in {d}/msg -sigfile {d}/sig"
            subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)


def open_note(note, vkey):
    name, key_id, key = vkey.split("+", 2)
    key = base64.b64decode(key)
    assert key[0] == 1 and sha(name.encode() + b"\n" + key)[:4].hex() == key_id
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    verified = 0
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if dash == "\u2014" and signer == name and signature[:4].hex() == key_id:
            ed25519(key[1:], signature[4:], text.encode())
            verified += 1
    assert verified == 1, "not signed"
    origin, size, root = text.splitlines()[:3]
    assert origin == name
    return int(size), base64.b64decode(root)


def mth(leaves):
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\1" + mth(leaves[:k]) + mth(leaves[k:]))


def walk(m, n, leaf, path):
    """The root that an audit path leads to, by the recursive definition of PATH."""
    if n == 1:
        assert not path
        return leaf
    k = 1
    while k * 2 < n:
        k *= 2
    if m < k:
        return sha(b"\1" + walk(m, k, leaf, path[:-1]) + path[-1])
    return sha(b"\1" + path[-1] + walk(m - k, n - k, leaf, path[:-1]))


def element(n):
    parts = [f"{n % 1000:03}"]
    while n >= 1000:
        n //= 1000
        parts.insert(0, f"x{n % 1000:03}")
    return "/".join(parts)


def tiles(count):
    """Names and widths of the tiles that hold so many hashes."""
    for n in range(count // 256):
        yield element(n), 256
    if count % 256:
        yield f"{element(count // 256)}.p/{count % 256}", count % 256


def main(prefix, vkey, proof, leaf):
    note, headers = get(f"{prefix}/checkpoint")
    assert headers["Content-Type"] == "text/plain; charset=utf-8", headers
    size, root = open_note(note.decode(), vkey)
    leaves = []
    for name, width in tiles(size):
        plain, headers = get(f"{prefix}/tile/entries/{name}")
        assert headers["Content-Type"] == "application/octet-stream" and "immutable" in headers["Cache-Control"]
        packed, headers = get(f"{prefix}/tile/entries/{name}", **{"Accept-Encoding": "gzip"})
        assert packed == plain and headers["Content-Encoding"] == "gzip"
        before = len(leaves)
        while plain:
            length = int.from_bytes(plain[:2], "big")
            leaves.append(sha(b"\0" + plain[2 : 2 + length]))
            plain = plain[2 + length :]
        assert len(leaves) - before == width
        hashes, _ = get(f"{prefix}/tile/0/{name}")
        assert hashes == b"".join(leaves[before:])
    assert len(leaves) == size and mth(leaves) == root, "the records do not have the root that was signed"
    for level in range(1, 8):
        count = size >> (8 * level)
        for at, (name, width) in enumerate(tiles(count)):
            hashes, _ = get(f"{prefix}/tile/{level}/{name}")
            span = 256**level
            expect = [mth(leaves[(at * 256 + i) * span : (at * 256 + i + 1) * span]) for i in range(width)]
            assert hashes == b"".join(expect), (level, name)
    head, checkpoint = open(proof, encoding="utf-8", newline="").read().split("\n\n", 1)
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[1].startswith("index ")
    index, path = int(lines[1][6:]), [base64.b64decode(line, validate=True) for line in lines[2:]]
    at, signed = open_note(checkpoint, vkey)
    assert leaves[index] == bytes.fromhex(leaf)
    assert walk(index, at, leaves[index], path) == signed, "the proof does not lead to the signed root"
    print(f"ok {size} {index}")


main(*sys.argv[1:])
