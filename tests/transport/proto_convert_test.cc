#include "transport/proto_convert.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include "amaq/v1/split_learning.pb.h"

namespace amaq::transport {
namespace {

OpenRequest Sample() {
  OpenRequest request;
  request.protocol_min = 2;
  request.protocol_max = 3;
  request.run_id = "run-1";
  request.client_version = "0.1.0";
  request.model = {.config = "llama", .tensor_index = 0xfedcba9876543210, .boundary = 7};
  request.client_blocks = 10;
  request.compute_dtype = "bf16";
  request.quant = {.method = "amaq",
                   .wire_dtype = "fp16",
                   .bits = 5,
                   .b_min = 1,
                   .b_max = 7,
                   .b_start = 6.5,
                   .target_bits = 3.5,
                   .range = "mse",
                   .sink_tokens = 2,
                   .gradient_bits = "4",
                   .gradient_bits_offset = -1,
                   .gradient_rounding = "nearest",
                   .group_size = 32,
                   .cache_bytes = 4096,
                   .entropy = "on",
                   .gradient_target_bits = 2.5,
                   .schedule = "linear",
                   .adapt_steps = 9,
                   .range_percentile = 98,
                   .axis = "token",
                   .positions = 512,
                   .range_margin = 2,
                   .range_max_clipped = 0.5,
                   .gradient_method = "rd",
                   .rd_memory = true};
  request.lora = {.r = 4,
                  .alpha = 32,
                  .dropout = 0.5,
                  .use_rslora = true,
                  .target_modules = {"q_proj", "v_proj"}};
  request.optimizer = {.beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6, .weight_decay = 0.1};
  request.memory_policy = "lean";
  request.seed = 42;
  request.max_tokens = 640;
  request.in_flight = 3;
  return request;
}

// A field that nobody converts would be at its default here.
void ExpectEveryFieldIsSet(const google::protobuf::Message& message) {
  const auto* descriptor = message.GetDescriptor();
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    const bool is_set = field->is_repeated() ? reflection->FieldSize(message, field) > 0
                                             : reflection->HasField(message, field);
    EXPECT_TRUE(is_set) << field->full_name();
    if (is_set && !field->is_repeated() && field->message_type() != nullptr) {
      ExpectEveryFieldIsSet(reflection->GetMessage(message, field));
    }
  }
}

TEST(ProtoConvertTest, EveryFieldOfARequestCrosses) {
  v1::OpenRequest proto;
  ToProto(Sample(), &proto);
  ExpectEveryFieldIsSet(proto);

  v1::OpenRequest again;
  ToProto(FromProto(proto), &again);

  EXPECT_EQ(again.SerializeAsString(), proto.SerializeAsString());
  EXPECT_EQ(FromProto(proto).quant.gradient_bits_offset, -1);
  EXPECT_EQ(FromProto(proto).model, Sample().model);
}

TEST(ProtoConvertTest, EveryFieldOfAReplyCrosses) {
  OpenReply reply;
  reply.protocol = 1;
  reply.session_id = "abc";
  reply.epoch = 2;
  reply.server_version = "0.1.0";
  reply.max_tokens = 4;
  reply.max_in_flight = 5;
  reply.committed_steps = 6;
  reply.trained_parameters = 7;
  v1::OpenReply proto;
  ToProto(reply, &proto);
  proto.set_understood(8);
  ExpectEveryFieldIsSet(proto);

  v1::OpenReply again;
  ToProto(FromProto(proto), &again);
  again.set_understood(8);

  EXPECT_EQ(again.SerializeAsString(), proto.SerializeAsString());
}

TEST(ProtoConvertTest, DigestOfARequestSeesEveryChange) {
  OpenRequest request = Sample();
  EXPECT_EQ(UnderstoodDigest(request), UnderstoodDigest(Sample()));

  request.lora.target_modules[1] = "k_proj";

  EXPECT_NE(UnderstoodDigest(request), UnderstoodDigest(Sample()));
}

}  // namespace
}  // namespace amaq::transport
