// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/vapid.h"

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "push/encrypt.h"
#include "push/libcrypto.h"
#include "util/ascii.h"
#include "util/base64.h"

namespace coi::push {
namespace {

using std::string;
using std::string_view;
using namespace std::string_view_literals;

constexpr size_t kIdSize = 16;
// RFC 7518, 3.4: R and S, each as long as the order of the curve.
constexpr size_t kNumberSize = 32;
// What a SEQUENCE of two INTEGERs of that size has at most.
constexpr size_t kMaxDerSignature = 72;

constexpr string_view kHeader = R"({"typ":"JWT","alg":"ES256"})"sv;

using MdPtr = std::unique_ptr<EVP_MD, FreeWith<EVP_MD_free>>;
using SignaturePtr = std::unique_ptr<ECDSA_SIG, FreeWith<ECDSA_SIG_free>>;
using JsonPtr = std::unique_ptr<json_t, FreeWith<json_decref>>;
using TextPtr = std::unique_ptr<char, FreeWith<std::free>>;

JsonPtr JsonText(string_view text) {
  return JsonPtr(json_stringn(text.data(), text.size()));
}

// RFC 8292, 2. "" if a text isn't UTF-8.
string Claims(string_view origin, string_view subject, int64_t exp) {
  const JsonPtr claims(json_object());
  if (json_object_set_new(claims.get(), "aud", JsonText(origin).release()) != 0 ||
      json_object_set_new(claims.get(), "exp", json_integer(exp)) != 0 ||
      (!subject.empty() &&
       json_object_set_new(claims.get(), "sub", JsonText(subject).release()) != 0)) {
    return {};
  }
  const TextPtr text(json_dumps(claims.get(), JSON_COMPACT));
  return text ? string(text.get()) : string();
}

bool RawSignature(const unsigned char* der, size_t size,
                  std::array<unsigned char, 2 * kNumberSize>* raw) {
  const SignaturePtr signature(d2i_ECDSA_SIG(nullptr, &der, static_cast<long>(size)));
  if (!signature) {
    return false;
  }
  const BIGNUM* r = ECDSA_SIG_get0_r(signature.get());
  const BIGNUM* s = ECDSA_SIG_get0_s(signature.get());
  // Numbers may be shorter: they are padded on the left.
  return BN_bn2binpad(r, raw->data(), kNumberSize) == static_cast<int>(kNumberSize) &&
         BN_bn2binpad(s, raw->data() + kNumberSize, kNumberSize) == static_cast<int>(kNumberSize);
}

bool HasText(EVP_PKEY* key, const char* parameter, string_view value) {
  std::array<char, 64> text = {};
  size_t size = 0;
  return EVP_PKEY_get_utf8_string_param(key, parameter, text.data(), text.size(), &size) == 1 &&
         string_view(text.data(), size) == value;
}

}  // namespace

struct VapidKey::Impl {
  PkeyPtr key;
  string point;
  MdPtr sha256;
  PkeyCtxPtr signer;
  // Of the token, and with its dot.
  string header;

