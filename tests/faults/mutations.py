"""What can become of a file: each mutation knows what lies in it, and a seed says where it strikes.

Every one is a function of a stream of random numbers and a path, and changes the file there.
"""

import io
import json
import os
import pickle
import re
import struct
import zipfile
import zlib

import numpy as np

CANARY = "canary:Bomb"
"""A name of code that leaves a mark when it is imported; see :func:`folders.surround`."""
TEXTS = (
    "", " ", "\x00", "nan", "-inf", "1e999", "0x10", "½", "٣", "é" * 300, "\ud800", "\u202e", "x" * 70_000,
    "../../escaped", "/outside/escaped", "../outside/file.txt", "a/b", "..", ".", "-h", "--out=escaped", "~",
    "$(touch escaped)",
    "<script>alert(1)</script>", "\\input{x}%", "=1+1", "|a|b|", "`x`", "\x1b[31mred\x07", "a\nb\r\nc", CANARY,
    "imagefolder:../outside", "parquet:/outside", "pgd", "none", "null", "true", "8/255", "1/0", "50%", "2020-13-45",
    "1:30",
    "test", "train", "clean", "adversarial", "completed", "running", "imported", "ended", "interrupted", "%s{0}",
    "{{7*7}}",
)  # fmt: skip
NUMBERS = (
    *(0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *(10**18, -(10**18), 2**31, 2**63, 2**64, 10**400, 10**9, 10000, 3.7, True, False),
)
STRUCTURES = ([], {}, [[]], {"a": {}}, [None], {"": None}, [1, "a", None], {"name": []}, [[[[[]]]]], {"value": 1}, None)


def any_text(random):
    return random.choice(TEXTS)


def any_value(random):
    """A value of any type that JSON has."""
    kind = random.randrange(6)
    if kind == 0:
        return random.choice(STRUCTURES)
    if kind in (1, 2):
        return random.choice(NUMBERS)
    if kind == 3:
        return nested(random.choice((40, 900, 3000)), random.choice(("[]", "{}")))
    return any_text(random)


class Raw(str):
    """Text that stands in JSON as it is."""


def nested(depth, kind):
    """A value so deep that json cannot write it either."""
    return Raw("[" * depth + "]" * depth if kind == "[]" else '{"a":' * depth + "1" + "}" * depth)


def to_json(content, indent=None, ensure_ascii=True):
    """JSON with what json itself does not write: deep values, lone surrogates, large numbers."""
    raw = []

    def plain(value):
        if isinstance(value, Raw):
            raw.append(value)
            return f"raw:{len(raw) - 1}:"
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(plain(content), indent=indent, ensure_ascii=ensure_ascii)
    return re.sub(r'"raw:(\d+):"', lambda match: raw[int(match[1])], text)


# bytes of any file


def truncate(random, path):
    content = path.read_bytes()
    path.write_bytes(
        content[: random.choice((0, 1, len(content) // 2, len(content) - 1, random.randrange(len(content) + 1)))]
    )


def flip_bits(random, path):
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 4, 60))):
        if content:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def remove_bytes(random, path):
    content = path.read_bytes()
    start = random.randrange(len(content) + 1)
    path.write_bytes(content[:start] + content[start + random.choice((1, 7, 100, 4096)) :])


def double_bytes(random, path):
    content = path.read_bytes()
    start = random.randrange(len(content) + 1)
    part = content[start : start + random.choice((1, 7, 100, 4096))]
    path.write_bytes(content[:start] + 2 * part + content[start + len(part) :])


def overwrite(random, path):
    content = bytearray(path.read_bytes())
    start = random.randrange(len(content) + 1)
    content[start : start + 16] = random.choice(
        (b"\x00" * 16, b"\xff" * 16, b"\x80abc", b"\n" * 16, b"{[\"'\\", b"\x1b[2J")
    )
    path.write_bytes(content)


def pad_with_nul(random, path):
    with path.open("ab") as file:
        file.write(b"\x00" * random.choice((1, 100, 5000)))


def garbage(random, path):
    path.write_bytes(
        random.choice(
            (
                random.randbytes(random.choice((1, 200, 5000))),
                b"\xff\xfe",
                b"PK\x03\x04",
                b"\x89PNG\r\n\x1a\n",
                b"%",
                b"null",
                b"[]",
                b"\x1f\x8b\x08",
            )
        )
    )


def grown(random, path):
    """Far larger than it may be, of which nothing lies on the disk."""
    os.truncate(path, random.choice((2 * 10**9, 10**11)))


# what is there instead of a file


def gone(random, path):
    path.unlink()


def folder_instead(random, path):
    path.unlink()
    path.mkdir()


def fifo_instead(random, path):
    path.unlink()
    os.mkfifo(path)


def loop_instead(random, path):
    path.unlink()
    path.symlink_to(path.name)


def dangling_instead(random, path):
    path.unlink()
    path.symlink_to("not/there")


def link_to_outside(random, path):
    """The same content in a file outside of the folder, and a link to it."""
    outside = _outside(path) / f"moved-{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


def device_instead(random, path):
    path.unlink()
    path.symlink_to(random.choice(("/dev/zero", "/dev/full", "/dev/null", "/proc/self/mem", "/dev/random")))


def socket_instead(random, path):
    import socket

    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def unreadable(random, path):
    path.chmod(0)


def neighbour(random, path):
    """The file of another place."""
    others = [other for other in sorted(path.parent.rglob("*")) if other.is_file() and other != path]
    if others:
        path.write_bytes(random.choice(others).read_bytes())


def odd_names(random, path):
    """More files beside it, whose names are no text or say more than names should."""
    names = (
        *(b"\xff\xfe.npz", b"calibration-\xff.npz", b"calibration-0009.npz", b"calibration-99999999999999999999.npz"),
        *(b"epoch-.safetensors", b"epoch-x.safetensors", b"epoch--001.safetensors", b"epoch-9999.safetensors",
        b"epoch-\xff.safetensors"),
        *("epoch-\u0663.safetensors".encode(), "calibration-\u00b2.npz".encode(), b"a\nb.npz", b"\x1b[31m.npz",
        b"..npz", b"-.npz", b" .npz"),
        *(b"records.jsonl.partial", b".records", b"run.json~", b"records-posthoc.jsonl", b"<script>.npz", b"x" * 250,
        b"pgd-20-test-16-\xff.npz"),
    )  # fmt: skip
    for name in random.sample(names, 4):
        with open(os.path.join(os.fsencode(path.parent), name), "wb") as file:
            file.write(path.read_bytes() if random.random() < 0.5 else random.randbytes(20))


def _outside(path):
    case = next(parent for parent in path.parents if (parent / "outside").is_dir())
    return case / "outside"


ANY = (truncate, flip_bits, remove_bytes, double_bytes, overwrite, pad_with_nul, garbage, grown)
PLACES = (
    *(gone, folder_instead, fifo_instead, loop_instead, dangling_instead, link_to_outside, device_instead),
    *(socket_instead, unreadable, neighbour, odd_names),
)

# lines


def _lines(path):
    return path.read_bytes().splitlines(keepends=True)


def cut_line(random, path):
    lines = _lines(path)
    if lines:
        i = random.randrange(len(lines))
        lines[i] = lines[i][: random.randrange(len(lines[i]) + 1)] + random.choice((b"\n", b""))
    path.write_bytes(b"".join(lines))


def remove_line(random, path):
    lines = _lines(path)
    if lines:
        start = random.randrange(len(lines))
        del lines[start : start + random.choice((1, 1, 20, 200))]
    path.write_bytes(b"".join(lines))


def double_line(random, path):
    lines = _lines(path)
    i = random.randrange(len(lines) + 1)
    path.write_bytes(b"".join([*lines[: i + 1], *lines[max(0, i - random.choice((0, 30))) :]]))


def swap_lines(random, path):
    lines = _lines(path)
    random.shuffle(lines)
    path.write_bytes(b"".join(lines))


def line_ends(random, path):
    end = random.choice((b"\r\n", b"\r", b"\n\n", b"\x00\n", b"\x85", "\u2028".encode()))
    path.write_bytes(path.read_bytes().replace(b"\n", end))


def no_last_end(random, path):
    path.write_bytes(path.read_bytes().rstrip(b"\n"))


def encoded(random, path):
    text = path.read_text()
    choice = random.choice(("bom", "utf-16", "utf-32", "latin"))
    if choice == "bom":
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    elif choice == "latin":
        path.write_bytes(text.encode().replace(b"e", b"\xe9", 1))
    else:
        path.write_bytes(text.encode(choice))


def long_line(random, path):
    lines = _lines(path)
    lines.insert(
        random.randrange(len(lines) + 1),
        random.choice((b"x", b" ", b"[", b"9", b'{"a":')) * random.choice((10**4, 3 * 10**6)) + b"\n",
    )
    path.write_bytes(b"".join(lines))


LINES = (cut_line, remove_line, double_line, swap_lines, line_ends, no_last_end, encoded, long_line)

# values of JSON and YAML


def places_of(content, path=()):
    """The way to every value within a value."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places_of(value, (*path, key))


def change_value(random, content):
    """One value replaced, removed, renamed, doubled or wrapped."""
    ways = [way for way in places_of(content) if way]
    if not ways:
        return any_value(random)
    way = random.choice(ways)
    group = content
    for key in way[:-1]:
        group = group[key]
    key, kind = way[-1], random.choice(("replace",) * 6 + ("remove", "rename", "wrap", "text", "swap", "add"))
    if kind == "replace":
        group[key] = any_value(random)
    elif kind == "remove":
        del group[key]
    elif kind == "rename" and isinstance(group, dict):
        group[random.choice((any_text(random), key.upper() if isinstance(key, str) else "k", f"{key}s"))] = group.pop(
            key
        )
    elif kind == "wrap":
        group[key] = random.choice(([group[key]], {"value": group[key]}, [[group[key]] * 3]))
    elif kind == "swap":
        other = random.choice(list(group) if isinstance(group, dict) else range(len(group)))
        group[key], group[other] = group[other], group[key]
    elif kind == "add" and isinstance(group, dict):
        group[any_text(random)] = any_value(random)
    else:
        group[key] = str(group[key])
    return content


def json_value(random, path):
    content = json.loads(path.read_text())
    for _ in range(random.choice((1, 1, 1, 3))):
        content = change_value(random, content)
    path.write_text(to_json(content, 2), errors="surrogatepass")


def json_root(random, path):
    path.write_text(to_json(any_value(random)), errors="surrogatepass")


def json_double_key(random, path):
    text = path.read_text()
    key = random.choice(re.findall(r'"(\w+)":', text) or ["status"])
    value = to_json(any_value(random))
    path.write_text(text.replace("{", f'{{"{key}": {value}, ', 1), errors="surrogatepass")


def record_value(random, path):
    """One value in one line, in some of them, or in all."""
    lines = path.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    if not rows:
        return
    key, value = random.choice(sorted(rows[0])), any_value(random)
    share = random.choice((0.0, 0.0, 0.1, 1.0))
    first = random.randrange(len(rows))
    for i, row in enumerate(rows):
        if i == first or random.random() < share:
            row[key] = value
    path.write_text("".join(to_json(row) + "\n" for row in rows), errors="surrogatepass")


def record_keys(random, path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if not rows:
        return
    for row in random.sample(rows, random.choice((1, 1, len(rows)))):
        change_value(random, row)
    path.write_text("".join(to_json(row) + "\n" for row in rows), errors="surrogatepass")


def record_part(random, path):
    """The records without one field, probe, split or epoch, or with these alone."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if not rows:
        return
    key = random.choice(("probe", "field", "split", "inputs", "epoch"))
    value, alone = random.choice(rows)[key], random.random() < 0.3
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if (row[key] == value) == alone))


