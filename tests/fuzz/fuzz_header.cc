// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// Input: a mail.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coi.h"
#include "fuzz_util.h"

namespace coi::fuzz {
namespace {

using std::string;
using std::string_view;

// The second "X" finds the second of them.
constexpr std::array<string_view, 4> kNames = {"Chat-Version", "Message-ID", "X", "X"};
using Values = std::vector<std::optional<string>>;

std::optional<Values> Find(string_view mail) {
  const Bytes bytes(mail);
  std::array<struct coi_header, kNames.size()> headers = {};
  for (size_t i = 0; i < kNames.size(); ++i) {
    headers[i].name = {.data = kNames[i].data(), .size = kNames[i].size()};
  }
  if (!Core().headers_find(bytes.get(), headers.data(), headers.size())) {
    return std::nullopt;
  }
  Values values;
  for (const struct coi_header& header : headers) {
    if (header.value.data == nullptr) {
      values.emplace_back(std::nullopt);
    } else {
      FUZZ_CHECK(bytes.Holds(header.value));
      values.emplace_back(string(header.value.data, header.value.size));
    }
  }
  return values;
}

string LowerCase(string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c + 0x20);
    }
  }
  return text;
}

// Takes the mail apart into lines, and puts the fields together from them.
// nullopt where there is no end of the header.
std::optional<Values> NaiveFind(string_view mail) {
  std::vector<string> fields;
  for (;;) {
    const size_t end = mail.find('\n');
    if (end == string_view::npos) {
      return std::nullopt;
    }
    string line(mail.substr(0, end + 1));
    mail.remove_prefix(end + 1);
    if (line == "\n" || line == "\r\n") {
      break;
    }
    if (!fields.empty() && (line[0] == ' ' || line[0] == '\t')) {
      fields.back() += line;
    } else {
      fields.push_back(line);
    }
  }
  Values values(kNames.size());
  for (const string& field : fields) {
    const size_t colon = field.find(':');
    if (colon == string::npos || field.find('\n') < colon) {
      continue;
    }
    string name = field.substr(0, colon);
    name.erase(name.find_last_not_of(" \t") + 1);
    string value = field.substr(colon + 1, field.size() - colon - 2);
    if (value.ends_with('\r')) {
      value.pop_back();
    }
    value.erase(0, std::min(value.find_first_not_of(" \t"), value.size()));
    for (size_t i = 0; i < kNames.size(); ++i) {
      if (!values[i] && LowerCase(name) == LowerCase(string(kNames[i]))) {
        values[i] = value;
        break;
      }
    }
  }
  return values;
}

void CheckMail(string_view mail) {
  const auto values = Find(mail);
  const auto naive = NaiveFind(mail);
  FUZZ_CHECK(!naive || values == naive);
  if (!values) {
    return;
  }
  // What comes behind makes no difference, nor does where the buffer ends.
  FUZZ_CHECK(Find(string(mail) + "\nX: more\n\n") == values);
  for (const size_t size : {mail.size() / 2, mail.size() - mail.size() / 8}) {
    const auto of_part = Find(mail.substr(0, size));
    FUZZ_CHECK(!of_part || of_part == values);
  }
  // With its end, it is for the model as well.
  FUZZ_CHECK(naive || NaiveFind(string(mail) + "\n\n\n") == values);
}

}  // namespace
}  // namespace coi::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  coi::fuzz::CheckMail({reinterpret_cast<const char*>(data), size});
  return 0;
}
