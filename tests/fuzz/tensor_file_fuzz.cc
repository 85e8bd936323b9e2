// Tensor files: headers of .npy, .safetensors and GGUF, and every element that they describe.

#include <vector>

#include "io/gguf.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "tests/fuzz/fuzz.h"

namespace {

void ReadAll(const amaq::io::TensorSource& source) {
  for (const amaq::io::TensorInfo& info : source.tensors()) {
    if (info.num_elements > (1 << 16)) continue;  // of no bytes, or a corpus that grew large
    std::vector<float> out(info.num_elements);
    amaq::fuzz::CodeOf([&] { source.ReadF32(info.name, out); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const amaq::ByteSpan bytes(data, size);
  amaq::fuzz::CodeOf([&] { ReadAll(*amaq::io::NpyFile::FromBytes(bytes, "x")); });
  amaq::fuzz::CodeOf([&] { ReadAll(*amaq::io::SafetensorsFile::FromBytes(bytes, "x")); });
  amaq::fuzz::CodeOf([&] { ReadAll(*amaq::io::GgufFile::FromBytes(bytes, "x")); });
  return 0;
}
