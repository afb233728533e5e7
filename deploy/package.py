#!/usr/bin/env python3
"""The Lambda function's package: makes it, and checks that Lambda can run it.

    package.py zip BINARY ZIP
    package.py check x86_64|arm64 BINARY ZIP
"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

# What the image of provided.al2023 has.
GLIBC = (2, 34)
LIBRARIES = re.compile(r"(libc|libm|libdl|libpthread|librt)\.so\.\d+|libgcc_s\.so\.1|ld-linux-[\w-]+\.so\.\d+")

# Of issue 3. A cold start fetches it.
MOST_BYTES = 5 * 1024 * 1024

MACHINES = {"x86_64": "X86-64", "arm64": "AArch64"}


def make(binary, package):
    """The same binary gives the same package: no time, no owner."""
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, whose modes count
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(entry, Path(binary).read_bytes(), compresslevel=9)
    sizes = f"{Path(binary).stat().st_size:,} bytes, zipped {Path(package).stat().st_size:,}"
    print(f"{package}: {sizes}")


def readelf(binary, *options):
    command = ["readelf", "--wide", *options, binary]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}).stdout


def faults_of_binary(arch, binary):
    machine = re.search(r"Machine:\s+(.*)", readelf(binary, "--file-header")).group(1)
    if MACHINES[arch] not in machine:
        yield f"it is for {machine}, not for {arch}"
    needs = readelf(binary, "--version-info")
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"Name: GLIBC_([\d.]+)", needs)}
    newer = sorted(version for version in versions if version > GLIBC)
    if newer:
        names = ", ".join("GLIBC_" + ".".join(map(str, version)) for version in newer)
        yield f"it needs {names}, and Lambda has 2.34; build it on Debian 12, Amazon Linux 2023 or older"
    if not versions:
        yield "readelf shows no version of glibc that it needs"
    for library in re.findall(r"\(NEEDED\).*\[(.*)\]", readelf(binary, "--dynamic")):
        if not LIBRARIES.fullmatch(library):
            yield f"it needs {library}, which Lambda does not have"


def faults_of_package(binary, package):
    size = Path(package).stat().st_size
    if size > MOST_BYTES:
        yield f"it has {size:,} bytes, more than {MOST_BYTES:,}"
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        if names != ["bootstrap"]:
            yield f"it holds {names}, not bootstrap alone"
            return
        entry = archive.getinfo("bootstrap")
        if (entry.external_attr >> 16) & 0o111 != 0o111:
            yield "its bootstrap is not executable"
        if archive.read(entry) != Path(binary).read_bytes():
            yield f"its bootstrap is not {binary}"


def check(arch, binary, package):
    faults = [f"{binary}: {fault}" for fault in faults_of_binary(arch, binary)]
    faults += [f"{package}: {fault}" for fault in faults_of_package(binary, package)]
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{package}: {Path(package).stat().st_size:,} bytes, runs on provided.al2023 ({arch})")


def main():
    match sys.argv[1:]:
        case ["zip", binary, package]:
            make(binary, package)
        case ["check", arch, binary, package] if arch in MACHINES:
            missing = [path for path in (binary, package) if not Path(path).is_file()]
            if missing:
                sys.exit(f"{missing[0]} is not there: make build-lambda first")
            check(arch, binary, package)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
