// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_PUSH_LIBCRYPTO_H
#define COI_PUSH_LIBCRYPTO_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

// What the users of libcrypto share. Only .cc files include this.
namespace coi::push {

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

using BioPtr = std::unique_ptr<BIO, FreeWith<BIO_free>>;
using CipherPtr = std::unique_ptr<EVP_CIPHER, FreeWith<EVP_CIPHER_free>>;
using CipherCtxPtr = std::unique_ptr<EVP_CIPHER_CTX, FreeWith<EVP_CIPHER_CTX_free>>;
using MacPtr = std::unique_ptr<EVP_MAC, FreeWith<EVP_MAC_free>>;
using MacCtxPtr = std::unique_ptr<EVP_MAC_CTX, FreeWith<EVP_MAC_CTX_free>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;
using PkeyCtxPtr = std::unique_ptr<EVP_PKEY_CTX, FreeWith<EVP_PKEY_CTX_free>>;

// Takes what libcrypto has queued as errors out of its queue again: we say what
// failed by ourselves, and libcurl and Dovecot take what they find in there for
// a failure of their TLS connection.
class ErrorScope {
 public:
  ErrorScope() {
    ERR_set_mark();
  }
  ~ErrorScope() {
    ERR_pop_to_mark();
  }
  ErrorScope(const ErrorScope&) = delete;
  ErrorScope& operator=(const ErrorScope&) = delete;
};

// Octets that are wiped when they are no longer needed.
template <size_t N>
struct Secret : std::array<unsigned char, N> {
  Secret() : std::array<unsigned char, N>{} {}
  ~Secret() {
    OPENSSL_cleanse(this->data(), N);
  }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
};

constexpr size_t kHashSize = 32;  // SHA-256
constexpr size_t kGcmNonceSize = 12;
constexpr size_t kGcmTagSize = 16;
// Far more than anything here, and less than the int that libcrypto counts in.
constexpr size_t kMaxCryptText = size_t{64} * 1024 * 1024;
constexpr size_t kMaxPem = size_t{16} * 1024;

inline const unsigned char* Octets(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

inline unsigned char* Octets(std::string* text) {
  return reinterpret_cast<unsigned char*>(text->data());
}

inline std::string_view AsText(std::span<const unsigned char> octets) {
  return {reinterpret_cast<const char*>(octets.data()), octets.size()};
}

// A key under a pass phrase can't be used: nobody is there to be asked for it.
inline int NoPassPhrase(char* /*buf*/, int /*size*/, int /*writing*/, void* /*data*/) {
  return -1;
}

// For the service, which reads its keys when it starts.
inline PkeyPtr ReadPrivatePem(std::string_view pem) {
  if (pem.size() > kMaxPem) {
    return nullptr;
  }
  // Where a file has another block before its key, libcrypto looks at the
  // oldest error in its queue, whoever's it is, to see if it may go on.
  ERR_clear_error();
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return PkeyPtr(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassPhrase, nullptr)
                     : nullptr);
}

inline PkeyPtr ReadPublicPem(std::string_view pem) {
  if (pem.size() > kMaxPem) {
    return nullptr;
  }
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return PkeyPtr(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, NoPassPhrase, nullptr) : nullptr);
}

inline std::string TakeText(const BioPtr& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : std::string();
}

// PKCS #8. "" where libcrypto fails, as below.
inline std::string WritePrivatePem(EVP_PKEY* key) {
  const ErrorScope errors;
  // Wiped when it is freed.
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  if (!bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return {};
  }
  return TakeText(bio);
}

inline std::string WritePublicPem(EVP_PKEY* key) {
  const ErrorScope errors;
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_PUBKEY(bio.get(), key) != 1) {
    return {};
  }
  return TakeText(bio);
}

// HMAC-SHA-256, without a key yet.
inline MacCtxPtr MakeHmac() {
  const MacPtr hmac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
  MacCtxPtr mac(hmac ? EVP_MAC_CTX_new(hmac.get()) : nullptr);
  std::array<char, sizeof("SHA256")> digest = {"SHA256"};
  const std::array params = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_end()};
  if (mac && EVP_MAC_CTX_set_params(mac.get(), params.data()) != 1) {
    mac.reset();
  }
  return mac;
}

// The secret that the two keys share, as many octets as `secret` has.
// Doesn't check the peer's key: see where it comes from.
inline bool Derive(EVP_PKEY* own, EVP_PKEY* peer, std::span<unsigned char> secret) {
  const PkeyCtxPtr ctx(EVP_PKEY_CTX_new_from_pkey(nullptr, own, nullptr));
  size_t size = secret.size();
  return ctx && EVP_PKEY_derive_init(ctx.get()) == 1 &&
         EVP_PKEY_derive_set_peer_ex(ctx.get(), peer, 0) == 1 &&
         EVP_PKEY_derive(ctx.get(), secret.data(), &size) == 1 && size == secret.size();
}

}  // namespace coi::push

#endif  // COI_PUSH_LIBCRYPTO_H
