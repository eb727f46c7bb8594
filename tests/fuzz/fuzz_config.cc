// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// Input: one byte for the hierarchy separator, then the value.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coi.h"
#include "fuzz_util.h"

namespace coi::fuzz {
namespace {

using std::string;
using std::string_view;

bool MayBeRoot(string_view root, char separator) {
  if (root.empty() || root.size() > 200 || !IsValidUtf8(root)) {
    return false;
  }
  char before = separator;
  for (size_t i = 0; i < root.size(); ++i) {
    const auto byte = static_cast<unsigned char>(root[i]);
    const bool c1 = byte == 0xc2 && static_cast<unsigned char>(root[i + 1]) < 0xa0;
    if (byte < 0x20 || byte == 0x7f || c1 || byte == '*' || byte == '%') {
      return false;
    }
    if (root[i] == separator && before == separator) {
      return false;
    }
    before = root[i];
  }
  const auto is_inbox = [](string_view text) {
    string lower(text);
    std::transform(text.begin(), text.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 0x20) : c; });
    return lower == "inbox";
  };
  const string_view first = root.substr(0, root.find(separator));
  return before != separator && !is_inbox(root) && (!is_inbox(first) || first == "INBOX");
}

void CheckValue(string_view text, char separator) {
  const Bytes value(text);

  FUZZ_CHECK(Core().config_enabled_parse(value.get()) == (text == "yes"));

  for (const auto before : {COI_FILTER_NONE, COI_FILTER_ACTIVE, COI_FILTER_SEEN}) {
    enum coi_filter filter = before;
    if (Core().config_filter_parse(value.get(), &filter)) {
      FUZZ_CHECK(text == (filter == COI_FILTER_NONE     ? "none"
                          : filter == COI_FILTER_ACTIVE ? "active"
                                                        : "seen"));
    } else {
      FUZZ_CHECK(filter == before);
      FUZZ_CHECK(text != "none" && text != "active" && text != "seen");
    }
  }

  const char* problem = Core().config_mailbox_root_check(value.get(), separator);
  FUZZ_CHECK((problem == nullptr) == MayBeRoot(text, separator));
  FUZZ_CHECK(problem == nullptr || *problem != '\0');
}

}  // namespace
}  // namespace coi::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  coi::fuzz::CheckValue(input.substr(1), input.front());
  return 0;
}
