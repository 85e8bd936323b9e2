#include "data/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "io/file.h"
#include "tests/data/tiny_tokenizer.h"
#include "tests/support/errors.h"
#include "tests/support/shared_data.h"

namespace amaq::data {
namespace {

// As SmolLM2-Instruct has it.
constexpr const char* kWithDefault =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

const std::vector<ChatMessage> kTalk = {
    {"user", "2+2?"}, {"assistant", "4"}, {"user", "3+3?"}, {"assistant", "6"}};

TEST(ChatTemplateTest, AssistantContentAndItsEndAreSupervised) {
  const ChatTemplate chat(test::kTinyChatMl, "tiny");

  const std::vector<TextSegment> expected = {
      {"<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n", false},
      {"4<|im_end|>", true},
      {"\n<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n", false},
      {"6<|im_end|>", true},
      {"\n", false}};
  EXPECT_EQ(chat.Render(kTalk), expected);
}

TEST(ChatTemplateTest, TheDefaultSystemMessageStandsOnlyWhereThereIsNone) {
  const ChatTemplate chat(kWithDefault, "x");

  EXPECT_EQ(chat.RenderPrompt({{"user", "hi"}}),
            "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(chat.RenderPrompt({{"system", "s"}, {"user", "hi"}}),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplateTest, NewlinesMayBeEscapedAndQuotesDouble) {
  const std::string escaped =
      "{%- for message in messages %}\n{% if loop.first and messages[0][\"role\"] != \"system\" %}"
      "{{ \"<|im_start|>system\\nIt's me<|im_end|>\\n\" }}{% endif %}"
      "{{ \"<|im_start|>\" + message.role + \"\\n\" + message.content + \"<|im_end|>\\n\" }}"
      "{% endfor %}";

  EXPECT_EQ(ChatTemplate(escaped, "x").Render({{"user", "a"}})[0].text,
            "<|im_start|>system\nIt's me<|im_end|>\n<|im_start|>user\na<|im_end|>\n");
}

TEST(ChatTemplateTest, OtherTemplatesAreRefused) {
  const std::string chatml = test::kTinyChatMl;
  for (const std::string& other :
       {std::string("{{ bos_token }}") + chatml, chatml + "{{ eos_token }}", chatml + " x",
        std::string("[INST] {{ messages[0]['content'] }} [/INST]"),
        std::string("{% for message in messages %}{{ message['content'] }}{% endfor %}")}) {
    EXPECT_THROWS(ChatTemplate(other, "m.gguf"), Code::kUnimplemented,
                  "'messages' needs a ChatML template, and the chat template of m.gguf");
  }
  EXPECT_THROWS(ChatTemplate("", "m.gguf"), Code::kUnimplemented, "m.gguf has no chat template");
}

TEST(ChatTemplateTest, StoredTemplatesAreToldApart) {
  const std::string folder = test::SharedDataPath("chat_templates/");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs " << folder << ", not here";
  const auto read = [&](const char* name) { return io::ReadTextFile(folder + name, 1 << 20); };

  EXPECT_NO_THROW(ChatTemplate(read("chatml.jinja"), "chatml"));
  for (const char* name :
       {"gemma.jinja", "llama3.jinja", "phi_3.jinja", "phi_35.jinja", "qwen_25.jinja",
        "mistral_v2v3.jinja", "gemma3.jinja", "llama3_2_vision.jinja"}) {
    EXPECT_THROWS(ChatTemplate(read(name), name), Code::kUnimplemented, name);
  }
}

TEST(ChatTemplateTest, TheRealModelHasChatMlWithADefaultSystemMessage) {
  const std::string path = test::RealModelPath();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path << ", which is not here";
  const auto tokenizer = Tokenizer::Load(path);

  EXPECT_EQ(ChatTemplate(tokenizer->chat_template(), path).RenderPrompt({{"user", "2+2?"}}),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace amaq::data
