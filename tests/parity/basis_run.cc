// Fits a basis for basis_parity.py: amaq_basis_run ROWS.npy EXPECTED_ROWS OUT.npy writes B [H, H]
// as the receiver of its sections has it.

#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "io/file.h"
#include "io/npy.h"
#include "tensor/bridge.h"
#include "train/basis.h"

namespace {

void Fit(const std::string& rows_path, const std::string& expected_rows,
         const std::string& out_path) {
  const auto file = amaq::io::NpyFile::Open(rows_path);
  const amaq::io::TensorInfo& info = file->Get(amaq::io::kNpyTensor);
  at::Tensor x = amaq::tensor::EmptyFloats(info.shape.at(0), info.shape.at(1));
  file->ReadF32(amaq::io::kNpyTensor, amaq::tensor::Floats(x));
  amaq::train::Moments moments(x.size(1));
  const std::vector<uint32_t> sinks = {0};
  moments.Add(x, sinks);
  const amaq::train::Basis sent =
      amaq::train::FitBasis(amaq::train::Transform::kEigen, moments, std::stoull(expected_rows));
  const at::Tensor b =
      amaq::train::ReadBasis(amaq::train::WriteBasis(sent), x.size(1)).Matrix().contiguous();
  const int64_t shape[] = {b.size(0), b.size(1)};
  amaq::io::WriteFileAtomically(out_path, amaq::io::SerializeNpy(shape, amaq::tensor::Floats(b)));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return EXIT_FAILURE;
  try {
    Fit(argv[1], argv[2], argv[3]);
  } catch (const amaq::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
