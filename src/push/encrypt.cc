// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/encrypt.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include <array>
#include <cstring>
#include <initializer_list>
#include <span>

#include "push/libcrypto.h"
#include "push/payload.h"

namespace coi::push {
namespace {

using std::string;
using std::string_view;
using namespace std::string_view_literals;

constexpr size_t kSaltSize = 16;
constexpr size_t kPrivateSize = 32;
constexpr size_t kKeySize = 16;
constexpr unsigned int kRecordSize = 4096;
// RFC 8188, 2.1: salt, rs, idlen, keyid
constexpr size_t kHeaderSize = kSaltSize + 4 + 1 + kPointSize;
// RFC 8188, 2: ends the plaintext of the last record
constexpr unsigned char kLastRecord = 2;

static_assert(kHeaderSize + 1 + kGcmTagSize == kEncryptOverhead);
static_assert(kMaxPayload + kEncryptOverhead <= kRecordSize);

using Point = std::array<unsigned char, kPointSize>;
using Hash = Secret<kHashSize>;

// An ECPrivateKey (RFC 5915) on P-256 around the private key.
constexpr string_view kEcPrivateKeyHead = "\x30\x31\x02\x01\x01\x04\x20"sv;
constexpr string_view kEcPrivateKeyTail = "\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"sv;

PkeyPtr PrivateKeyOf(string_view private_key) {
  Secret<kEcPrivateKeyHead.size() + kPrivateSize + kEcPrivateKeyTail.size()> der;
  unsigned char* out = der.data();
  for (const string_view part : {kEcPrivateKeyHead, private_key, kEcPrivateKeyTail}) {
    std::memcpy(out, part.data(), part.size());
    out += part.size();
  }
  const unsigned char* in = der.data();
  PkeyPtr key(d2i_PrivateKey(EVP_PKEY_EC, nullptr, &in, static_cast<long>(der.size())));
  const PkeyCtxPtr ctx(key ? EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr) : nullptr);
  return ctx && EVP_PKEY_private_check(ctx.get()) == 1 ? std::move(key) : nullptr;
}

}  // namespace

struct Encrypter::Impl {
  // One after the other: each of them costs more to make than to use.
  PkeyCtxPtr generator;
  PkeyPtr peer;
  MacCtxPtr mac;
  CipherCtxPtr cipher;
  bool ready = false;

  bool SetUp();
  // Takes the receiver's key as `peer`.
  bool SetPeer(string_view p256dh);
  bool Hmac(string_view key, std::initializer_list<string_view> text, Hash* hash);
  bool Encrypt(EVP_PKEY* own, string_view salt, string_view p256dh, string_view auth,
               string_view plaintext, string* body);
};