  static std::unique_ptr<Impl> Make(PkeyPtr key);
  bool Hash(string_view text, std::array<unsigned char, kHashSize>* hash) const;
};

std::unique_ptr<VapidKey::Impl> VapidKey::Impl::Make(PkeyPtr key) {
  // A curve may be given by its numbers, too, but then browsers can't read the
  // public key.
  if (!key || EVP_PKEY_is_a(key.get(), "EC") != 1 ||
      !HasText(key.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1") ||
      !HasText(key.get(), OSSL_PKEY_PARAM_EC_ENCODING, OSSL_PKEY_EC_ENCODING_GROUP)) {
    return nullptr;
  }
  // The file may have the point in its compressed form. The first versions of
  // OpenSSL 3.0 can't set this, so it may fail.
  EVP_PKEY_set_utf8_string_param(key.get(), OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                 OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED);
  const PkeyCtxPtr check(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  std::array<unsigned char, kPointSize> point = {};
  size_t size = 0;
  if (!check || EVP_PKEY_check(check.get()) != 1 ||
      EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point.data(),
                                      point.size(), &size) != 1 ||
      !IsUncompressedPoint(AsText(point).substr(0, size))) {
    return nullptr;
  }

  auto impl = std::make_unique<Impl>();
  impl->sha256.reset(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  impl->signer.reset(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (!impl->sha256 || !impl->signer || EVP_PKEY_sign_init(impl->signer.get()) != 1 ||
      EVP_PKEY_CTX_set_signature_md(impl->signer.get(), impl->sha256.get()) != 1) {
    return nullptr;
  }
  impl->key = std::move(key);
  impl->point = AsText(point);
  impl->header = util::EncodeBase64Url(kHeader) + '.';
  return impl;
}

bool VapidKey::Impl::Hash(string_view text, std::array<unsigned char, kHashSize>* hash) const {
  unsigned int size = 0;
  return EVP_Digest(text.data(), text.size(), hash->data(), &size, sha256.get(), nullptr) == 1;
}

VapidKey::VapidKey(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
VapidKey::VapidKey(VapidKey&&) noexcept = default;
VapidKey& VapidKey::operator=(VapidKey&&) noexcept = default;
VapidKey::~VapidKey() = default;

std::optional<VapidKey> VapidKey::Generate() {
  const ErrorScope errors;
  auto impl = Impl::Make(PkeyPtr(EVP_EC_gen("P-256")));
  return impl ? std::optional(VapidKey(std::move(impl))) : std::nullopt;
}

std::optional<VapidKey> VapidKey::FromPem(string_view pem) {
  const ErrorScope errors;
  auto impl = Impl::Make(ReadPrivatePem(pem));
  return impl ? std::optional(VapidKey(std::move(impl))) : std::nullopt;
}

string VapidKey::PrivatePem() const {
  return WritePrivatePem(impl_->key.get());
}

string VapidKey::PublicPem() const {
  return WritePublicPem(impl_->key.get());
}

string VapidKey::PublicKey() const {
  return util::EncodeBase64Url(impl_->point);
}

string VapidKey::id() const {
  const ErrorScope errors;
  std::array<unsigned char, kHashSize> hash = {};
  return impl_->Hash(impl_->point, &hash) ? util::EncodeBase64Url(AsText(hash)).substr(0, kIdSize)
                                          : string();
}

string VapidKey::Authorization(string_view origin, string_view subject, int64_t exp) const {
  const ErrorScope errors;
  const string claims = Claims(origin, subject, exp);
  if (claims.empty()) {
    return {};
  }
  string token = impl_->header + util::EncodeBase64Url(claims);

  std::array<unsigned char, kHashSize> hash = {};
  std::array<unsigned char, kMaxDerSignature> der = {};
  std::array<unsigned char, 2 * kNumberSize> raw = {};
  size_t size = der.size();
  if (!impl_->Hash(token, &hash) ||
      EVP_PKEY_sign(impl_->signer.get(), der.data(), &size, hash.data(), hash.size()) != 1 ||
      !RawSignature(der.data(), size, &raw)) {
    return {};
  }
  return "vapid t=" + token + '.' + util::EncodeBase64Url(AsText(raw)) + ", k=" + PublicKey();
}

namespace {

constexpr size_t kMaxSubject = 500;
constexpr size_t kMaxHost = 253;
constexpr size_t kMaxLabel = 63;

constexpr bool IsLetterOrDigit(char c) noexcept {
  const char lower = util::AsciiLower(c);
  return util::IsDigit(c) || (lower >= 'a' && lower <= 'z');
}

bool IsLabel(string_view label) noexcept {
  return !label.empty() && label.size() <= kMaxLabel && label.front() != '-' &&
         label.back() != '-' &&
         std::ranges::all_of(label, [](char c) { return IsLetterOrDigit(c) || c == '-'; });
}

const char* HostProblem(string_view host) noexcept {
  if (host.empty()) {
    return "It has no domain";
  }
  if (host.front() == '[') {
    return "It has an IP address in place of a domain";
  }
  if (host.size() > kMaxHost) {
    return "Its domain is too long";
  }
  size_t labels = 0;
  string_view last;
  for (size_t begin = 0; begin <= host.size(); begin += last.size() + 1) {
    last = host.substr(begin, std::min(host.find('.', begin), host.size()) - begin);
    if (!IsLabel(last)) {
      return "Its domain is not a domain name";
    }
    ++labels;
  }
  // As a URL's host, 0x7f.1 is an address, too.
  if (util::IsDigit(last.front())) {
    return "It has an IP address in place of a domain";
  }
  // What no push service could reach: RFC 6761 and 6762, and what hosts without
  // a name call themselves.
  for (const string_view local : {"localhost"sv, "localdomain"sv, "local"sv, "invalid"sv}) {
    if (util::EqualsIgnoringCase(last, local)) {
      return "Its domain is local to a host or network";
    }
  }
  return labels > 1 ? nullptr : "Its domain is not a public one: it has no dot";
}

const char* MailtoProblem(string_view address) noexcept {
  const size_t at = address.rfind('@');
  if (at == string_view::npos) {
    return "It is not a mail address: it has no @";
  }
  const string_view local_part = address.substr(0, at);
  if (local_part.empty() || local_part.find_first_of("@,:;\"()[]\\") != string_view::npos ||
      local_part.starts_with("//")) {
    return "It is not a mail address";
  }
  if (address.find_first_of("?#") != string_view::npos) {
    return "It must be a mail address and nothing else";
  }
  return HostProblem(address.substr(at + 1));
}

const char* HttpsProblem(string_view url) noexcept {
  if (!url.starts_with("//")) {
    return "It is not a URL: https:// is missing";
  }
  url.remove_prefix(2);
  string_view host = url.substr(0, std::min(url.find_first_of("/?#"), url.size()));
  if (host.find('@') != string_view::npos) {
    return "It has a user name in its URL";
  }
  const size_t colon = host.find(':');
  if (colon != string_view::npos && !host.starts_with('[')) {
    const string_view port = host.substr(colon + 1);
    unsigned int number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535) {
      return "Its port is wrong";
    }
    host = host.substr(0, colon);
  }
  return HostProblem(host);
}

}  // namespace

const char* VapidSubjectProblem(string_view subject) noexcept {
  if (subject.empty()) {
    return "It is empty";
  }
  if (subject.size() > kMaxSubject) {
    return "It is too long";
  }
  for (const char c : subject) {
    if (c <= ' ' || c >= '\x7f') {
      return "It has a blank or a character that is not ASCII";
    }
    if (c == '<' || c == '>') {
      return "It has an angle bracket";
    }
  }
  // In lower case only: that is what the push services are known to take.
  constexpr string_view kMailto = "mailto:";
  constexpr string_view kHttps = "https:";
  if (subject.starts_with(kMailto)) {
    return MailtoProblem(subject.substr(kMailto.size()));
  }
  if (subject.starts_with(kHttps)) {
    return HttpsProblem(subject.substr(kHttps.size()));
  }
  return "It begins with neither mailto: nor https:";
}

}  // namespace coi::push
