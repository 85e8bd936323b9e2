#ifndef AMAQ_DATA_REGEX_H_
#define AMAQ_DATA_REGEX_H_

// A compiled PCRE2 pattern over UTF-8 with Unicode classes, for the .cc files of this module only
// (it includes pcre2.h). Invalid UTF-8 never matches. Thread-safety: immutable; a Matcher is
// thread-compatible.

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"

namespace amaq::data {

class Regex {
 public:
  // Errors: kInternal, as patterns are ours.
  explicit Regex(std::string_view pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &offset,
                              nullptr));
    if (code_ == nullptr) {
      Throw(Code::kInternal, "pattern ", pattern, " is wrong at ", offset, " (PCRE2 error ", error,
            ")");
    }
    (void)pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it: slower, same result
  }

  const pcre2_code* code() const { return code_.get(); }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
};

// One search at a time over one pattern.
class Matcher {
 public:
  explicit Matcher(const Regex& regex)
      : regex_(regex), data_(pcre2_match_data_create_from_pattern(regex.code(), nullptr)) {
    if (data_ == nullptr) Throw(Code::kResourceExhausted, "no memory for a pattern match");
  }

  // The first match at or after `offset`. Errors: kResourceExhausted past PCRE2's match limits.
  bool Search(std::string_view text, size_t offset) {
    const int result = pcre2_match(regex_.code(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                   text.size(), offset, 0, data_.get(), nullptr);
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result < 0) {
      Throw(Code::kResourceExhausted, "matching a text of ", text.size(),
            " bytes failed (PCRE2 error ", result, ")");
    }
    text_ = text;
    return true;
  }

  size_t begin() const { return pcre2_get_ovector_pointer(data_.get())[0]; }
  size_t end() const { return pcre2_get_ovector_pointer(data_.get())[1]; }
  // Empty if the group took no part.
  std::string_view Group(uint32_t group) const {
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data_.get());
    if (offsets[2 * group] == PCRE2_UNSET) return {};
    return text_.substr(offsets[2 * group], offsets[2 * group + 1] - offsets[2 * group]);
  }

 private:
  struct Free {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  const Regex& regex_;
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::string_view text_;
};

}  // namespace amaq::data

#endif  // AMAQ_DATA_REGEX_H_
