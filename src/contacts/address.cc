// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "contacts/address.h"

#include <locale.h>
#include <wctype.h>

#include <atomic>
#include <cstdint>
#include <optional>

#include "util/utf8.h"

namespace coi::contacts {
namespace {

using std::string_view;

// The locale that knows Unicode's lower case, made when it is first needed.
// Not a static variable of a function: the lock for that is in libstdc++, which
// the core does without.
class LowerCase {
 public:
  constexpr LowerCase() noexcept = default;
  LowerCase(const LowerCase&) = delete;
  LowerCase& operator=(const LowerCase&) = delete;

  // Also when the core is unloaded.
  ~LowerCase() {
    Free(locale_.load(std::memory_order_acquire));
  }

  uint32_t Of(uint32_t code) noexcept {
    if (code < 0x80) {
      return static_cast<unsigned char>(util::AsciiLower(static_cast<char>(code)));
    }
    const locale_t locale = Locale();
    return locale == None() ? code : static_cast<uint32_t>(towlower_l(code, locale));
  }

 private:
  // Stands for "could not be made"; newlocale() never returns it.
  static locale_t None() noexcept {
    return LC_GLOBAL_LOCALE;
  }

  static void Free(locale_t locale) noexcept {
    if (locale != nullptr && locale != None()) {
      freelocale(locale);
    }
  }

  // Of several threads that come here first, one makes the locale that stays.
  locale_t Locale() noexcept {
    locale_t locale = locale_.load(std::memory_order_acquire);
    if (locale != nullptr) {
      return locale;
    }
    locale_t made = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    if (made == nullptr) {
      made = None();
    }
    if (locale_.compare_exchange_strong(locale, made, std::memory_order_acq_rel)) {
      return made;
    }
    Free(made);
    return locale;
  }

  std::atomic<locale_t> locale_ = nullptr;
};

constinit LowerCase lower_case;

enum class Quoting { kPlain, kQuoted };

// Writes one part without its quotes. Returns false where it is not one.
bool PutPart(string_view text, Quoting quoting, std::span<char>* out) noexcept {
  const size_t room = out->size();
  while (!text.empty()) {
    auto code = util::TakeCodePoint(&text);
    if (code == '\\' && quoting == Quoting::kQuoted && !text.empty()) {
      code = util::TakeCodePoint(&text);
    }
    if (!code || util::IsControl(*code)) {
      return false;
    }
    if (*code != '"' && !util::PutCodePoint(lower_case.Of(*code), out)) {
      return false;
    }
  }
  return out->size() < room;
}

bool PutLocalPart(string_view text, std::span<char>* out) noexcept {
  if (text.size() >= 2 && text.starts_with('"') && text.ends_with('"')) {
    text.remove_prefix(1);
    text.remove_suffix(1);
    return PutPart(text, Quoting::kQuoted, out);
  }
  return PutPart(text, Quoting::kPlain, out);
}

// A second '@' is refused: what stands on which side could not be told apart.
bool PutDomain(string_view text, std::span<char>* out) noexcept {
  return text.find('@') == string_view::npos && PutPart(text, Quoting::kPlain, out);
}

}  // namespace

size_t NormalizeAddress(string_view local_part, string_view domain, std::span<char> buf) noexcept {
  std::span<char> rest = buf;
  if (!PutLocalPart(local_part, &rest) || !util::PutCodePoint('@', &rest) ||
      !PutDomain(domain, &rest)) {
    return 0;
  }
  return buf.size() - rest.size();
}

}  // namespace coi::contacts