def yaml_value(random, path):
    import yaml

    content = yaml.safe_load(path.read_text())
    for _ in range(random.choice((1, 1, 1, 3))):
        content = change_value(random, content)
    path.write_text(to_json(content, 1), errors="surrogatepass")  # YAML takes it


ALIASES = "a: &a [x]\n" + "".join(
    f"{key}: &{key} [{','.join(9 * [f'*{before}'])}]\n" for before, key in zip("abcdefgh", "bcdefghi", strict=True)
)
"""A few hundred bytes that unfold to 43 million values."""
YAML_TRICKS = (
    ALIASES, "name: &n [*n]\n", "seed: 2020-13-45\n", "seed: 2020-01-01\n",
    "name: !!python/object/apply:os.system [touch escaped]\n", "name: !!python/name:canary.Bomb\n",
    "<<: [1]\n", "<<: {epochs: 3}\n", "? [a, b]\n: c\n", "? {a: b}\n: c\n", "name: !!binary x\n",
    "name: !!binary YQ==\n", "seed: !!int x\n", "seed: !!float x\n",
    "seed: 1_000\n", "seed: 190:20:30\n", "seed: 0o7\n", "seed: 09\n", "seed: !!timestamp x\n", "name: !!set {a, b}\n",
    "name: !!omap [a: b]\n", "name: !!pairs [a]\n",
    "epochs: .nan\n", "epochs: .inf\n", "name: *unknown\n", "--- a\n--- b\n", "%YAML 9.9\n---\nname: a\n",
    "%TAG ! x\n---\n", "\tname: a\n", "name: 'a\n",
    "name: |\n  a\n b\n", "=: 1\n", "data: =\n", "epochs: 1e999\n", "? \n: 1\n", "1: 2\n", "null: 2\n", "true: 2\n",
    "data: {? [x] : 1}\n", "labels: &l {name: *l}\n",
)  # fmt: skip


