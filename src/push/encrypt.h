// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_PUSH_ENCRYPT_H
#define COI_PUSH_ENCRYPT_H

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

// Message encryption for Web Push: RFC 8291 with aes128gcm of RFC 8188 (MSG-6).
namespace coi::push {

// A public key is an uncompressed point of P-256 (SEC 1, 2.3.3). This looks at its form
// only; libcrypto tells whether it is on the curve.
constexpr size_t kPointSize = 65;
constexpr bool IsUncompressedPoint(std::string_view key) noexcept {
  return key.size() == kPointSize && key.front() == 4;
}
// RFC 8291, 3.2: the authentication secret.
constexpr size_t kAuthSize = 16;

// The body is longer than the plaintext by this: salt, rs, idlen, key id,
// padding delimiter, tag.
constexpr size_t kEncryptOverhead = 16 + 4 + 1 + kPointSize + 1 + 16;

// Keeps what libcrypto is slow to look up. One for the life of the process,
// used by one thread.
class Encrypter {
 public:
  Encrypter();
  ~Encrypter();
  Encrypter(const Encrypter&) = delete;
  Encrypter& operator=(const Encrypter&) = delete;

  // Is it an uncompressed point (65 octets) of P-256?
  bool IsPublicKey(std::string_view p256dh);

  // One record, record size 4096, with a fresh key pair and salt. Returns false
  // for a bad key, a plaintext over kMaxPayload, or where libcrypto fails.
  bool Encrypt(std::string_view p256dh, std::string_view auth, std::string_view plaintext,
               std::string* body);

  // The same with the sender's key pair and salt given: for RFC 8291's Appendix
  // A, and for no other use.
  bool EncryptWith(std::string_view private_key, std::string_view salt, std::string_view p256dh,
                   std::string_view auth, std::string_view plaintext, std::string* body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coi::push

#endif  // COI_PUSH_ENCRYPT_H
