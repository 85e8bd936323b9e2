#include "config/load.h"

#include <gmock/gmock.h>

#include <functional>
#include <limits>

#include "tests/config/support.h"

namespace amaq::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

ClientConfig Complete() {
  ClientConfig config;
  config.model.model_name_or_path = "/model.gguf";
  config.data.train_file = "/train.jsonl";
  return config;
}

// The message of Validate for a complete config with that change.
std::string Refusal(const std::function<void(ClientConfig*)>& change) {
  ClientConfig config = Complete();
  change(&config);
  return ErrorOf([&] { Validate(config); });
}

std::string LoadError(const std::string& text) {
  const std::filesystem::path file = TestFolder() / "x.yaml";
  WriteText(file, text);
  std::string message = ErrorOf([&] { LoadClientFile(file.string()); });
  const std::string folder = TestFolder().string() + "/";
  for (size_t at = message.find(folder); at != std::string::npos; at = message.find(folder)) {
    message.erase(at, folder.size());
  }
  return message;
}

TEST(LoadTest, ValuesOfEveryKindAreRead) {
  const ClientConfig config = ReadYaml<ClientConfig>(
      "train:\n"
      "  learning_rate: 4e-4\n"
      "  max_steps: 60\n"
      "  weight_decay: +0.1\n"
      "data:\n"
      "  shuffle: false\n"
      "  append_eos: True\n"
      "  prompt_template: \"Question: {question}\\nAnswer:\"\n"
      "quant:\n"
      "  gradient:\n"
      "    bits: 4\n"
      "    bits_offset: -1\n"
      "lora:\n"
      "  target_modules: [q_proj, k_proj]\n"
      "  init_from: null\n");
  EXPECT_EQ(config.train.learning_rate, 4e-4);
  EXPECT_EQ(config.train.max_steps, 60u);
  EXPECT_EQ(config.train.weight_decay, 0.1);
  EXPECT_FALSE(config.data.shuffle);
  EXPECT_TRUE(config.data.append_eos);
  EXPECT_EQ(config.data.prompt_template, "Question: {question}\nAnswer:");
  EXPECT_EQ(config.quant.gradient.bits, "4");
  EXPECT_EQ(config.quant.gradient.bits_offset, -1);
  EXPECT_THAT(config.lora.target_modules, ElementsAre("q_proj", "k_proj"));
  EXPECT_EQ(config.lora.init_from, "");
}

TEST(LoadTest, FlatNamesAreReadAsTheirKeys) {
  const ClientConfig config = ReadYaml<ClientConfig>(
      "learning_rate: 1e-3\nr: 16\noutput_dir: out\ntarget_modules: all-linear\n");
  EXPECT_EQ(config.train.learning_rate, 1e-3);
  EXPECT_EQ(config.lora.r, 16u);
  EXPECT_EQ(config.output.dir, "/base/out");
  EXPECT_THAT(config.lora.target_modules, ElementsAre("all-linear"));
}

TEST(LoadTest, UnknownKeyNamesFileLineAndNearestKey) {
  EXPECT_EQ(ClientError("train:\n  seed: 1\n  learning_rat: 1e-3\n"),
            "x.yaml:3: unknown key train.learning_rat; did you mean train.learning_rate?");
  EXPECT_EQ(ClientError("frobnicate: 1\n"), "x.yaml:1: unknown key frobnicate");
  EXPECT_EQ(ClientError("trian:\n  seed: 1\n"),
            "x.yaml:2: unknown key trian.seed; did you mean train.seed?");
}

TEST(LoadTest, KeyOfTheOtherPartyIsExplained) {
  EXPECT_EQ(ClientError("limits:\n  max_rank: 8\n"),
            "x.yaml:2: the key limits.max_rank belongs into the server's file (amaq-server "
            "--config), this is the client's");
  EXPECT_THAT(ErrorOf([] { ReadYaml<ServerFileConfig>("lora:\n  r: 8\n"); }),
              HasSubstr("belongs into the client's file"));
}