def yaml_trick(random, path):
    """A trick of the language in the place of the file, or at its beginning or end."""
    trick, text = random.choice(YAML_TRICKS), path.read_text()
    path.write_text(random.choice((trick, trick + text, text + trick)))


def cell(random, path):
    """One number or word of a table, in one place or wherever it stands."""
    text = path.read_text()
    word = random.choice(re.findall(r"[^\s,;:\[\]()]+", text) or ["x"])
    new = random.choice((any_text(random), str(random.choice(NUMBERS))))
    path.write_text(text.replace(word, new, random.choice((1, 1, 5, -1))), errors="surrogatepass")


# archives of arrays


def read_members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def of_npy(content):
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self):
        return (exec, ("open(__import__('os').environ['OVERFIT_LAB_CANARY'], 'w').close()",))


ARRAYS = (
    lambda array, random: array.astype(object),
    lambda array, random: np.array([Bomb()], dtype=object),
    lambda array, random: array.astype(str),
    lambda array, random: array.astype(complex) if array.dtype.kind in "fiub" else array.astype("S"),
    lambda array, random: array.astype(np.float16) if array.dtype.kind in "fiub" else array[:0],
    lambda array, random: array.astype(bool) if array.dtype.kind in "fiub" else array[:0],
    lambda array, random: array.astype("<i8").astype("M8[s]") if array.dtype.kind in "fiub" else array[:0],
    lambda array, random: np.zeros(array.shape, dtype=[("a", "f4"), ("b", "i4")]),
    lambda array, random: array.astype(">f8") if array.dtype.kind in "fiub" else array[:0],
    lambda array, random: array.T,
    lambda array, random: array[None],
    lambda array, random: array.ravel(),
    lambda array, random: array[:0],
    lambda array, random: array[:1],
    lambda array, random: array[..., :-1] if array.ndim else array,
    lambda array, random: np.concatenate([array, array]) if array.ndim else array,
    lambda array, random: np.array(7),
    lambda array, random: np.array("text"),
    lambda array, random: np.full(array.shape, np.nan),
    lambda array, random: np.full(array.shape, np.inf),
    lambda array, random: np.full(array.shape, -1.0),
    lambda array, random: np.full(array.shape, 1e300),
    lambda array, random: np.full(array.shape, 2**62),
    lambda array, random: np.zeros(array.shape, dtype="V8"),
)


