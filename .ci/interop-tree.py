#!/usr/bin/env python3
"""The trees of the interop gate: makes and changes one, and compares a mirror of it with it.

    interop-tree.py make TREE                      what the first device starts with
    interop-tree.py steps                          the names of the changes, in order
    interop-tree.py change TREE STEP               makes one of them
    interop-tree.py compare TREE MIRROR DEVICE     TREE is the first device's, DEVICE the second one's
    interop-tree.py check FILE TREE complete|incremental|idle     FILE holds what `obsync sync --json` printed
"""

import hashlib
import itertools
import json
import os
import shutil
import sys
import unicodedata

MIB = 1 << 20
CONFIG = ".obsidian"
NFD_FILE = "decomposed/cafe\u0301.md"
NFD_FOLDER = "decomposed/nai\u0308ve"
LONG = "l" * 250 + ".md"  # with its suffix 253 of the 255 bytes that a name can have

# --- the tree and its changes ---


class Tree:
    """A folder, with writes that leave reproducible contents and telling times."""

    def __init__(self, root, turn):
        self.root = root
        # No two files written have the same time, so that the client sees each change. The digits below the
        # millisecond check rounding, both up and down.
        self.times = (1_600_000_000_000_000_000 + turn * 10**15 + n * 1_234_567_891 for n in itertools.count())

    def at(self, path):
        return os.path.join(self.root, path)

    def write(self, path, content, mtime_ns=None):
        full = self.at(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content)
        mtime_ns = mtime_ns or next(self.times)
        os.utime(full, ns=(mtime_ns, mtime_ns))

    def put(self, path, size, seed=""):
        self.write(path, hashlib.shake_256(f"{path}{seed}".encode()).digest(size))

    def flip(self, path, index):
        """Changes one byte, and so not the size."""
        with open(self.at(path), "rb") as file:
            content = bytearray(file.read())
        content[index] ^= 1
        self.write(path, bytes(content))

    def append(self, path, text):
        with open(self.at(path), "rb") as file:
            content = file.read()
        self.write(path, content + text.encode())

    def copy(self, old, new):
        with open(self.at(old), "rb") as file:
            self.write(new, file.read())

    def folder(self, path):
        os.makedirs(self.at(path))

    def rename(self, old, new):
        os.makedirs(os.path.dirname(self.at(new)), exist_ok=True)
        os.rename(self.at(old), self.at(new))

    def swap(self, *paths):
        """Each goes where the next one is, the last one where the first one was."""
        spare = "swapping"
        self.rename(paths[-1], spare)
        for old, new in reversed(list(itertools.pairwise(paths))):
            self.rename(old, new)
        self.rename(spare, paths[0])

    def delete(self, *paths):
        for path in paths:
            if os.path.isdir(self.at(path)):
                shutil.rmtree(self.at(path))
            else:
                os.remove(self.at(path))


def make(tree):
    # Around the cipher's block, its 28 bytes of nonce and tag, and the 2 MiB pieces of the wire.
    for size in (0, 1, 12, 15, 16, 17, 2 * MIB - 28, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 5 * MIB):
        tree.put(f"sizes/{size}.bin", size)
    for path in (
        "مرحبا/ملاحظة.md",
        "ខ្មែរ/ចំណាំ.md",
        "😀/👩‍👩‍👧 family.md",
        NFD_FILE,
        NFD_FOLDER + "/e\u0301te\u0301.md",
        "100%.md",
        "%41 %2F %zz.md",
        "#1 & 'q' + ?x=y.md",
        'all ~!@$^`{}[]()=;,*<>|".md',
        "colon: left out by the second device.md",
        "no-break\u00a0space.md",
        " leading.md",
        "trailing .md",
        "trailing /in a folder.md",
        "dot at the end.",
        "no suffix",
        "two\nlines.md",
        "CON.md",
        "Case.md",
        "case.md",
        "long/" + LONG,
        "picture.JPG",
        "a/b/c/d/e/f/deep.md",
        "rename me.md",
        "folder/one.md",
        "folder/two.md",
        "folder/inner/three.md",
        "gone/x.md",
        "gone/y/z.md",
        "becomes a folder",
        "becomes a file/with/content.md",
        "left",
        "right",
        "side/left/l.md",
        "side/right/r.md",
        "side/right/deeper/r.md",
        CONFIG + "/app.json",
        CONFIG + "/plugins/p/main.js",
        CONFIG + "/plugins/p/data.json",
        # These the client keeps to itself.
        CONFIG + "/workspace.json",
        ".hidden/note.md",
        "a/.hidden.md",
        "back\\slash.md",
    ):
        tree.put(path, 40)
    tree.folder("empty/inner")
    tree.folder("folder/empty")
    tree.folder("empty becomes a file")
    tree.write("times/1980.md", b"old", 315_532_800_001_000_000)
    tree.write("times/2040.md", b"new", 2_208_988_800_999_000_000)


