// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "util/utf8.h"

#include <locale.h>
#include <wctype.h>

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "util/ascii.h"

namespace coi::util {
namespace {

struct Form {
  size_t size;
  uint32_t lead_low;
  uint32_t lead_high;
  // The least that needs this many bytes: anything below is overlong.
  uint32_t code_low;
};

constexpr Form kForms[] = {
    {1, 0x00, 0x7f, 0x0}, {2, 0xc2, 0xdf, 0x80}, {3, 0xe0, 0xef, 0x800}, {4, 0xf0, 0xf4, 0x10000}};

constexpr bool IsBetween(uint32_t value, uint32_t low, uint32_t high) noexcept {
  return value >= low && value <= high;
}

// The locale that knows Unicode's lower case, made when it is first needed.
// Not a static variable of a function: the lock for that is in libstdc++, which
// the core does without.
class CaseLocale {
 public:
  constexpr CaseLocale() noexcept = default;
  CaseLocale(const CaseLocale&) = delete;
  CaseLocale& operator=(const CaseLocale&) = delete;

  // Also when the core is unloaded.
  ~CaseLocale() {
    Free(locale_.load(std::memory_order_acquire));
  }

  uint32_t LowerCase(uint32_t code) noexcept {
    if (code < 0x80) {
      return static_cast<unsigned char>(AsciiLower(static_cast<char>(code)));
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

constinit CaseLocale case_locale;

}  // namespace

std::optional<uint32_t> TakeCodePoint(std::string_view* text) noexcept {
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

bool PutCodePoint(uint32_t code, std::span<char>* out) noexcept {
  // The forms are in order, so the size is how many of them are not too long.
  const auto size = static_cast<size_t>(
      std::ranges::count_if(kForms, [code](const Form& form) { return code >= form.code_low; }));
  if (out->size() < size) {
    return false;
  }
  for (size_t i = size - 1; i > 0; --i) {
    (*out)[i] = static_cast<char>(0x80U | (code & 0x3fU));
    code >>= 6U;
  }
  const uint32_t lead = size == 1 ? 0 : 0xffU << (8 - size) & 0xffU;
  out->front() = static_cast<char>(lead | code);
  *out = out->subspan(size);
  return true;
}

uint32_t LowerCase(uint32_t code) noexcept {
  return case_locale.LowerCase(code);
}

}  // namespace coi::util