def npz_array(random, path):
    """One array, or all of them, of another kind."""
    members = read_members(path)
    names = list(members) if random.random() < 0.2 else [random.choice(list(members))]
    change = random.choice(ARRAYS)
    for name in names:
        members[name] = npy(change(of_npy(members[name]), random))
    write_members(path, members.items())


def npz_members(random, path):
    """Members renamed, removed, exchanged, doubled or added."""
    items = list(read_members(path).items())
    i, j = random.randrange(len(items)), random.randrange(len(items))
    kind = random.choice(("rename", "remove", "swap", "double", "add", "none"))
    if kind == "rename":
        names = (
            "../escaped.npy",
            "/outside/escaped.npy",
            "x.npy",
            items[i][0].removesuffix(".npy"),
            "",
            "é\x1b.npy",
            "a/b.npy",
            "x.txt",
            "reliability-test-.npy",
        )
        items[i] = (random.choice(names), items[i][1])
    elif kind == "remove":
        del items[i]
    elif kind == "swap":
        (a, one), (b, two) = items[i], items[j]
        items[i], items[j] = (a, two), (b, one)
    elif kind == "double":
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_members(path, [*items, (items[i][0], items[j][1])])
        return
    elif kind == "add":
        items.append(
            (
                random.choice(("more.npy", "bomb.npy", "note.txt")),
                random.choice((b"text", pickle.dumps(Bomb()), npy(np.array([Bomb()], dtype=object)))),
            )
        )
    else:
        items = []
    write_members(path, items)