TEST(LoadTest, SectionWithAValueIsExplained) {
  EXPECT_THAT(ClientError("model: m.gguf\n"), StartsWith("x.yaml:1: model is a section"));
  EXPECT_THAT(ClientError("quant:\n  gate: newton\n"),
              StartsWith("x.yaml:2: quant.gate is a section"));
  EXPECT_EQ(ReadYaml<ClientConfig>("train:\nquant:\n  gate:\n"), ClientConfig());
}

TEST(LoadTest, WrongTypeNamesKeyAllowedAndValue) {
  EXPECT_EQ(ClientError("train:\n  max_steps: many\n"),
            "x.yaml:2: train.max_steps must be a whole number from 0 to 1000000000, got many");
  EXPECT_THAT(ClientError("train:\n  max_steps: 1.5\n"), HasSubstr("got 1.5"));
  EXPECT_THAT(ClientError("train:\n  max_steps: -1\n"), HasSubstr("got -1"));
  EXPECT_THAT(ClientError("train:\n  max_steps: \"60\"\n"), HasSubstr("got \"60\""));
  EXPECT_THAT(ClientError("train:\n  max_steps: 99999999999999999999\n"), HasSubstr("got 9999"));
  EXPECT_THAT(ClientError("train:\n  max_steps: [60]\n"), HasSubstr("got [60]"));
  EXPECT_THAT(ClientError("train:\n  max_steps:\n"), HasSubstr("got nothing"));
  EXPECT_THAT(ClientError("lora:\n  r: 4294967304\n"), HasSubstr("got 4294967304"));
  EXPECT_THAT(ClientError("data:\n  shuffle: 1\n"), HasSubstr("must be true or false, got 1"));
  EXPECT_THAT(ClientError("model:\n  dtype: [fp32]\n"), HasSubstr("must be one of fp32, bf16"));
  EXPECT_THAT(ClientError("lora:\n  target_modules:\n"), HasSubstr("a list of names, got nothing"));
}

TEST(LoadTest, NotANumberAndInfinityAreRefused) {
  for (const char* text : {"nan", ".nan", "inf", ".inf", "-.inf", "1e999", "0x10", "1e", "4 e-4"}) {
    EXPECT_THAT(ClientError(StrCat("train:\n  learning_rate: ", text, "\n")),
                HasSubstr("train.learning_rate must be a number from 0 to 1, got "))
        << text;
  }
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->train.learning_rate = std::numeric_limits<double>::quiet_NaN();
              }),
              HasSubstr("train.learning_rate"));
}

TEST(LoadTest, ValueOutOfRangeNamesFileLineKeyValueAndLimit) {
  EXPECT_EQ(LoadError("model:\n  model_name_or_path: m\nlora:\n  r: 0\n"),
            "x.yaml:4: lora.r must be a whole number from 1 to 1024, got 0");
  EXPECT_EQ(LoadError("wire: {chunk_bytes: 65535}\n"),
            "x.yaml:1: wire.chunk_bytes must be a whole number from 65536 to 4194304, got 65535");
  EXPECT_EQ(LoadError("quant:\n  method: amak\n"),
            "x.yaml:2: quant.method must be one of none, fixed, linear, waterfill, group, aqsgd, "
            "tahquant, amaq, amaq-delta, amaq-rd, got amak; "
            "did you mean amaq?");
  EXPECT_THAT(LoadError("quant:\n  gradient:\n    bits: 9\n"), HasSubstr("got 9"));
}

TEST(LoadTest, KeyAndItsAliasInOneFileAreRefused) {
  EXPECT_EQ(ClientError("learning_rate: 1e-3\ntrain:\n  learning_rate: 1e-3\n"),
            "x.yaml:3: train.learning_rate is set twice, first at x.yaml:1");
}

TEST(LoadTest, MissingFileAndFolderAreRefused) {
  EXPECT_THAT(ErrorOf([] { LoadClientFile("no/such.yaml"); }),
              HasSubstr("no/such.yaml: no such file"));
  EXPECT_THAT(ErrorOf([] { LoadClientFile(TestFolder().string()); }), HasSubstr("cannot read"));
}

