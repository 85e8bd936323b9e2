#!/usr/bin/env python3
"""Checks the include graph and the CMake DEPS of src/ against the layer tables below.

    check_layers.py [--root DIR]   prints violations, exit code 1 if there are any
    check_layers.py --self-test    seeds one violation of each kind and expects a complaint
"""

import argparse
import fnmatch
import pathlib
import re
import sys
import tempfile

LOWER = ["core", "config", "quant", "io", "tensor", "transport", "data", "lora", "models", "train"]
# Module -> modules that it may include besides itself (docs/architecture.md).
LAYERS = {
    "core": [],
    "config": ["core"],
    "quant": ["core"],
    "io": ["core"],
    "tensor": ["core"],
    "transport": ["core"],
    "data": ["core", "io"],
    "tool": ["core", "io", "quant", "transport"],
    "lora": ["core", "io", "quant", "tensor"],
    "models": ["core", "io", "quant", "tensor", "lora"],
    "train": ["core", "io", "quant", "tensor", "data", "lora", "models"],
    "server": LOWER,
    "client": LOWER,
}
# The client runs the server's half in its own process here, and nowhere else.
FILE_EXCEPTIONS = {("client/inproc.cc", "server/endpoint.h")}

# Prefix of an include -> files of src/ that may have it. The first prefix that matches decides.
THIRD_PARTY = [
    (r"torch/(csrc/autograd|nn|optim|torch\.h)", []),  # compute is explicit; autograd is the oracle
    (r"(torch|ATen|c10)/", ["tensor/aten.h", "tensor/*.cc", "lora/*.cc", "models/*.cc", "train/*.cc"]),
    (r"(grpcpp|grpc|google/protobuf)/|.*\.pb\.h$", ["transport/*.cc"]),
    (r"yaml-cpp/", ["config/yaml.cc"]),
    (r"CLI/", ["config/flags.cc", "tool/command_line.cc"]),
    (r"spdlog/", ["core/log.cc"]),
    (r"cuda_runtime\.h$", ["quant/cuda/*.cu"]),
    (r"(stddef|stdint)\.h$", ["quant/c_api/amaq_codec.h"]),  # a header for C
    (r"xxhash\.h$", ["core/digest.cc"]),
    (r"hwy/", ["quant/kernels_rows.h", "quant/kernels_simd.cc", "quant/kernels_tile.h",
               "quant/kernels_words.h", "quant/rans_simd.cc", "quant/symbols_simd.cc"]),
    (r"pcre2\.h$", ["data/regex.h"]),
    (r"nlohmann/json_fwd\.hpp$", ["io/*.h", "io/*.cc", "data/*.h", "data/*.cc"]),  # declarations only
    (r"nlohmann/", [f"{m}/*.cc" for m in ("io", "data", "tool", "lora", "models", "train", "client", "server")]),
]
# Tests that may include autograd and torch/torch.h.
AUTOGRAD_ORACLES: list[str] = []
# The operating system, and the C++ standard library (no dot, no slash).
SYSTEM = r"(pthread|unistd|fcntl|signal|errno|dirent|termios|netdb|sched|poll)\.h$|(sys|netinet|arpa|linux)/"
STANDARD = r"[a-z0-9_]+$"

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
DEPENDENCY = re.compile(r"\bamaq::([a-z]+)\b")