def edit(tree):
    tree.put("sizes/0.bin", 20, "edited")
    tree.put("sizes/1.bin", 0, "edited")
    tree.put("sizes/16.bin", 15, "edited")
    tree.flip(f"sizes/{2 * MIB - 28}.bin", MIB)
    tree.put(f"sizes/{2 * MIB}.bin", 2 * MIB + 1, "edited")
    tree.put(f"sizes/{2 * MIB + 1}.bin", 1, "edited")
    tree.flip(f"sizes/{5 * MIB}.bin", -1)
    tree.append("مرحبا/ملاحظة.md", "مرحبا\n")
    tree.append(NFD_FILE, "e\u0301\n")
    tree.append("#1 & 'q' + ?x=y.md", "more\n")
    tree.append(CONFIG + "/app.json", "{}\n")
    tree.put("later/new.md", 30)
    tree.copy(f"sizes/{2 * MIB - 1}.bin", "copies/same content.bin")


def rename_file(tree):
    tree.rename("rename me.md", "😀/نام & 100%.md")
    tree.rename("case.md", "cASE.md")
    tree.rename(f"sizes/{5 * MIB}.bin", "large.bin")
    tree.rename("a/b/c/d/e/f/deep.md", "a/shallow.md")
    tree.rename(NFD_FILE, "decomposed/cafe\u0301 2.md")


def rename_folder(tree):
    tree.rename("folder", "ថត/folder #2")
    tree.rename(NFD_FOLDER, "decomposed/nai\u0308f")
    tree.rename("a/b", "a/B")


def delete(tree):
    tree.delete("gone", "100%.md", "long/" + LONG, "sizes/1.bin", "empty/inner", CONFIG + "/plugins/p")


def make_way(tree):
    tree.delete("becomes a folder", "becomes a file", "empty becomes a file", "no suffix")
    tree.rename("picture.JPG", "spare/file")
    tree.rename("مرحبا", "spare/folder")


def change_kind(tree):
    tree.put("becomes a folder/with/content.md", 40)
    tree.put("becomes a file", 40)
    tree.put("empty becomes a file", 0)
    tree.folder("no suffix")
    tree.rename("spare/folder", "picture.JPG")
    tree.rename("spare/file", "مرحبا")


def swap(tree):
    tree.swap("left", "right")
    tree.swap("sizes/12.bin", "sizes/15.bin", "sizes/17.bin")
    tree.swap("side/left", "side/right")
    tree.swap("Case.md", "cASE.md")


def restore(tree):
    tree.put("100%.md", 40)
    tree.put("gone/x.md", 40)
    tree.put(CONFIG + "/plugins/p/main.js", 40)


STEPS = {
    step.__name__.replace("_", "-"): step
    for step in (edit, rename_file, rename_folder, delete, make_way, change_kind, swap, restore)
}

# --- what must be equal ---