TEST(LoadTest, RequiredKeysAreNamed) {
  EXPECT_THAT(LoadError("split: {client_blocks: 1}\ndata: {train_file: t}\n"),
              StartsWith("model.model_name_or_path is not set"));
  EXPECT_THAT(LoadError("model: {model_name_or_path: m}\ndata: {train_file: t}\n"),
              StartsWith("split.client_blocks is not set"));
  EXPECT_THAT(LoadError("model: {model_name_or_path: m}\nsplit: {client_blocks: 1}\n"
                        "data: {train_file: ''}\n"),
              StartsWith("data.train_file is not set"));
}

TEST(LoadTest, RelativePathsAreRelativeToTheFile) {
  const std::filesystem::path folder = TestFolder();
  std::filesystem::create_directories(folder / "configs");
  WriteText(folder / "configs" / "x.yaml",
            "model: {model_name_or_path: ../m.gguf}\n"
            "split: {client_blocks: 1}\n"
            "lora: {init_from: a}\n"
            "data: {train_file: t.jsonl, eval_file: /abs/e.jsonl, tokenizer: ./tok}\n"
            "output: {dir: ../out/}\n"
            "wire: {capture_dir: cap}\n");

  const ClientConfig config = LoadClientFile((folder / "configs" / "x.yaml").string());

  EXPECT_EQ(config.model.model_name_or_path, (folder / "m.gguf").string());
  EXPECT_EQ(config.lora.init_from, (folder / "configs/a").string());
  EXPECT_EQ(config.data.train_file, (folder / "configs/t.jsonl").string());
  EXPECT_EQ(config.data.eval_file, "/abs/e.jsonl");
  EXPECT_EQ(config.data.tokenizer, (folder / "configs/tok").string());
  EXPECT_EQ(config.output.dir, (folder / "out/").string());
  EXPECT_EQ(config.wire.capture_dir, (folder / "configs/cap").string());
}

TEST(LoadTest, AFileNamedWithoutItsFolderIsRead) {
  const std::filesystem::path folder = TestFolder();
  WriteText(folder / "x.yaml",
            "model: {model_name_or_path: m.gguf}\n"
            "split: {client_blocks: 1}\n"
            "data: {train_file: t.jsonl}\n");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  const ClientConfig config = LoadClientFile("x.yaml");
  std::filesystem::current_path(before);

  EXPECT_EQ(config.model.model_name_or_path, (folder / "m.gguf").string());
}

TEST(LoadTest, EveryPathIsMarkedAsOne) {
  ClientConfig client;
  ServerFileConfig server;
  std::vector<std::string_view> paths;
  for (const FieldList& fields : {FieldsOf(&client), FieldsOf(&server)}) {
    for (const Field& field : fields) {
      if (field.is_path) paths.push_back(field.key);
    }
  }
  EXPECT_THAT(paths, ElementsAre("model.model_name_or_path", "lora.init_from", "quant.cache_dir",
                                 "data.train_file", "data.eval_file", "data.tokenizer",
                                 "output.dir", "wire.capture_dir", "model.model_name_or_path",
                                 "server.port_file", "server.cache_dir", "wire.capture_dir"));
}

TEST(ValidateTest, DefaultsAreValid) {
  EXPECT_NO_THROW(Validate(Complete()));
  EXPECT_NO_THROW(Validate(ServerFileConfig()));
}

TEST(ValidateTest, TargetMustLieAboveTheFloorOfTheGate) {
  EXPECT_EQ(Refusal([](ClientConfig* c) { c->quant.target_bits = 2; }),
            "quant.target_bits must be more than quant.b_min (2) with method amaq, got 2");
  ClientConfig linear = Complete();
  linear.quant.method = "linear";
  linear.quant.target_bits = 2;  // no sigmoid: the floor can be reached
  EXPECT_NO_THROW(Validate(linear));
  linear.quant.b_min = 2.5;
  EXPECT_THAT(ErrorOf([&] { Validate(linear); }), HasSubstr("at least quant.b_min (2.5)"));
}

