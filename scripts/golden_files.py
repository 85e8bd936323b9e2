"""What the scripts that make golden files share: write them with their checksums, or compare."""

import argparse
import hashlib
import sys


def write_or_check(description, folder, files):
    """Writes (name, bytes) pairs and their sums, or compares with --check; the exit status."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check

    folder.mkdir(parents=True, exist_ok=True)
    sums, unequal = "", []
    for name, data in files:
        path = folder / name
        sums += f"{hashlib.sha256(data).hexdigest()}  {path.name}\n"
        if not check:
            path.write_bytes(data)
        elif not path.exists() or path.read_bytes() != data:
            unequal.append(path.name)
    if not check:
        (folder / "SHA256SUMS").write_text(sums)
    for name in unequal:
        print(f"{folder / name} differs from what this script makes", file=sys.stderr)
    return 1 if unequal else 0
