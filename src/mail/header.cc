// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "mail/header.h"

#include <algorithm>
#include <cstddef>

#include "util/ascii.h"

namespace coi::mail {
namespace {

using std::string_view;

constexpr bool IsBlank(char c) noexcept {
  return c == ' ' || c == '\t';
}

string_view Between(string_view text, size_t begin, size_t end) noexcept {
  return {text.data() + begin, end - begin};
}

string_view WithoutCr(string_view line) noexcept {
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  return line;
}

// Where the field that begins there ends: at the LF of its last line. npos
// where that isn't known.
size_t FieldEnd(string_view mail, size_t first_line_end) noexcept {
  size_t end = first_line_end;
  while (end != string_view::npos && end + 1 < mail.size() && IsBlank(mail[end + 1])) {
    end = mail.find('\n', end + 1);
  }
  return end != string_view::npos && end + 1 < mail.size() ? end : string_view::npos;
}

// The header that a field with that name is for, or null where there are as many before
// it as are wanted.
struct coi_header* FindWanted(std::span<struct coi_header> headers, string_view name) noexcept {
  for (struct coi_header& header : headers) {
    if (header.value.data == nullptr &&
        util::EqualsIgnoringCase(name, string_view(header.name.data, header.name.size))) {
      return &header;
    }
  }
  return nullptr;
}

}  // namespace

bool FindHeaders(string_view mail, std::span<struct coi_header> headers) noexcept {
  size_t missing = headers.size();
  for (struct coi_header& header : headers) {
    header.value = {.data = nullptr, .size = 0};
  }
  size_t pos = 0;
  while (missing > 0) {
    const size_t line_end = mail.find('\n', pos);
    if (line_end == string_view::npos) {
      return false;
    }
    const string_view line = WithoutCr(Between(mail, pos, line_end));
    if (line.empty()) {
      break;
    }
    const size_t end = FieldEnd(mail, line_end);
    if (end == string_view::npos) {
      return false;
    }
    const size_t colon = line.find(':');
    if (colon != string_view::npos) {
      string_view name(line.data(), colon);
      while (!name.empty() && IsBlank(name.back())) {
        name.remove_suffix(1);
      }
      if (struct coi_header* header = FindWanted(headers, name)) {
        string_view value = WithoutCr(Between(mail, pos + colon + 1, end));
        while (!value.empty() && IsBlank(value.front())) {
          value.remove_prefix(1);
        }
        header->value = {.data = value.data(), .size = value.size()};
        --missing;
      }
    }
    pos = end + 1;
  }
  return true;
}

}  // namespace coi::mail
