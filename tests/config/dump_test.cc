#include <gmock/gmock.h>

#include "config/value.h"
#include "tests/config/support.h"

namespace amaq::config {
namespace {

using ::testing::HasSubstr;

// Another value than the member has, of the hard kind: text that YAML would misread, numbers
// without a short decimal form.
struct Changer {
  const Field& field;
  size_t index;

  void operator()(std::string* text) const {
    const std::vector<std::string_view> names = SplitWords(field.names);
    if (!names.empty()) {
      for (std::string_view name : names) {
        if (name != *text) {
          *text = name;
          return;
        }
      }
      *text += "-other";  // one name only: the range is not what is tested here
    } else if (field.is_path) {
      *text = StrCat("/some folder/x: #", index, "/\"y\"");
    } else {
      *text = StrCat("- a: \"b\\c\" # {d}\n\t~ \x01 \xc3\xa9 'e' ", index);
    }
  }
  void operator()(std::vector<std::string>* list) const {
    *list = {"null", StrCat("a, b]", index), "", "\n", "true"};
  }
  void operator()(bool* value) const { *value = !*value; }
  void operator()(double* value) const { *value += 0.1 + static_cast<double>(index) / 3; }
  template <typename Integer>
  void operator()(Integer* value) const {
    *value += static_cast<Integer>(index + 1);
  }
};

// Loading makes every path absolute, so only a config whose paths are so comes back the same.
ClientConfig Absolute(ClientConfig config) {
  config.output.dir = "/out";
  return config;
}
ServerFileConfig Absolute(ServerFileConfig config) { return config; }

template <typename Config>
void ExpectRoundTrip() {
  const Config defaults = Absolute(Config());
  Config all = defaults;
  const FieldList fields = FieldsOf(&all);
  for (size_t i = 0; i < fields.size(); ++i) {
    SCOPED_TRACE(fields[i].key);
    Config one = defaults;
    const Field field = FieldsOf(&one)[i];
    std::visit(Changer{field, i}, field.target);
    std::visit(Changer{fields[i], i}, fields[i].target);
    EXPECT_FALSE(one == defaults);
    EXPECT_NE(DumpYaml(one), DumpYaml(defaults));
    EXPECT_TRUE(ReadYaml<Config>(DumpYaml(one)) == one) << DumpYaml(one);
  }
  EXPECT_TRUE(ReadYaml<Config>(DumpYaml(all)) == all) << DumpYaml(all);
  EXPECT_TRUE(ReadYaml<Config>(AnnotatedYaml(all)) == all) << AnnotatedYaml(all);
}

TEST(DumpTest, ClientRoundTripKeepsEveryMember) { ExpectRoundTrip<ClientConfig>(); }

TEST(DumpTest, ServerRoundTripKeepsEveryMember) { ExpectRoundTrip<ServerFileConfig>(); }

TEST(DumpTest, ExtremesRoundTrip) {
  ClientConfig config;
  config.output.dir = "/out";
  config.train.seed = ~uint64_t{0};
  config.quant.gradient.bits_offset = -6;
  config.train.learning_rate = 5e-324;
  config.train.adam_epsilon = 1.0 / 3;
  config.lora.lora_alpha = 1.7976931348623157e308;
  EXPECT_EQ(ReadYaml<ClientConfig>(DumpYaml(config)), config);
}

TEST(DumpTest, NumbersAreThoseOfAPerson) {
  ClientConfig config;
  config.train.learning_rate = 4e-4;
  const std::string text = DumpYaml(config);
  EXPECT_THAT(text, HasSubstr("\n  learning_rate: 0.0004\n"));
  EXPECT_THAT(text, HasSubstr("\n  adam_epsilon: 1.0e-08\n"));  // YAML 1.1 wants the dot
  EXPECT_THAT(text, HasSubstr("\n  lora_alpha: 16\n"));
  EXPECT_THAT(text, HasSubstr("\n  chunk_bytes: 524288\n"));
}

TEST(DumpTest, DocumentationIsWhatTheFieldsSay) {
  EXPECT_EQ(ReadText(AMAQ_SOURCE_DIR "/docs/config.md"), ConfigMarkdown())
      << "run amaq_config_doc markdown > docs/config.md";
}

TEST(DumpTest, DocumentationNamesEveryKey) {
  ClientConfig client;
  ServerFileConfig server;
  const std::string text = ConfigMarkdown();
  for (const FieldList& fields : {FieldsOf(&client), FieldsOf(&server)}) {
    for (const Field& field : fields) {
      EXPECT_THAT(text, HasSubstr(StrCat("| `", field.key, "` | "))) << field.key;
    }
  }
}

}  // namespace
}  // namespace amaq::config
