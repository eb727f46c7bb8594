// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_PUSH_VAPID_H
#define COI_PUSH_VAPID_H

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

// Voluntary Application Server Identification: RFC 8292 (MSG-7, SUB-1).
namespace coi::push {

// A P-256 key pair.
class VapidKey {
 public:
  VapidKey(VapidKey&&) noexcept;
  VapidKey& operator=(VapidKey&&) noexcept;
  ~VapidKey();

  static std::optional<VapidKey> Generate();
  // A PEM private key (PKCS #8 or SEC 1) on P-256; nullopt for anything else.
  static std::optional<VapidKey> FromPem(std::string_view pem);

  std::string PrivatePem() const;
  // SUB-1: "-----BEGIN PUBLIC KEY-----", lines ended by LF.
  std::string PublicPem() const;
  // base64url of the uncompressed point: `k` of the header, and what a browser
  // calls applicationServerKey.
  std::string PublicKey() const;
  // Names the key in a stored subscription: the first 16 characters of the
  // base64url of the SHA-256 of the point.
  std::string id() const;

  // Value of the Authorization header: "vapid t=…, k=…". `origin` is the
  // endpoint's scheme, host and non-default port; `exp` in seconds since 1970.
  // ES256 with a raw 64-octet signature. "" where libcrypto fails.
  std::string Authorization(std::string_view origin, std::string_view subject, int64_t exp) const;

 private:
  struct Impl;
  explicit VapidKey(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

// What is wrong with a `sub` that push services demand (mailto: or https:, a
// public domain, no blanks, no angle brackets, not localhost), or nullptr.
const char* VapidSubjectProblem(std::string_view subject) noexcept;

}  // namespace coi::push

#endif  // COI_PUSH_VAPID_H
