// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_PUSH_SEAL_H
#define COI_PUSH_SEAL_H

#include <memory>
#include <optional>
#include <string>
#include <string_view>

// Encryption of what is kept on disk (MSG-12): hand-offs in the spool, for
// which mail processes have a public key only, and pushes in the queue.
// Format: docs/queue.md.
namespace coi::push {

// For the spool: ephemeral X25519, HKDF-SHA-256, AES-256-GCM. At most
// COI_SEAL_OVERHEAD octets longer than the text. Nullopt where the key (PEM)
// is not an X25519 key.
std::optional<std::string> SealFor(std::string_view public_pem, std::string_view text);

// The service's own key.
class StorageKey {
 public:
  StorageKey(StorageKey&&) noexcept;
  StorageKey& operator=(StorageKey&&) noexcept;
  ~StorageKey();

  static std::optional<StorageKey> Generate();
  static std::optional<StorageKey> FromPem(std::string_view pem);
  std::string PrivatePem() const;
  std::string PublicPem() const;

  // Opens what SealFor() has sealed; nullopt for anything else.
  std::optional<std::string> Open(std::string_view sealed) const;

  // For the queue: AES-256-GCM under a key derived from the private one, with
  // a random nonce. `context` must be the same for both; it ties a value to its
  // place. Cheap: some microseconds. "" where libcrypto fails.
  std::string Encrypt(std::string_view text, std::string_view context) const;
  std::optional<std::string> Decrypt(std::string_view sealed, std::string_view context) const;

  // HMAC-SHA-256 under another derived key: for names that mean nothing to
  // others (Topic, the queue's keys of subscriptions). 32 octets,
  // or "" where libcrypto fails.
  std::string Mac(std::string_view text) const;

 private:
  struct Impl;
  explicit StorageKey(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coi::push

#endif  // COI_PUSH_SEAL_H
