#include "config/fields.h"

#include <cmath>
#include <set>
#include <type_traits>

#include "config/value.h"
#include "tests/config/support.h"

namespace amaq::config {
namespace {

// Stands for a member of any type, to count the members of an aggregate: the largest number of
// initializers that it accepts.
struct AnyMember {
  template <typename T>
  operator T() const;  // NOLINT(google-explicit-constructor): declared only
};

template <typename T, typename... Members>
constexpr size_t NumMembers() {
  if constexpr (requires { T{Members{}..., AnyMember{}}; }) {
    return NumMembers<T, Members..., AnyMember>();
  } else {
    return sizeof...(Members);
  }
}

struct FourMembers {
  int a = 0;
  std::string b = {};
  std::vector<std::string> c = {};
  double d = 0;
};
static_assert(NumMembers<FourMembers>() == 4);

const void* AddressOf(const Field& field) {
  return std::visit([](const auto* member) -> const void* { return member; }, field.target);
}

std::set<const void*> Addresses(const FieldList& fields) {
  std::set<const void*> addresses;
  for (const Field& field : fields) addresses.insert(AddressOf(field));
  return addresses;
}

template <typename Config>
void ExpectSoundList() {
  Config config;
  const FieldList fields = FieldsOf(&config);
  std::set<std::string_view> names;
  for (const Field& field : fields) {
    SCOPED_TRACE(field.key);
    EXPECT_TRUE(names.insert(field.key).second);
    for (std::string_view alias : SplitWords(field.aliases)) {
      EXPECT_TRUE(names.insert(alias).second) << alias;
    }
    EXPECT_NO_THROW(CheckRange(field, ""));  // the default is allowed
    EXPECT_TRUE(field.help.ends_with('.'));
    EXPECT_TRUE(field.flag.empty() || field.flag.starts_with("--"));
    EXPECT_TRUE(!field.is_path || std::holds_alternative<std::string*>(field.target));
    EXPECT_TRUE(!field.required || !field.flag.empty());
    const bool is_number = std::visit(
        [](const auto* member) {
          using T = std::remove_cvref_t<decltype(*member)>;
          return std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;
        },
        field.target);
    EXPECT_EQ(is_number, std::isfinite(field.min));
    EXPECT_EQ(is_number && field.key != "train.seed", std::isfinite(field.max));
    if (!field.example.empty()) {
      EXPECT_NO_THROW(Party(&config).ApplyYaml(StrCat(field.key, ": ", field.example), "x", "/"));
      EXPECT_NO_THROW(CheckRange(field, ""));
    }
  }
}

TEST(FieldsTest, ClientListIsSound) { ExpectSoundList<ClientConfig>(); }

TEST(FieldsTest, ServerListIsSound) { ExpectSoundList<ServerFileConfig>(); }

TEST(FieldsTest, ClientListHasEveryMemberOnce) {
  ClientConfig config;
  const FieldList fields = FieldsOf(&config);
  static_assert(NumMembers<ClientConfig>() == 12);  // ten sections, device, log_level
  constexpr size_t kMembers =
      NumMembers<ModelConfig>() + NumMembers<SplitConfig>() + NumMembers<LoraConfig>() +
      (NumMembers<QuantConfig>() - 3) + NumMembers<RdConfig>() + NumMembers<GateConfig>() +
      NumMembers<GradientConfig>() + NumMembers<DataConfig>() + NumMembers<TrainConfig>() +
      NumMembers<OutputConfig>() + NumMembers<ServerConfig>() + NumMembers<WireConfig>() +
      NumMembers<SecurityConfig>() + 2;

  const size_t listed = Addresses(fields).size();

  EXPECT_EQ(listed, fields.size());
  EXPECT_EQ(listed + 3, kMembers);  // these three are the server's
  EXPECT_EQ(Addresses(fields).count(&config.server.port_file), 0u);
  EXPECT_EQ(Addresses(fields).count(&config.model.allow_mixed_formats), 0u);
}

TEST(FieldsTest, ServerListHasEveryMemberThatIsNotTheClients) {
  ServerFileConfig config;
  const FieldList fields = FieldsOf(&config);
  static_assert(NumMembers<ServerFileConfig>() == 8);
  constexpr size_t kMembers = NumMembers<ModelConfig>() + NumMembers<ServerConfig>() +
                              NumMembers<LimitsConfig>() + NumMembers<WireConfig>() +
                              NumMembers<SecurityConfig>() + 3;
  const std::set<const void*> of_the_client = {&config.model.hub_name, &config.model.dtype,
                                               &config.server.connect_timeout_s, &config.wire.dtype,
                                               &config.wire.entropy};

  const std::set<const void*> listed = Addresses(fields);

  EXPECT_EQ(listed.size(), fields.size());
  EXPECT_EQ(listed.size() + of_the_client.size(), kMembers);
  for (const void* member : of_the_client) EXPECT_EQ(listed.count(member), 0u);
}

TEST(FieldsTest, FlatHuggingFaceNamesAreAliases) {
  ClientConfig config;
  const FieldList fields = FieldsOf(&config);
  const std::vector<std::pair<std::string_view, std::string_view>> expected = {
      {"model_name_or_path", "model.model_name_or_path"},
      {"r", "lora.r"},
      {"lora_r", "lora.r"},
      {"lora_alpha", "lora.lora_alpha"},
      {"lora_dropout", "lora.lora_dropout"},
      {"target_modules", "lora.target_modules"},
      {"max_length", "data.max_length"},
      {"per_device_train_batch_size", "train.per_device_train_batch_size"},
      {"gradient_accumulation_steps", "train.gradient_accumulation_steps"},
      {"learning_rate", "train.learning_rate"},
      {"lr_scheduler_type", "train.lr_scheduler_type"},
      {"warmup_ratio", "train.warmup_ratio"},
      {"warmup_steps", "train.warmup_steps"},
      {"num_train_epochs", "train.num_train_epochs"},
      {"max_steps", "train.max_steps"},
      {"max_grad_norm", "train.max_grad_norm"},
      {"seed", "train.seed"},
      {"save_steps", "output.save_steps"},
      {"eval_steps", "train.eval_steps"},
      {"logging_steps", "train.logging_steps"},
      {"output_dir", "output.dir"}};
  for (const auto& [alias, key] : expected) {
    const Field* field = FindField(fields, alias);
    ASSERT_NE(field, nullptr) << alias;
    EXPECT_EQ(field->key, key);
  }
}

TEST(FieldsTest, NearestKeyIsTheOneThatWasMeant) {
  ClientConfig config;
  const FieldList fields = FieldsOf(&config);
  EXPECT_EQ(NearestKey(fields, "train.learning_rat"), "train.learning_rate");
  EXPECT_EQ(NearestKey(fields, "learnign_rate"), "learning_rate");
  EXPECT_EQ(NearestKey(fields, "train.max_length"), "data.max_length");
  EXPECT_EQ(NearestKey(fields, "quant.penalty_bet"), "quant.gate.penalty_beta");
  EXPECT_EQ(NearestKey(fields, "frobnicate"), "");
  EXPECT_EQ(NearestKey(fields, std::string(100000, 'x')), "");
}

}  // namespace
}  // namespace amaq::config