bool Encrypter::Impl::SetUp() {
  generator.reset(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  // Parameters without a key: the receivers' keys are put in.
  const PkeyCtxPtr parameters(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  if (!generator || !parameters || EVP_PKEY_keygen_init(generator.get()) != 1 ||
      EVP_PKEY_CTX_set_group_name(generator.get(), "P-256") != 1 ||
      EVP_PKEY_paramgen_init(parameters.get()) != 1 ||
      EVP_PKEY_CTX_set_group_name(parameters.get(), "P-256") != 1 ||
      EVP_PKEY_generate(parameters.get(), &key) != 1) {
    return false;
  }
  peer.reset(key);

  mac = MakeHmac();
  const CipherPtr gcm(EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr));
  cipher.reset(EVP_CIPHER_CTX_new());
  return mac && gcm && cipher &&
         EVP_EncryptInit_ex2(cipher.get(), gcm.get(), nullptr, nullptr, nullptr) == 1;
}

// libcrypto puts in only what is on the curve. That is all there is to check,
// because the cofactor of P-256 is 1 (SP 800-56A, 5.6.2.3.3): Derive() need not
// check it again, which would take as long as everything else together.
bool Encrypter::Impl::SetPeer(string_view p256dh) {
  return ready && IsUncompressedPoint(p256dh) &&
         EVP_PKEY_set1_encoded_public_key(peer.get(), Octets(p256dh), p256dh.size()) == 1;
}

bool Encrypter::Impl::Hmac(string_view key, std::initializer_list<string_view> text, Hash* hash) {
  if (EVP_MAC_init(mac.get(), Octets(key), key.size(), nullptr) != 1) {
    return false;
  }
  for (const string_view part : text) {
    if (EVP_MAC_update(mac.get(), Octets(part), part.size()) != 1) {
      return false;
    }
  }
  size_t size = 0;
  return EVP_MAC_final(mac.get(), hash->data(), &size, hash->size()) == 1 && size == hash->size();
}

bool Encrypter::Impl::Encrypt(EVP_PKEY* own, string_view salt, string_view p256dh, string_view auth,
                              string_view plaintext, string* body) {
  Point point = {};
  size_t point_size = 0;
  Hash shared;
  if (EVP_PKEY_get_octet_string_param(own, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point.data(),
                                      point.size(), &point_size) != 1 ||
      point_size != point.size() || !Derive(own, peer.get(), shared)) {
    return false;
  }

  // HKDF (RFC 5869) is two HMACs where the output isn't longer than the hash.
  Hash prk_key;
  Hash ikm;
  Hash prk;
  Hash key;
  Hash nonce;
  if (!Hmac(auth, {AsText(shared)}, &prk_key) ||
      !Hmac(AsText(prk_key), {"WebPush: info\0"sv, p256dh, AsText(point), "\1"sv}, &ikm) ||
      !Hmac(salt, {AsText(ikm)}, &prk) ||
      !Hmac(AsText(prk), {"Content-Encoding: aes128gcm\0\1"sv}, &key) ||
      !Hmac(AsText(prk), {"Content-Encoding: nonce\0\1"sv}, &nonce)) {
    return false;
  }
  static_assert(kKeySize <= kHashSize && kGcmNonceSize <= kHashSize);

  body->reserve(plaintext.size() + kEncryptOverhead);
  *body = salt;
  for (const unsigned int shift : {24U, 16U, 8U, 0U}) {
    *body += static_cast<char>(kRecordSize >> shift & 0xffU);
  }
  *body += static_cast<char>(kPointSize);
  *body += AsText(point);
  body->resize(plaintext.size() + kEncryptOverhead);

  unsigned char* out = Octets(body) + kHeaderSize;
  int size = 0;
  int last = 0;
  if (EVP_EncryptInit_ex2(cipher.get(), nullptr, key.data(), nonce.data(), nullptr) != 1 ||
      (!plaintext.empty() && EVP_EncryptUpdate(cipher.get(), out, &size, Octets(plaintext),
                                               static_cast<int>(plaintext.size())) != 1) ||
      EVP_EncryptUpdate(cipher.get(), out + size, &last, &kLastRecord, 1) != 1) {
    return false;
  }
  out += size + last;
  return EVP_EncryptFinal_ex(cipher.get(), out, &last) == 1 &&
         EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, kGcmTagSize, out) == 1;
}

Encrypter::Encrypter() : impl_(std::make_unique<Impl>()) {
  const ErrorScope errors;
  impl_->ready = impl_->SetUp();
}

Encrypter::~Encrypter() = default;

bool Encrypter::IsPublicKey(string_view p256dh) {
  const ErrorScope errors;
  return impl_->SetPeer(p256dh);
}

bool Encrypter::Encrypt(string_view p256dh, string_view auth, string_view plaintext, string* body) {
  const ErrorScope errors;
  body->clear();
  std::array<unsigned char, kSaltSize> salt = {};
  EVP_PKEY* key = nullptr;
  if (auth.size() != kAuthSize || plaintext.size() > kMaxPayload || !impl_->SetPeer(p256dh) ||
      RAND_bytes(salt.data(), salt.size()) != 1 ||
      EVP_PKEY_generate(impl_->generator.get(), &key) != 1) {
    return false;
  }
  const PkeyPtr own(key);
  if (!impl_->Encrypt(own.get(), AsText(salt), p256dh, auth, plaintext, body)) {
    body->clear();
    return false;
  }
  return true;
}

bool Encrypter::EncryptWith(string_view private_key, string_view salt, string_view p256dh,
                            string_view auth, string_view plaintext, string* body) {
  const ErrorScope errors;
  body->clear();
  if (private_key.size() != kPrivateSize || salt.size() != kSaltSize || auth.size() != kAuthSize ||
      plaintext.size() > kMaxPayload || !impl_->SetPeer(p256dh)) {
    return false;
  }
  const PkeyPtr own = PrivateKeyOf(private_key);
  if (!own || !impl_->Encrypt(own.get(), salt, p256dh, auth, plaintext, body)) {
    body->clear();
    return false;
  }
  return true;
}

}  // namespace coi::push