def includes_of(path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def is_allowed(name, include):
    """None if the file src/<name> may have the include, else the reason why not."""
    module, target = name.split("/")[0], include.split("/")[0]
    if target in LAYERS and "/" in include and not include.endswith(".pb.h"):
        if target == module or target in LAYERS[module] or (name, include) in FILE_EXCEPTIONS:
            return None
        return f"{module} may not include {target}"
    for pattern, files in THIRD_PARTY:
        if re.match(pattern, include):
            if any(fnmatch.fnmatch(name, allowed) for allowed in files):
                return None
            return f"only {', '.join(files) or 'tests listed as oracles'} may include this third party"
    if re.match(STANDARD, include) or re.match(SYSTEM, include):
        return None
    return "this include is in no table of scripts/check_layers.py"


def check_sources(root):
    used = {module: set() for module in LAYERS}
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in (".h", ".cc", ".cu"):
            continue
        name = path.relative_to(root / "src").as_posix()
        if name.split("/")[0] not in LAYERS:
            yield f"src/{name}: this module is in no layer"
            continue
        for include in includes_of(path):
            reason = is_allowed(name, include)
            if reason:
                yield f'src/{name}: #include "{include}": {reason}'
            elif include.split("/")[0] in LAYERS and "/" in include:
                used[name.split("/")[0]].add(include.split("/")[0])
    for module, includes in used.items():
        cmake = root / "src" / module / "CMakeLists.txt"
        if not cmake.exists() or "amaq_library(" not in cmake.read_text(encoding="utf-8"):
            continue
        linked = set(DEPENDENCY.findall(cmake.read_text(encoding="utf-8"))) & set(LAYERS)
        exempt = {include.split("/")[0] for file, include in FILE_EXCEPTIONS if file.startswith(module)}
        for other in sorted(includes - linked - {module}):
            yield f"src/{module}/CMakeLists.txt: amaq::{other} is included but not linked"
        for other in sorted(linked - set(LAYERS[module]) - exempt - {module}):
            yield f"src/{module}/CMakeLists.txt: amaq::{other} is linked but not of a lower layer"


def check_tests(root):
    for path in sorted((root / "tests").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        name = path.relative_to(root / "tests").as_posix()
        module = name.split("/")[0]
        for include in includes_of(path):
            target = include.split("/")[0]
            if re.match(THIRD_PARTY[0][0], include) and name not in AUTOGRAD_ORACLES:
                yield f'tests/{name}: #include "{include}": not in AUTOGRAD_ORACLES'
            elif module in LAYERS and target in LAYERS and "/" in include:
                if target not in [module, *LAYERS[module]] and module not in ("server", "client"):
                    yield f'tests/{name}: #include "{include}": tests of {module} may not include {target}'


def check(root):
    return [*check_sources(root), *check_tests(root)]


GOOD = {
    "src/core/log.cc": '#include "core/log.h"\n#include <vector>\n#include <sys/mman.h>\n#include <spdlog/spdlog.h>\n',
    "src/tensor/aten.h": "#include <ATen/core/Tensor.h>\n",
    "src/client/inproc.cc": '#include "server/endpoint.h"\n#include "train/step.h"\n',
    "src/quant/CMakeLists.txt": "amaq_library(NAME quant SRCS a.cc DEPS amaq::core)\n",
    "src/quant/a.cc": '#include "core/error.h"\n',
    "tests/quant/a_test.cc": '#include "quant/a.h"\n#include <gtest/gtest.h>\n',
}
# File, its text, a part of the complaint.
BAD = [
    ("src/quant/b.cc", '#include "io/file.h"', "quant may not include io"),
    ("src/core/b.cc", '#include "config/config.h"', "core may not include config"),
    ("src/transport/b.cc", '  #  include "quant/codec.h"', "transport may not include quant"),
    ("src/client/client.cc", '#include "server/endpoint.h"', "client may not include server"),
    ("src/client/inproc.cc", '#include "server/server.h"', "client may not include server"),
    ("src/quant/b.cc", "#include <ATen/core/Tensor.h>", "third party"),
    ("src/models/b.h", "#include <ATen/core/Tensor.h>", "third party"),
    ("src/models/b.cc", "#include <torch/csrc/autograd/custom_function.h>", "third party"),
    ("src/transport/b.h", '#include "amaq/v1/frame.pb.h"', "third party"),
    ("src/server/b.cc", "#include <grpcpp/grpcpp.h>", "third party"),
    ("src/config/load.h", "#include <yaml-cpp/yaml.h>", "third party"),
    ("src/core/error.cc", "#include <xxhash.h>", "third party"),
    ("src/quant/codec.cc", "#include <hwy/highway.h>", "third party"),
    ("src/data/b.h", "#include <nlohmann/json.hpp>", "third party"),
    ("src/core/b.cc", "#include <boost/asio.hpp>", "in no table"),
    ("src/util/b.cc", "", "in no layer"),
    ("src/quant/CMakeLists.txt", "amaq_library(NAME quant DEPS amaq::io)", "amaq::io is linked but"),
    ("src/quant/CMakeLists.txt", "amaq_library(NAME quant SRCS a.cc)", "amaq::core is included but"),
    ("tests/quant/b_test.cc", '#include "io/file.h"', "tests of quant may not include io"),
    ("tests/models/b_test.cc", "#include <torch/torch.h>", "not in AUTOGRAD_ORACLES"),
]


def self_test():
    def run(files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text + "\n", encoding="utf-8")
            return check(pathlib.Path(folder))

    failures = [f"the good tree is complained about: {line}" for line in run(GOOD)]
    for name, text, expected in BAD:
        found = run({**GOOD, name: text})
        if not any(name in line and expected in line for line in found):
            failures.append(f"{name} with {text!r}: expected {expected!r}, got {found}")
    print("\n".join(failures) or f"check_layers: {len(BAD)} seeded violations found")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent)
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    violations = check(arguments.root)
    print("\n".join(violations) or "check_layers: the include graph matches the layers")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