TEST(ValidateTest, StartMustLieBetweenTargetAndCeiling) {
  EXPECT_THAT(Refusal([](ClientConfig* c) { c->quant.b_start = 8; }),
              HasSubstr("quant.b_start must be less than quant.b_max (8)"));
  EXPECT_THAT(Refusal([](ClientConfig* c) { c->quant.b_start = 3; }),
              HasSubstr("quant.b_start must be more than quant.target_bits (3), got 3"));
  EXPECT_THAT(Refusal([](ClientConfig* c) { c->quant.b_max = 2; }),
              HasSubstr("quant.b_min (2) must be less than quant.b_max (2)"));
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->quant.b_max = 4;
                c->quant.target_bits = 4;
              }),
              HasSubstr("less than quant.b_max (4)"));
  ClientConfig linear = Complete();
  linear.quant.method = "linear";
  linear.quant.b_start = 8;
  EXPECT_NO_THROW(Validate(linear));
}

TEST(ValidateTest, WidthsDoNotMatterWithoutAGate) {
  ClientConfig config = Complete();
  config.quant.method = "fixed";
  config.quant.target_bits = 2;
  config.quant.b_start = 2;
  EXPECT_NO_THROW(Validate(config));
}

constexpr const char* kRequired =
    "model: {model_name_or_path: /model.gguf}\n"
    "split: {client_blocks: 1}\n"
    "data: {train_file: /train.jsonl}\n";

TEST(BudgetTest, DecidesWhatTheFileLeavesOpen) {
  const std::filesystem::path file = TestFolder() / "x.yaml";
  WriteText(file, StrCat(kRequired, "quant: {budget_bits: 1.5, rd: {dead_zone: 0.2}}\n"));
  const ClientConfig config = LoadClientFile(file.string());
  EXPECT_EQ(config.quant.method, "amaq-rd");
  EXPECT_EQ(config.quant.target_bits, 2);
  EXPECT_EQ(config.quant.schedule, "constant");
  EXPECT_EQ(config.quant.gradient.method, "rd");
  EXPECT_EQ(config.quant.gradient.target_bits, 1);
  EXPECT_EQ(config.quant.rd.dead_zone, 0.2);

  // All that it decided stands in the dump, which can be fed back; thirds are no short numbers.
  WriteText(file, StrCat(kRequired, "quant: {budget_bits: 1.1}\n"));
  const ClientConfig other = LoadClientFile(file.string());
  WriteText(file, DumpYaml(other));
  EXPECT_EQ(LoadClientFile(file.string()), other);

  WriteText(file, kRequired);
  EXPECT_EQ(LoadClientFile(file.string()).quant, QuantConfig());
}

TEST(BudgetTest, WhatContradictsItIsRefused) {
  EXPECT_EQ(LoadError(StrCat(kRequired, "quant: {budget_bits: 2, method: amaq}\n")),
            "x.yaml:4: quant.method is amaq, but quant.budget_bits: 2 decides it (amaq-rd): leave "
            "out one of the two");
  EXPECT_THAT(LoadError(StrCat(kRequired, "quant: {budget_bits: 2, target_bits: 3}\n")),
              HasSubstr("quant.target_bits is 3, but"));
  EXPECT_THAT(LoadError(StrCat(kRequired, "quant: {budget_bits: 2, schedule: cosine}\n")),
              HasSubstr("quant.schedule is cosine, but"));
  EXPECT_THAT(LoadError(StrCat(kRequired, "quant: {budget_bits: 2, gradient: {method: same}}\n")),
              HasSubstr("quant.gradient.method is same, but"));
  EXPECT_THAT(
      LoadError(StrCat(kRequired, "quant: {budget_bits: 1.5, gradient: {target_bits: 1.5}}\n")),
      HasSubstr("quant.gradient.target_bits is 1.5, but quant.budget_bits: 1.5 decides it (1)"));
  EXPECT_THAT(LoadError(StrCat(kRequired, "quant: {budget_bits: 2, axis: token}\n")),
              HasSubstr("quant.axis is token, but"));
  EXPECT_THAT(LoadError(StrCat(kRequired, "quant: {budget_bits: 2, gradient: {bits: own}}\n")),
              HasSubstr("quant.gradient.bits is own, but"));
  EXPECT_THAT(LoadError(StrCat(kRequired, "quant: {budget_bits: 0.05}\n")),
              HasSubstr("quant.budget_bits must be 0 or at least 0.1, got 0.05"));
}

