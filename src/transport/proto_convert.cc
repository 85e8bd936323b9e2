#include "transport/proto_convert.h"

#include <string>

#include "amaq/v1/split_learning.pb.h"
#include "core/digest.h"

namespace amaq::transport {
namespace {

void ToProto(const QuantRequest& quant, v1::QuantRequest* out) {
  out->set_method(quant.method);
  out->set_wire_dtype(quant.wire_dtype);
  out->set_bits(quant.bits);
  out->set_b_min(quant.b_min);
  out->set_b_max(quant.b_max);
  out->set_b_start(quant.b_start);
  out->set_target_bits(quant.target_bits);
  out->set_range(quant.range);
  out->set_sink_tokens(quant.sink_tokens);
  out->set_gradient_bits(quant.gradient_bits);
  out->set_gradient_bits_offset(quant.gradient_bits_offset);
  out->set_gradient_rounding(quant.gradient_rounding);
  out->set_group_size(quant.group_size);
  out->set_cache_bytes(quant.cache_bytes);
  out->set_entropy(quant.entropy);
  out->set_gradient_target_bits(quant.gradient_target_bits);
  out->set_schedule(quant.schedule);
  out->set_adapt_steps(quant.adapt_steps);
  out->set_range_percentile(quant.range_percentile);
  out->set_axis(quant.axis);
  out->set_positions(quant.positions);
  out->set_range_margin(quant.range_margin);
  out->set_range_max_clipped(quant.range_max_clipped);
  out->set_gradient_method(quant.gradient_method);
  out->set_rd_memory(quant.rd_memory);
}

QuantRequest FromProto(const v1::QuantRequest& in) {
  return {.method = in.method(),
          .wire_dtype = in.wire_dtype(),
          .bits = in.bits(),
          .b_min = in.b_min(),
          .b_max = in.b_max(),
          .b_start = in.b_start(),
          .target_bits = in.target_bits(),
          .range = in.range(),
          .sink_tokens = in.sink_tokens(),
          .gradient_bits = in.gradient_bits(),
          .gradient_bits_offset = in.gradient_bits_offset(),
          .gradient_rounding = in.gradient_rounding(),
          .group_size = in.group_size(),
          .cache_bytes = in.cache_bytes(),
          .entropy = in.entropy(),
          .gradient_target_bits = in.gradient_target_bits(),
          .schedule = in.schedule(),
          .adapt_steps = in.adapt_steps(),
          .range_percentile = in.range_percentile(),
          .axis = in.axis(),
          .positions = in.positions(),
          .range_margin = in.range_margin(),
          .range_max_clipped = in.range_max_clipped(),
          .gradient_method = in.gradient_method(),
          .rd_memory = in.rd_memory()};
}

void ToProto(const LoraRequest& lora, v1::LoraRequest* out) {
  out->set_r(lora.r);
  out->set_alpha(lora.alpha);
  out->set_dropout(lora.dropout);
  out->set_use_rslora(lora.use_rslora);
  for (const std::string& name : lora.target_modules) out->add_target_modules(name);
}

LoraRequest FromProto(const v1::LoraRequest& in) {
  return {.r = in.r(),
          .alpha = in.alpha(),
          .dropout = in.dropout(),
          .use_rslora = in.use_rslora(),
          .target_modules = {in.target_modules().begin(), in.target_modules().end()}};
}

}  // namespace

void ToProto(const OpenRequest& request, v1::OpenRequest* out) {
  out->set_protocol_min(request.protocol_min);
  out->set_protocol_max(request.protocol_max);
  out->set_run_id(request.run_id);
  out->set_client_version(request.client_version);
  out->mutable_model()->set_config(request.model.config);
  out->mutable_model()->set_tensor_index(request.model.tensor_index);
  out->mutable_model()->set_boundary(request.model.boundary);
  out->set_client_blocks(request.client_blocks);
  out->set_compute_dtype(request.compute_dtype);
  ToProto(request.quant, out->mutable_quant());
  ToProto(request.lora, out->mutable_lora());
  out->mutable_optimizer()->set_beta1(request.optimizer.beta1);
  out->mutable_optimizer()->set_beta2(request.optimizer.beta2);
  out->mutable_optimizer()->set_eps(request.optimizer.eps);
  out->mutable_optimizer()->set_weight_decay(request.optimizer.weight_decay);
  out->set_memory_policy(request.memory_policy);
  out->set_seed(request.seed);
  out->set_max_tokens(request.max_tokens);
  out->set_in_flight(request.in_flight);
}

OpenRequest FromProto(const v1::OpenRequest& in) {
  return {.protocol_min = in.protocol_min(),
          .protocol_max = in.protocol_max(),
          .run_id = in.run_id(),
          .client_version = in.client_version(),
          .model = {.config = in.model().config(),
                    .tensor_index = in.model().tensor_index(),
                    .boundary = in.model().boundary()},
          .client_blocks = in.client_blocks(),
          .compute_dtype = in.compute_dtype(),
          .quant = FromProto(in.quant()),
          .lora = FromProto(in.lora()),
          .optimizer = {.beta1 = in.optimizer().beta1(),
                        .beta2 = in.optimizer().beta2(),
                        .eps = in.optimizer().eps(),
                        .weight_decay = in.optimizer().weight_decay()},
          .memory_policy = in.memory_policy(),
          .seed = in.seed(),
          .max_tokens = in.max_tokens(),
          .in_flight = in.in_flight()};
}

void ToProto(const OpenReply& reply, v1::OpenReply* out) {
  out->set_protocol(reply.protocol);
  out->set_session_id(reply.session_id);
  out->set_epoch(reply.epoch);
  out->set_server_version(reply.server_version);
  out->set_max_tokens(reply.max_tokens);
  out->set_max_in_flight(reply.max_in_flight);
  out->set_committed_steps(reply.committed_steps);
  out->set_fetch_adapter_allowed(reply.fetch_adapter_allowed);
  out->set_trained_parameters(reply.trained_parameters);
}

OpenReply FromProto(const v1::OpenReply& in) {
  return {.protocol = in.protocol(),
          .session_id = in.session_id(),
          .epoch = in.epoch(),
          .server_version = in.server_version(),
          .max_tokens = in.max_tokens(),
          .max_in_flight = in.max_in_flight(),
          .committed_steps = in.committed_steps(),
          .fetch_adapter_allowed = in.fetch_adapter_allowed(),
          .trained_parameters = in.trained_parameters()};
}

uint64_t UnderstoodDigest(const OpenRequest& request) {
  v1::OpenRequest proto;
  ToProto(request, &proto);
  const std::string text = proto.SerializeAsString();
  return Digest({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace amaq::transport