def npz_header(random, path):
    """What a member says of itself is not so."""
    members = read_members(path)
    name = random.choice(list(members))
    content = members[name]
    text = random.choice((
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000, 4000000000), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4000000000, 4000000000, 4000000000), }",
        "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '<f8', (100000, 100000))], 'fortran_order': False, 'shape': (10,), }",
        "{'descr': 5, 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f8', 'fortran_order': 7, 'shape': 3, }",
        "{'descr': '<f8'}", "[]", "{" * 3000, "(" * 200, "__import__('os').system('touch escaped')", "\x00",
    ))  # fmt: skip
    header = text.encode() + b"\n"
    version = random.choice(((1, 0), (2, 0), (3, 0), (9, 9)))
    size = struct.pack("<H" if version[0] == 1 else "<I", random.choice((len(header), len(header), 60000)))
    members[name] = b"\x93NUMPY" + bytes(version) + size + header + content[-64:]
    write_members(path, members.items())


def npz_bomb(random, path):
    """A member of which little lies in the file and far more comes out."""
    members = read_members(path)
    name = random.choice(list(members))
    n = random.choice((40, 400)) * 2**20 // 8
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (n,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in members.items():
            if other != name:
                archive.writestr(other, content)
        with archive.open(name, "w", force_zip64=True) as file:
            file.write(head.getvalue())
            block = bytes(2**20)
            for _ in range(n * 8 // 2**20):
                file.write(block)


def npz_zip(random, path):
    """Flags, sizes, methods and check sums of the archive itself."""
    content = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(rb"PK\x01\x02|PK\x03\x04|PK\x05\x06", content)]
    start = random.choice(starts)
    at, width = random.choice(
        ((6, 2), (8, 2), (10, 2), (14, 4), (16, 4), (18, 4), (20, 4), (22, 4), (24, 4), (28, 2), (42, 4))
    )
    content[start + at : start + at + width] = random.choice(
        (b"\xff" * width, b"\x00" * width, b"\x01" + b"\x00" * (width - 1), b"\x63" * width)
    )
    path.write_bytes(content)


def pickled(random, path):
    """A pickle with the file's name."""
    path.write_bytes(pickle.dumps(Bomb()))


# weights


def split_tensors(path):
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def join_tensors(path, header, data):
    text = to_json(header).encode(errors="surrogatepass")
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def tensor_header(random, path):
    """One value of the header: a shape, a type, an offset, a name."""
    header, data = split_tensors(path)
    names = [name for name in header if name != "__metadata__"]
    name = random.choice(names)
    kind = random.choice(("shape", "dtype", "offsets", "rename", "remove", "value", "exchange"))
    if kind == "shape":
        header[name]["shape"] = random.choice(
            (
                [],
                [0],
                [2**40, 2**40],
                [-1],
                [1] * 100,
                ["a"],
                None,
                [*header[name]["shape"], 1],
                list(reversed(header[name]["shape"])),
            )
        )
    elif kind == "dtype":
        header[name]["dtype"] = random.choice(("F64", "I32", "BOOL", "U8", "BF16", "F8_E4M3", "X", "", None, 5))
    elif kind == "offsets":
        header[name]["data_offsets"] = random.choice(
            ([0, 2**60], [-1, 4], [10, 0], [0], [], None, [0, len(data) + 100], ["a", "b"])
        )
    elif kind == "rename":
        header[any_text(random)] = header.pop(name)
    elif kind == "remove":
        del header[name]
    elif kind == "exchange":
        other = random.choice(names)
        header[name], header[other] = header[other], header[name]
    else:
        change_value(random, header)
    join_tensors(path, header, data)


def tensor_metadata(random, path):
    """What a checkpoint says of itself: removed, or one value of it another."""
    header, data = split_tensors(path)
    metadata = header.get("__metadata__", {})
    kind = random.choice(("none", "key", "content", "content", "content", "content", "content", "deep"))
    if kind == "none":
        header.pop("__metadata__", None)
    elif kind == "key" and metadata:
        metadata[any_text(random)] = metadata.pop(random.choice(list(metadata)))
    elif metadata:
        key = random.choice(list(metadata))
        if kind == "deep":
            metadata[key] = nested(random.choice((900, 100000)), "[]")
            metadata[key] = str(metadata[key])
        else:
            try:
                metadata[key] = to_json(change_value(random, json.loads(metadata[key])))
            except ValueError:
                metadata[key] = any_text(random)
    join_tensors(path, header, data)


def tensor_size(random, path):
    """A header that is said to be longer or shorter than it is."""
    content = path.read_bytes()
    size = random.choice((0, 1, 2**20, 2**40, 2**63, struct.unpack("<Q", content[:8])[0] - 3))
    path.write_bytes(struct.pack("<Q", size) + content[8:])


def tensor_values(random, path):
    """Weights, moments, counters or random states with other numbers, of the right types."""
    header, data = split_tensors(path)
    name = random.choice([name for name in header if name != "__metadata__"])
    start, end = header[name]["data_offsets"]
    filler = random.choice((b"\xff", b"\x00", b"\x7f", bytes(random.randrange(256) for _ in range(8))))
    content = (filler * (end - start))[: end - start]
    join_tensors(path, header, data[:start] + content + data[end:])


def nan_tensor(random, path):
    header, data = split_tensors(path)
    names = [name for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32"]
    if names:
        start, end = header[random.choice(names)]["data_offsets"]
        value = struct.pack("<f", random.choice((float("nan"), float("inf"), 3e38)))
        join_tensors(path, header, data[:start] + value * ((end - start) // 4) + data[end:])


def column_head(random, path):
    """What the head of a file of columns says, with a checksum that agrees."""
    content = path.read_bytes()
    said = json.loads(content[22:4092])
    place, key = random.choice(
        [(said, key) for key in said] + [(column, i) for column in said["columns"] for i in range(3)]
    )
    place[key] = any_value(random)
    head = (content[:22] + to_json(said).encode(errors="surrogatepass"))[:4092].ljust(4092)
    path.write_bytes(head + zlib.crc32(head).to_bytes(4, "little") + content[4096:])


def column_block(random, path):
    """The epoch or the numbers of a block of columns, with a checksum that agrees."""
    content = path.read_bytes()
    said = json.loads(content[22:4092])
    size = sum(-(-said["rows"] * width * int(kind[-1]) // 8) * 8 for _, kind, width in said["columns"])
    start = 4096 + random.randrange(max(1, (len(content) - 4096) // (16 + size))) * (16 + size)
    epoch = random.choice((content[start : start + 4], random.choice((0, 1, 2**32 - 1)).to_bytes(4, "little")))
    columns = random.choice((random.randbytes(size), b"\xff" * size, content[start + 16 : start + 16 + size]))
    checksum = zlib.crc32(columns, zlib.crc32(epoch)).to_bytes(4, "little")
    path.write_bytes(content[:start] + epoch + checksum + bytes(8) + columns + content[start + 16 + size :])


def torch_pickle(random, path):
    """A file of torch that would run code, with the name of weights."""
    import torch

    torch.save({"state_dict": {"w": torch.zeros(2)}, "x": Bomb()}, path)


KINDS = {
    ".jsonl": (*ANY, *PLACES, *LINES, *2 * (record_value,), *3 * (record_value, record_keys, record_part)),
    ".json": (*ANY, *PLACES, *LINES, *6 * (json_value,), json_root, json_root, json_double_key),
    ".yaml": (*ANY, *PLACES, *LINES, *6 * (yaml_value,), *4 * (yaml_trick,)),
    ".npz": (
        *ANY,
        *PLACES,
        *6 * (npz_array,),
        *3 * (npz_members,),
        *2 * (npz_header,),
        *2 * (npz_zip,),
        npz_bomb,
        pickled,
    ),
    ".safetensors": (
        *ANY,
        *PLACES,
        *4 * (tensor_header, tensor_metadata),
        *2 * (tensor_values, nan_tensor),
        tensor_size,
        pickled,
        torch_pickle,
    ),
    ".columns": (*ANY, *PLACES, *3 * (column_head, column_block)),
    ".csv": (*ANY, *PLACES, *LINES, *6 * (cell,)),
    ".log": (*ANY, *PLACES, *LINES, *6 * (cell,)),
    "": (*ANY, *PLACES, cell),
}
"""Mutations by the ending of a file; those that strike where few errors are looked for come several times."""
BY_NAME = {function.__name__: function for functions in KINDS.values() for function in functions}


def kind_of(path):
    return path.suffix if path.suffix in KINDS else ""
