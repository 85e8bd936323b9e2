#include "lora/init.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "tensor/bridge.h"

namespace amaq::lora {

double LoraOptions::Scale() const {
  const auto rank = static_cast<double>(r);
  return alpha / (use_rslora ? std::sqrt(rank) : rank);
}

const std::vector<std::string>& LinearModules() {
  static const std::vector<std::string> names = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                 "gate_proj", "up_proj", "down_proj"};
  return names;
}

std::vector<std::string> ResolveTargets(const std::vector<std::string>& names) {
  const std::vector<std::string>& known = LinearModules();
  std::vector<std::string> resolved;
  for (const std::string& name : names) {
    if (name == "all-linear") {
      resolved.insert(resolved.end(), known.begin(), known.end());
    } else if (std::find(known.begin(), known.end(), name) != known.end()) {
      resolved.push_back(name);
    } else {
      Throw(Code::kInvalidArgument, "lora.target_modules names '", name,
            "'; a block has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj, "
            "or say all-linear");
    }
  }
  if (resolved.empty()) Throw(Code::kInvalidArgument, "lora.target_modules names no module");
  std::sort(resolved.begin(), resolved.end());
  resolved.erase(std::unique(resolved.begin(), resolved.end()), resolved.end());
  return resolved;
}

LowRank FreshAdapter(const std::string& name, int64_t in, int64_t out, const LoraOptions& options,
                     at::ScalarType type, at::Device device) {
  // Kaiming-uniform with a = sqrt(5): bound = sqrt(6 / ((1 + 5) * fan_in)) = 1 / sqrt(in).
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  at::Tensor a =
      tensor::UniformTensor(options.r, in, bound, NamedKey(options.seed, name), device).to(type);
  at::Tensor b = at::zeros({out, options.r}, a.options());
  return LowRank(name, std::move(a), std::move(b), options.Scale());
}

}  // namespace amaq::lora
