// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "config/values.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace coi::config {
namespace {

using std::string_view;

constexpr size_t kMailboxRootMax = 200;

constexpr bool IsBetween(uint32_t value, uint32_t low, uint32_t high) noexcept {
  return value >= low && value <= high;
}

// Takes one code point off the front of *text, which must not be empty.
// Returns nullopt, and leaves *text alone, where RFC 3629 does not allow it.
constexpr std::optional<uint32_t> TakeCodePoint(string_view* text) noexcept {
  struct Form {
    size_t size;
    uint32_t lead_low;
    uint32_t lead_high;
    // The least that needs this many bytes: anything below is overlong.
    uint32_t code_low;
  };
  constexpr Form kForms[] = {{1, 0x00, 0x7f, 0x0},
                             {2, 0xc2, 0xdf, 0x80},
                             {3, 0xe0, 0xef, 0x800},
                             {4, 0xf0, 0xf4, 0x10000}};

  const uint32_t lead = static_cast<unsigned char>(text->front());
  for (const Form& form : kForms) {
    if (!IsBetween(lead, form.lead_low, form.lead_high)) {
      continue;
    }
    if (text->size() < form.size) {
      return std::nullopt;
    }
    uint32_t code = form.size == 1 ? lead : lead & (0x7fU >> form.size);
    for (size_t i = 1; i < form.size; ++i) {
      const uint32_t byte = static_cast<unsigned char>((*text)[i]);
      if ((byte & 0xc0U) != 0x80U) {
        return std::nullopt;
      }
      code = code << 6U | (byte & 0x3fU);
    }
    if (code < form.code_low || code > 0x10ffff || IsBetween(code, 0xd800, 0xdfff)) {
      return std::nullopt;
    }
    text->remove_prefix(form.size);
    return code;
  }
  return std::nullopt;
}

constexpr bool IsControl(uint32_t code) noexcept {
  return code < 0x20 || IsBetween(code, 0x7f, 0x9f);
}

constexpr char AsciiLower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr bool IsInbox(string_view name) noexcept {
  return std::ranges::equal(name, string_view("inbox"), {}, AsciiLower);
}

}  // namespace

bool IsEnabled(string_view value) noexcept {
  return value == "yes";
}

std::optional<enum coi_filter> ParseFilter(string_view value) noexcept {
  if (value == "none") {
    return COI_FILTER_NONE;
  }
  if (value == "active") {
    return COI_FILTER_ACTIVE;
  }
  if (value == "seen") {
    return COI_FILTER_SEEN;
  }
  return std::nullopt;
}

const char* MailboxRootProblem(string_view root, char separator) noexcept {
  if (root.empty()) {
    return "is empty";
  }
  if (root.size() > kMailboxRootMax) {
    return "is longer than 200 bytes";
  }

  string_view rest = root;
  while (!rest.empty()) {
    const auto code = TakeCodePoint(&rest);
    if (!code) {
      return "is not valid UTF-8";
    }
    if (IsControl(*code)) {
      return "contains a control character";
    }
    if (*code == '*' || *code == '%') {
      return "contains a wildcard ('*' or '%')";
    }
  }

  // Controls are refused above, so a separator of NUL is never found.
  const char doubled[] = {separator, separator};
  if (root.starts_with(separator) || root.ends_with(separator) ||
      root.find(string_view(doubled, sizeof(doubled))) != string_view::npos) {
    return "has an empty path element";
  }
  if (IsInbox(root)) {
    return "is INBOX";
  }
  return nullptr;
}

}  // namespace coi::config