TEST(ValidateTest, OffsetNeedsWidthsToAddTo) {
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->quant.gradient.bits = "4";
                c->quant.gradient.bits_offset = 1;
              }),
              HasSubstr("bits is 4"));
}

TEST(ValidateTest, ATargetForGradientsThatHaveNoneOfTheirOwnIsRefused) {
  for (const char* method : {"amaq", "amaq-rd"}) {
    ClientConfig config = Complete();
    config.quant.method = method;
    config.quant.gradient.target_bits = 0.7;
    EXPECT_THAT(ErrorOf([&] { Validate(config); }),
                HasSubstr("quant.gradient.target_bits is 0.7, but only gradients"));
    config.quant.gradient.method = "rd";
    EXPECT_NO_THROW(Validate(config));
  }
}

TEST(ValidateTest, ARateDistortionCodedGradientHasNoWidths) {
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->quant.gradient.method = "rd";
                c->quant.gradient.bits = "4";
              }),
              HasSubstr("quant.gradient.bits does not apply"));
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->quant.gradient.method = "rd";
                c->quant.gradient.bits_offset = 1;
              }),
              HasSubstr("quant.gradient.bits_offset does not apply"));
  ClientConfig config = Complete();
  config.quant.method = "none";
  config.quant.gradient.method = "rd";
  config.quant.gradient.target_bits = 1.6;
  EXPECT_NO_THROW(Validate(config));
}

TEST(ValidateTest, AmaqRdHasNoWidthsAndATargetBelowItsStart) {
  const auto refusal = [](void (*change)(QuantConfig*)) {
    return Refusal([change](ClientConfig* c) {
      c->quant.method = "amaq-rd";
      change(&c->quant);
    });
  };
  EXPECT_THAT(refusal([](QuantConfig* q) { q->gradient.bits = "4"; }),
              HasSubstr("do not apply with method amaq-rd"));
  EXPECT_THAT(refusal([](QuantConfig* q) { q->gradient.bits_offset = 1; }),
              HasSubstr("do not apply with method amaq-rd"));
  EXPECT_THAT(refusal([](QuantConfig* q) { q->b_start = q->target_bits; }),
              HasSubstr("quant.b_start must be more than quant.target_bits"));
  ClientConfig config = Complete();
  config.quant.method = "amaq-rd";
  config.quant.b_start = config.quant.target_bits;
  config.quant.schedule = "constant";
  EXPECT_NO_THROW(Validate(config));
}

TEST(ValidateTest, TheGradientsOwnGateNeedsCodesAndATargetBelowTheStart) {
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->quant.gradient.bits = "own";
                c->quant.method = "none";
              }),
              HasSubstr("with method none there are none"));
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->quant.gradient.bits = "own";
                c->quant.gradient.target_bits = 7.9;
              }),
              HasSubstr("quant.gradient.target_bits must lie between"));
}

TEST(ValidateTest, TheAxisTokenGoesWithMethodsOfTokensAndPlainCodes) {
  const auto refusal = [](const std::function<void(ClientConfig*)>& change) {
    return Refusal([&change](ClientConfig* c) {
      c->quant.axis = "token";
      change(c);
    });
  };
  EXPECT_THAT(refusal([](ClientConfig* c) { c->quant.method = "tahquant"; }),
              HasSubstr("quant.axis: token does not go with quant.method: tahquant"));
  EXPECT_THAT(refusal([](ClientConfig* c) { c->quant.range = "delayed"; }),
              HasSubstr("does not go with quant.range: delayed"));
  EXPECT_THAT(refusal([](ClientConfig* c) { c->quant.nested = true; }),
              HasSubstr("does not go with quant.nested: true"));
  EXPECT_THAT(refusal([](ClientConfig* c) { c->quant.gradient.bits = "own"; }),
              HasSubstr("does not go with quant.gradient.bits: own"));
  EXPECT_THAT(refusal([](ClientConfig* c) { c->quant.gradient.method = "rd"; }),
              HasSubstr("does not go with quant.gradient.method: rd"));
  EXPECT_THAT(refusal([](ClientConfig* c) { c->wire.entropy = "on"; }),
              HasSubstr("does not go with wire.entropy: on"));
}

