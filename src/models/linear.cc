#include "models/linear.h"

#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include <optional>
#include <string_view>

namespace amaq::models {
namespace {

using OneDnnLinear = at::Tensor(const at::Tensor& x, const at::Tensor& weight,
                                const std::optional<at::Tensor>& bias, std::string_view attribute,
                                c10::List<std::optional<at::Scalar>> scalars,
                                std::optional<std::string_view> algorithm);

// LibTorch's operator over oneDNN; nullopt in a LibTorch that was built without it.
const std::optional<c10::TypedOperatorHandle<OneDnnLinear>>& FindOneDnnLinear() {
  static const auto found = []() -> std::optional<c10::TypedOperatorHandle<OneDnnLinear>> {
    const auto handle = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!handle || !handle->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
    return handle->typed<OneDnnLinear>();
  }();
  return found;
}

bool SuitsOneDnn(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.size(0) > 0 && FindOneDnnLinear();
}

at::Tensor OneDnnProduct(const at::Tensor& x, const at::Tensor& weight) {
  const c10::List<std::optional<at::Scalar>> no_scalars;
  return FindOneDnnLinear()->call(x, weight, std::nullopt, "none", no_scalars, "");
}

}  // namespace

at::Tensor LinearForward(const at::Tensor& x, const at::Tensor& weight) {
  return SuitsOneDnn(x) ? OneDnnProduct(x, weight) : at::linear(x, weight);
}

at::Tensor LinearBackward(const at::Tensor& grad, const at::Tensor& weight) {
  return SuitsOneDnn(grad) ? OneDnnProduct(grad, weight.t()) : at::mm(grad, weight);
}

}  // namespace amaq::models