def entries(root):
    """Path relative to root → None for a folder, (content's hash, mtime in ns) for a file."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            full = os.path.join(folder, name)
            path = os.path.relpath(full, root)
            if os.path.islink(full):
                found[path] = "a link"
            elif os.path.isdir(full):
                found[path] = None
            else:
                with open(full, "rb") as file:
                    found[path] = (hashlib.sha256(file.read()).hexdigest(), os.stat(full).st_mtime_ns)
    return found


def kept_home(path):
    """What the client never uploads: hidden files, its window layout and names with a backslash."""
    parts = path.split("/")
    if parts[0] == CONFIG:
        parts = parts[1:]
    return path == CONFIG + "/workspace.json" or "\\" in path or any(part.startswith(".") for part in parts)


def in_vault(path):
    """The client composes accents and makes a no-break space a plain one: the vault has these names."""
    return unicodedata.normalize("NFC", path.replace("\u00a0", " "))


def is_config(path):
    return path == CONFIG or path.startswith(CONFIG + "/")


def expected(source):
    """What a vault holds that the client filled from the tree `source`."""
    vault = {}
    for path, entry in entries(source).items():
        # Under the configuration folder a vault has files alone: there are no records of its folders.
        if kept_home(path) or (entry is None and is_config(path)):
            continue
        vault[in_vault(path)] = entry
    for path in [path for path in vault if is_config(path)]:
        while path := os.path.dirname(path):
            vault[path] = None
    return vault


def in_whole_ms(ns):
    """A vault's times have milliseconds."""
    return (ns + 500_000) // 1_000_000 * 1_000_000


def differences(whose, want, have, tolerance_ns):
    for path in sorted(want.keys() | have.keys()):
        if path not in have:
            yield f"{whose}: missing: {path!r}"
        elif path not in want:
            yield f"{whose}: extra: {path!r}"
        elif isinstance(want[path], tuple) != isinstance(have[path], tuple):
            yield f"{whose}: another kind: {path!r}"
        elif isinstance(want[path], tuple):
            if want[path][0] != have[path][0]:
                yield f"{whose}: another content: {path!r}"
            time, time_is = in_whole_ms(want[path][1]), have[path][1]
            if abs(time - time_is) > tolerance_ns:
                yield f"{whose}: another time: {path!r}: {time_is} ns instead of {time} ns"


def compare(source, mirror, device):
    want = expected(source)
    found = list(differences("mirror", want, entries(mirror), 0))
    # The second device makes configuration folders of its own, and refuses names with a colon. It sets times through
    # floating-point numbers, and so up to 1 ms too early.
    of_device = {path: entry for path, entry in entries(device).items() if entry is not None or not is_config(path)}
    for_device = {
        path: entry for path, entry in want.items() if ":" not in path and (entry is not None or not is_config(path))
    }
    found += differences("second device", for_device, of_device, 1_000_000)
    if found:
        sys.exit("\n".join(["the trees differ:", *found]))
    files = sum(isinstance(entry, tuple) for entry in want.values())
    print(f"{files} files and {len(want) - files} folders agree")


def check(report, tree, kind):
    """Whether a run says of itself what it must: `idle` is one that finds nothing to do."""
    with open(report, encoding="utf-8") as file:
        (vault,) = json.load(file)["vaults"]
    files = sum(isinstance(entry, tuple) for entry in expected(tree).values())
    want = {"failed": [], "incomplete": False, "sync_type": "complete" if kind == "complete" else "incremental"}
    if kind == "idle":
        want |= {"downloaded": 0, "copied": 0, "deleted": 0, "bytes": 0, "unchanged": files}
    have = {key: vault[key] for key in want}
    written = vault["downloaded"] + vault["copied"]
    done = {"complete": written == files, "incremental": written + vault["deleted"] > 0, "idle": True}
    if have != want or not done[kind]:
        sys.exit(f"not a good {kind} run of {files} files: {vault}")


def main(command, *args):
    if command == "make":
        make(Tree(args[0], 0))
    elif command == "steps":
        print("\n".join(STEPS))
    elif command == "change":
        STEPS[args[1]](Tree(args[0], 1 + list(STEPS).index(args[1])))
    elif command == "compare":
        compare(*args)
    elif command == "check":
        check(*args)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