TEST(ValidateTest, TheDualPenaltyTakesNoWeight) {
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->quant.gate.penalty = "dual";
                c->quant.gate.penalty_beta = 2;
              }),
              HasSubstr("quant.gate.penalty: dual finds its own, got 2"));
}

TEST(ValidateTest, WarmUpMustFitIntoTheRun) {
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->train.max_steps = 5;
                c->train.warmup_steps = 6;
              }),
              HasSubstr("train.warmup_steps (6) must not be more than train.max_steps (5)"));
}

TEST(ValidateTest, TemplatesGoTogether) {
  EXPECT_THAT(Refusal([](ClientConfig* c) { c->data.prompt_template = "{q}"; }),
              HasSubstr("go together"));
  EXPECT_THAT(Refusal([](ClientConfig* c) { c->data.format = "template"; }),
              HasSubstr("needs data.prompt_template"));
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->data.format = "alpaca";
                c->data.prompt_template = "{q}";
                c->data.completion_template = "{a}";
              }),
              HasSubstr("alpaca has no use for"));
}

TEST(ValidateTest, TargetModulesAreNamedOnce) {
  EXPECT_THAT(Refusal([](ClientConfig* c) { c->lora.target_modules.clear(); }),
              HasSubstr("is empty"));
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->lora.target_modules = {"q_proj", "q_proj"};
              }),
              HasSubstr("names q_proj twice"));
  EXPECT_THAT(Refusal([](ClientConfig* c) {
                c->lora.target_modules = {"all-linear", "q_proj"};
              }),
              HasSubstr("stands alone"));
  EXPECT_THAT(Refusal([](ClientConfig* c) { c->lora.target_modules = {""}; }),
              HasSubstr("an empty name"));
}

TEST(ValidateTest, AddressIsHostAndPort) {
  for (const char* good : {"inproc", "localhost:7420", "127.1.2.3:1", "[::1]:65535"}) {
    ClientConfig config = Complete();
    config.server.address = good;
    EXPECT_NO_THROW(Validate(config)) << good;
  }
  for (const char* bad : {"", "localhost", ":7420", "localhost:", "localhost:0", "localhost:65536",
                          "::1:7420", "a b:1", "localhost:74x", "http://h:1", "h:-1"}) {
    EXPECT_THAT(Refusal([&](ClientConfig* c) { c->server.address = bad; }),
                HasSubstr("server.address must be host:port"))
        << bad;
  }
  ServerFileConfig server;
  server.server.address = "127.0.0.1:0";
  EXPECT_NO_THROW(Validate(server));
  server.server.address = "inproc";
  EXPECT_THAT(ErrorOf([&] { Validate(server); }), HasSubstr("server.address"));
}

TEST(ValidateTest, AnotherMachineNeedsConsentToPlaintext) {
  for (const char* remote :
       {"10.0.0.1:7420", "server:7420", "[fe80::1]:7420", "127.example.org:1"}) {
    EXPECT_THAT(Refusal([&](ClientConfig* c) { c->server.address = remote; }),
                HasSubstr("set security.allow_plaintext: true"))
        << remote;
    ClientConfig config = Complete();
    config.server.address = remote;
    config.security.allow_plaintext = true;
    EXPECT_NO_THROW(Validate(config));
  }
}

TEST(ValidateTest, EmptyAllowListIsRefused) {
  ServerFileConfig server;
  server.limits.methods.clear();
  EXPECT_THAT(ErrorOf([&] { Validate(server); }), HasSubstr("limits.methods is empty"));
  server = {};
  server.limits.dtypes = {"fp8"};
  EXPECT_THAT(ErrorOf([&] { Validate(server); }), HasSubstr("limits.dtypes must be a list out of"));
}

TEST(ValidateTest, RelationNamesWhereTheValueStands) {
  EXPECT_EQ(
      LoadError("quant:\n  target_bits: 2\n"),
      "x.yaml:2: quant.target_bits must be more than quant.b_min (2) with method amaq, got 2");
}

}  // namespace
}  // namespace amaq::config
