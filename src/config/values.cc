// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "config/values.h"

#include <algorithm>
#include <cstddef>

#include "util/ascii.h"
#include "util/utf8.h"

namespace coi::config {
namespace {

using std::string_view;

constexpr size_t kMailboxRootMax = 200;

constexpr bool IsInbox(string_view name) noexcept {
  return util::EqualsIgnoringCase(name, "INBOX");
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
    const auto code = util::TakeCodePoint(&rest);
    if (!code) {
      return "is not valid UTF-8";
    }
    if (util::IsControl(*code)) {
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
  // Dovecot takes it for INBOX, but then compares names by their letters.
  const string_view first = root.substr(0, root.find(separator));
  if (IsInbox(first) && first != "INBOX") {
    return "begins with INBOX, which has to be in capital letters";
  }
  return nullptr;
}

}  // namespace coi::config
