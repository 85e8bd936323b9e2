#include "server/endpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "core/digest.h"
#include "lora/peft_adapter.h"
#include "tests/support/errors.h"
#include "tests/support/server_session.h"
#include "tests/support/tiny_hf_model.h"
#include "train/cut.h"

namespace amaq::server {
namespace {

using test::RequestOf;
using test::TinyRun;
using transport::OpenReply;
using transport::OpenRequest;

class EndpointTest : public ::testing::Test {
 protected:
  EndpointTest() : run_("endpoint"), request_(RequestOf(run_)) {}

  void ExpectRefused(const std::function<void(OpenRequest&)>& change, Code code,
                     const std::vector<std::string>& texts) const {
    ExpectRefused(run_.server, change, code, texts);
  }
  void ExpectRefused(const config::ServerFileConfig& config,
                     const std::function<void(OpenRequest&)>& change, Code code,
                     const std::vector<std::string>& texts) const {
    const auto endpoint = MakeEndpoint(config);
    OpenRequest request = request_;
    change(request);
    for (const std::string& text : texts) EXPECT_THROWS(endpoint->Open(request), code, text);
  }

  TinyRun run_;
  const OpenRequest request_;
};

TEST_F(EndpointTest, OpenGrantsWhatIsWithinTheLimits) {
  const auto endpoint = MakeEndpoint(run_.server);

  const OpenReply reply = endpoint->Open(request_);

  EXPECT_EQ(reply.session_id.size(), 32u);
  EXPECT_EQ(reply.session_id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(reply.epoch, 1u);
  EXPECT_EQ(reply.max_tokens, 64u);
  EXPECT_EQ(reply.max_in_flight, 2u);
  EXPECT_EQ(reply.committed_steps, 0u);
  EXPECT_TRUE(reply.fetch_adapter_allowed);
  // r (in + out) of q, k, v, o, gate, up and down, in two blocks.
  EXPECT_EQ(reply.trained_parameters, 2u * 4 * (64 + 48 + 48 + 64 + 80 + 80 + 80));
}

struct Limit {
  std::function<void(config::LimitsConfig&)> set;
  std::function<void(OpenRequest&)> ask;
  std::vector<std::string> texts;
};

TEST_F(EndpointTest, EveryLimitIsRefusedNamingBothValuesAndWhereEachIsSet) {
  const std::vector<Limit> limits = {
      {[](auto& l) {
         l.methods = {"none", "fixed"};
       },
       [](auto& r) { r.quant.method = "amaq"; },
       {"quant.method is 'amaq' at the client", "limits.methods of the server allows none, fixed"}},
      {[](auto& l) { l.dtypes = {"bf16"}; },
       [](auto& r) { r.compute_dtype = "fp32"; },
       {"model.dtype is 'fp32' at the client", "limits.dtypes of the server allows bf16"}},
      {[](auto& l) { l.max_rank = 7; },
       [](auto& r) { r.lora.r = 8; },
       {"lora.r is 8 at the client", "limits.max_rank of the server is 7"}},
      {[](auto& l) { l.min_client_blocks = 3; },
       [](auto&) {},
       {"split.client_blocks is 2 at the client", "limits.min_client_blocks of the server is 3"}},
      {[](auto& l) { l.max_tokens = 63; },
       [](auto&) {},
       {"up to 64 tokens (data.max_length times train.per_device_train_batch_size)",
        "limits.max_tokens of the server is 63"}},
      {[](auto& l) { l.max_in_flight = 1; },
       [](auto&) {},
       {"train.in_flight is 2 at the client", "limits.max_in_flight of the server is 1"}},
      {[](auto& l) { l.max_cache_bytes = 4095; },
       [](auto& r) {
         r.quant.method = "aqsgd";
         r.quant.cache_bytes = 4096;
       },
       {"quant.cache_bytes is 4096 at the client", "limits.max_cache_bytes of the server is 4095"}},
      {[](auto& l) { l.max_coder_bytes = 1'000'000; },
       [](auto& r) { r.quant.method = "amaq-rd", r.quant.gradient_method = "rd"; },
       {"quant.method and quant.gradient.method of the client need up to ",
        "limits.max_coder_bytes of the server is 1000000"}},
      {[](auto& l) { l.max_coder_bytes = 1'000'000; },
       [](auto& r) { r.quant.gradient_method = "rd"; },
       {"limits.max_coder_bytes of the server is 1000000"}},
      {[](auto& l) {
         l.methods = {"none", "fixed"};
       },
       [](auto& r) { r.quant.gradient_method = "rd"; },
       {"quant.gradient.method is 'rd' at the client",
        "limits.methods of the server allows none, fixed, without amaq-rd"}},
  };
  for (const Limit& limit : limits) {
    config::ServerFileConfig config = run_.server;
    limit.set(config.limits);

    ExpectRefused(config, limit.ask, Code::kFailedPrecondition, limit.texts);
  }
}

TEST_F(EndpointTest, AMemoryOfRowsCountsWhereItIsAskedFor) {
  config::ServerFileConfig config = run_.server;
  config.limits.max_coder_bytes = 3 << 20;
  const auto ask = [](bool remembers) {
    return [remembers](auto& r) { r.quant.method = "amaq-rd", r.quant.rd_memory = remembers; };
  };
  ExpectRefused(config, ask(true), Code::kFailedPrecondition, {"limits.max_coder_bytes"});
  OpenRequest request = request_;
  ask(false)(request);
  EXPECT_NO_THROW(MakeEndpoint(config)->Open(request));
}

TEST_F(EndpointTest, TheDefaultLimitOfCodersAdmitsLargeModels) {
  train::CutOptions options;
  options.method = quant::Method::kAmaqRd;
  options.gradient_rate = 1;
  EXPECT_LT(train::CoderBytes(options, 8192), config::LimitsConfig().max_coder_bytes);
}

TEST_F(EndpointTest, ValuesAtTheLimitAreGranted) {
  config::ServerFileConfig config = run_.server;
  config.limits.max_rank = 4;
  config.limits.min_client_blocks = 2;
  config.limits.max_tokens = 64;
  config.limits.max_in_flight = 2;
  config.limits.methods = {"none"};
  config.limits.max_coder_bytes = 0;
  config.limits.dtypes = {"fp32"};

  EXPECT_EQ(MakeEndpoint(config)->Open(request_).max_tokens, 64u);
}

TEST_F(EndpointTest, ProtocolsThatDoNotMeetAreRefused) {
  ExpectRefused([](auto& r) { r.protocol_min = 2, r.protocol_max = 3; }, Code::kFailedPrecondition,
                {"protocol 2 to 3", "this server 1"});
  ExpectRefused([](auto& r) { r.protocol_min = 0, r.protocol_max = 0; }, Code::kFailedPrecondition,
                {"protocol 0 to 0"});
}

TEST_F(EndpointTest, RunNamesAreOfAFewCharactersAndNeverHidden) {
  for (const std::string& name :
       {std::string(), std::string(".x"), std::string("a/b"), std::string("a\nb"),
        std::string(65, 'a'), std::string("a\0b", 3), std::string("\xc3\xa9")}) {
    ExpectRefused([&](auto& r) { r.run_id = name; }, Code::kInvalidArgument, {"a run id has"});
  }
  const auto endpoint = MakeEndpoint(run_.server);
  OpenRequest request = request_;
  request.run_id = "-A.z_9" + std::string(58, '0');
  EXPECT_NO_THROW(endpoint->Open(request));
}

TEST_F(EndpointTest, AnotherShapeOfModelIsRefusedWithBoth) {
  const std::string theirs = "llama blocks=5 hidden=32";
  ExpectRefused([&](auto& r) { r.model.config = theirs; }, Code::kFailedPrecondition,
                {theirs, request_.model.config, "model.model_name_or_path"});
}

TEST_F(EndpointTest, AnotherModelOfTheSameShapeIsRefusedWithBothFingerprints) {
  ExpectRefused([](auto& r) { r.model.boundary ^= 1; }, Code::kFailedPrecondition,
                {Hex(request_.model.boundary), Hex(request_.model.boundary ^ 1),
                 Hex(request_.model.tensor_index), "model.allow_mixed_formats"});
  ExpectRefused([](auto& r) { r.model.tensor_index ^= 1; }, Code::kFailedPrecondition,
                {Hex(request_.model.tensor_index), Hex(request_.model.tensor_index ^ 1)});
}

TEST_F(EndpointTest, AnotherFormatIsLetInByTheServersConfigOnly) {
  const models::ModelSpec spec = test::TinyFileSpec();
  config::ServerFileConfig config = run_.server;
  config.model.model_name_or_path = run_.Path("model.gguf");
  WriteGgufModel(config.model.model_name_or_path, spec, test::TinyTensors(spec));

  ExpectRefused(config, [](auto&) {}, Code::kFailedPrecondition, {"another format of it"});
  config.model.allow_mixed_formats = true;
  EXPECT_NO_THROW(MakeEndpoint(config)->Open(request_));
  ExpectRefused(config, [](auto& r) { r.model.config += "x"; }, Code::kFailedPrecondition,
                {"another model"});
}

TEST_F(EndpointTest, ACutOutsideTheModelIsRefused) {
  ExpectRefused([](auto& r) { r.client_blocks = 0; }, Code::kInvalidArgument,
                {"split.client_blocks must be in [1, 3]", "4 blocks", "got 0"});
  ExpectRefused([](auto& r) { r.client_blocks = 4; }, Code::kInvalidArgument, {"got 4"});
  ExpectRefused([](auto& r) { r.client_blocks = 0xffffffffu; }, Code::kInvalidArgument,
                {"got 4294967295"});
}

TEST_F(EndpointTest, OptionsOutsideTheProtocolAreRefusedByName) {
  const auto refused = [this](const std::function<void(OpenRequest&)>& change,
                              const std::string& text) {
    ExpectRefused(change, Code::kFailedPrecondition, {text});
  };
  refused([](auto& r) { r.quant.method = "magic"; }, "quant.method");
  refused([](auto& r) { r.quant.wire_dtype = "fp64"; }, "wire.dtype 'fp64'");
  refused([](auto& r) { r.quant.wire_dtype = "int8"; }, "wire.dtype 'int8'");
  refused([](auto& r) { r.quant.range = "median"; }, "quant.range 'median'");
  refused([](auto& r) { r.quant.range_percentile = 0; }, "quant.range_percentile is 0");
  refused([](auto& r) { r.quant.range_margin = 0.9; }, "quant.range_margin is 0.9");
  refused([](auto& r) { r.quant.range_margin = 101; }, "quant.range_margin is 101");
  refused([](auto& r) { r.quant.range_max_clipped = -0.5; }, "quant.range_max_clipped is -0.5");
  refused([](auto& r) { r.quant.range_max_clipped = 2; }, "quant.range_max_clipped is 2");
  refused([](auto& r) { r.quant.gradient_bits = "own", r.quant.schedule = "x"; },
          "quant.schedule 'x'");
  refused([](auto& r) { r.quant.sink_tokens = 2; }, "quant.sink_tokens is 2");
  refused([](auto& r) { r.quant.group_size = 24; }, "quant.group_size is 24");
  refused([](auto& r) { r.quant.group_size = 136; }, "quant.group_size is 136");
  for (const char* method : {"group", "tahquant", "amaq-rd"}) {
    refused([method](auto& r) { r.quant.method = method, r.quant.gradient_bits = "own"; },
            "quant.gradient.bits is own");
  }
  refused([](auto& r) { r.quant.method = "aqsgd", r.quant.cache_bytes = 0; },
          "quant.cache_bytes is 0");
  for (const char* bits : {"1", "9", "", "33", "x"}) {
    refused([bits](auto& r) { r.quant.gradient_bits = bits; }, "quant.gradient.bits");
  }
  refused([](auto& r) { r.quant.axis = "head"; }, "quant.axis 'head'");
  const auto token = [&refused](const std::function<void(OpenRequest&)>& change,
                                const std::string& text) {
    refused(
        [&change](OpenRequest& r) {
          r.quant.method = "amaq", r.quant.axis = "token", r.quant.positions = 64;
          change(r);
        },
        text);
  };
  token([](auto& r) { r.quant.method = "none"; }, "does not go with quant.method 'none'");
  token([](auto& r) { r.quant.method = "group"; }, "does not go with quant.method 'group'");
  token([](auto& r) { r.quant.range = "delayed"; }, "does not go with quant.range 'delayed'");
  token([](auto& r) { r.quant.gradient_bits = "own"; }, "quant.gradient.bits 'own'");
  token([](auto& r) { r.quant.gradient_method = "rd"; }, "quant.gradient.method 'rd'");
  token([](auto& r) { r.quant.entropy = "on"; }, "does not go with wire.entropy 'on'");
  token([](auto& r) { r.quant.positions = 0; }, "has 0 positions (data.max_length)");
  token([](auto& r) { r.quant.positions = 16385; }, "limits.max_tokens of the server is 16384");
  refused([](auto& r) { r.quant.gradient_bits_offset = 7; }, "quant.gradient.bits_offset is 7");
  refused([](auto& r) { r.quant.gradient_bits_offset = -7; }, "quant.gradient.bits_offset is -7");
  refused([](auto& r) { r.quant.gradient_rounding = "up"; }, "quant.gradient.rounding 'up'");
  refused([](auto& r) { r.quant.gradient_method = "zip"; }, "quant.gradient.method 'zip'");
  refused([](auto& r) { r.quant.gradient_method = "rd", r.quant.gradient_bits = "4"; },
          "quant.gradient.method is rd at the client, with quant.gradient.bits '4'");
  refused([](auto& r) { r.quant.gradient_method = "rd", r.quant.gradient_bits_offset = 1; },
          "bits_offset 1");
  for (const double rate : {0.01, 9.0, std::nan("")}) {
    refused(
        [rate](auto& r) { r.quant.gradient_method = "rd", r.quant.gradient_target_bits = rate; },
        "quant.gradient.target_bits is");
  }
  refused([](auto& r) { r.quant.entropy = "zip"; }, "wire.entropy 'zip'");
  refused([](auto& r) { r.memory_policy = "none"; }, "train.memory 'none'");
  refused([](auto& r) { r.compute_dtype = "fp64"; }, "model.dtype");
  refused([](auto& r) { r.lora.r = 0; }, "lora.r is 0");
  refused([](auto& r) { r.max_tokens = 0; }, "up to 0 tokens");
  refused([](auto& r) { r.in_flight = 0; }, "train.in_flight is 0");
}

TEST_F(EndpointTest, NumbersThatCannotTrainAreRefusedByName) {
  const auto refused = [this](const std::function<void(OpenRequest&)>& change,
                              const std::string& text) {
    ExpectRefused(change, Code::kFailedPrecondition, {text, "at the client"});
  };
  for (const double value : {std::nan(""), -0.1, 1.0, 1e300}) {
    refused([value](auto& r) { r.lora.dropout = value; }, "lora.lora_dropout is");
    refused([value](auto& r) { r.optimizer.beta1 = value; }, "train.adam_beta1 is");
    refused([value](auto& r) { r.optimizer.beta2 = value; }, "train.adam_beta2 is");
  }
  for (const double value : {std::nan(""), -1.0, std::numeric_limits<double>::infinity()}) {
    refused([value](auto& r) { r.optimizer.eps = value; }, "train.adam_epsilon is");
    refused([value](auto& r) { r.optimizer.weight_decay = value; }, "train.weight_decay is");
    refused([value](auto& r) { r.lora.alpha = value; }, "lora.lora_alpha is");
  }
}

TEST_F(EndpointTest, TargetModulesThatDoNotExistAreRefused) {
  ExpectRefused([](auto& r) { r.lora.target_modules = {"c_attn"}; }, Code::kInvalidArgument,
                {"c_attn"});
  ExpectRefused([](auto& r) { r.lora.target_modules.clear(); }, Code::kInvalidArgument,
                {"lora.target_modules"});
}

TEST_F(EndpointTest, OneSessionTooManyIsRefusedUntilOneIsClosed) {
  config::ServerFileConfig config = run_.server;
  config.limits.max_sessions = 2;
  const auto endpoint = MakeEndpoint(config);
  const OpenReply first = endpoint->Open(request_);
  const OpenReply second = endpoint->Open(request_);
  EXPECT_NE(first.session_id, second.session_id);

  EXPECT_THROWS(endpoint->Open(request_), Code::kResourceExhausted,
                "2 sessions open, limits.max_sessions is 2");

  endpoint->Close(first.session_id);
  EXPECT_NO_THROW(endpoint->Open(request_));
}

TEST_F(EndpointTest, AHalfThatCannotBeLoadedLeavesItsPlace) {
  test::StoredTensors tensors = test::TinyTensors(test::TinyFileSpec());
  tensors.erase("model.norm.weight");
  test::WriteHfModel(run_.Path("broken"), test::HfConfig(test::TinyFileSpec()), tensors);
  run_.client.model.model_name_or_path = run_.Path("broken");
  const OpenRequest request = RequestOf(run_);
  config::ServerFileConfig config = run_.server;
  config.model.model_name_or_path = run_.Path("broken");
  config.limits.max_sessions = 1;
  const auto endpoint = MakeEndpoint(config);

  EXPECT_THROWS(endpoint->Open(request), Code::kInvalidArgument, "model.norm.weight is missing");
  EXPECT_THROWS(endpoint->Open(request), Code::kInvalidArgument, "model.norm.weight is missing");
}

// A file stands where the folder would be made.
TEST_F(EndpointTest, TheCacheOfSamplesLiesInTheServersOwnFolder) {
  run_.client.quant.method = "aqsgd";
  const OpenRequest aqsgd = RequestOf(run_);
  config::ServerFileConfig config = run_.server;
  EXPECT_NO_THROW(MakeEndpoint(config)->Open(aqsgd));

  config.server.cache_dir = run_.Path("train.jsonl");

  EXPECT_THROWS(MakeEndpoint(config)->Open(aqsgd), Code::kNotFound, run_.Path("train.jsonl"));
  EXPECT_NO_THROW(MakeEndpoint(config)->Open(request_)) << "method none has no cache";
}

TEST_F(EndpointTest, ASessionIsFoundByItsIdAndEpochUntilItIsClosed) {
  const auto endpoint = MakeEndpoint(run_.server);
  const OpenReply reply = endpoint->Open(request_);
  EXPECT_NE(endpoint->Find(reply.session_id, 1), nullptr);
  EXPECT_THROWS(endpoint->Find(reply.session_id, 2), Code::kAborted, "epoch 1");
  EXPECT_THROWS(endpoint->Find(reply.session_id, 0), Code::kAborted, "epoch 1");
  EXPECT_THROWS(endpoint->Find("", 1), Code::kNotFound, "no such session");
  EXPECT_THROWS(endpoint->Find(std::string(32, '0'), 1), Code::kNotFound, "no such session");

  endpoint->Close(reply.session_id);
  endpoint->Close(reply.session_id);

  EXPECT_THROWS(endpoint->Find(reply.session_id, 1), Code::kNotFound, "no such session");
}

TEST_F(EndpointTest, ASessionInUseOutlivesItsClose) {
  const auto endpoint = MakeEndpoint(run_.server);
  const OpenReply reply = endpoint->Open(request_);
  const auto session = endpoint->Find(reply.session_id, 1);

  endpoint->Close(reply.session_id);

  EXPECT_FALSE(session->FetchAdapter().empty());
}

TEST_F(EndpointTest, SessionsDoNotShareWhatTheyTrain) {
  const auto endpoint = MakeEndpoint(run_.server);
  const auto one = endpoint->Find(endpoint->Open(request_).session_id, 1);
  const auto other = endpoint->Find(endpoint->Open(request_).session_id, 1);
  const Bytes before = other->FetchAdapter();
  const auto ignore = [](const transport::Message&) {};

  one->OnMessage(test::RawForward(), ignore);
  one->OnMessage(test::Commit(0, {false, 1, 0.1, 0}), ignore);

  EXPECT_EQ(other->FetchAdapter(), before);
  EXPECT_NE(one->FetchAdapter(), before);
}

TEST_F(EndpointTest, AServerWithoutAModelDoesNotStart) {
  config::ServerFileConfig config = run_.server;
  config.model.model_name_or_path = run_.Path("nothing.gguf");

  EXPECT_THROWS(MakeEndpoint(config), Code::kNotFound, "nothing.gguf");
}

}  // namespace
}  // namespace amaq::server
