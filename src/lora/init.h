#ifndef AMAQ_LORA_INIT_H_
#define AMAQ_LORA_INIT_H_

// What is adapted and how a fresh adapter starts. Value types and pure functions.
// Source: PEFT's conventions (A Kaiming-uniform with a = sqrt(5), B zero, scale alpha / r or
// alpha / sqrt(r)); the counter-based generator is ours, so that the cut does not change A.

#include <cstdint>
#include <string>
#include <vector>

#include "lora/low_rank.h"

namespace amaq::lora {

struct LoraOptions {
  int64_t r = 8;
  double alpha = 16;
  double dropout = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;  // leaf names, resolved and sorted
  uint64_t seed = 0;
  double Scale() const;
};

// The seven linear layers of a Llama block, by leaf name, in the order of the forward pass.
const std::vector<std::string>& LinearModules();

// "all-linear" becomes every name of LinearModules(); the result is sorted and free of doubles.
// Errors: kInvalidArgument naming a module that does not exist and those that do.
std::vector<std::string> ResolveTargets(const std::vector<std::string>& names);

// A [r, in] uniform in +-1/sqrt(in) keyed by (seed, name), B [out, r] zero, of scalar type `type`.
LowRank FreshAdapter(const std::string& name, int64_t in, int64_t out, const LoraOptions& options,
                     at::ScalarType type, at::Device device);

}  // namespace amaq::lora

#endif  // AMAQ_LORA_INIT_H_
